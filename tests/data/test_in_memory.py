"""Batches of evaluations: large, but bounded by bytes and by the networks that take each sample."""

from pathlib import Path

import pytest
import torch
from trainings import toy_config

from knobs.data.in_memory import EVALUATION_BYTES, EVALUATION_SAMPLES, InMemoryData, RunBatchData, evaluation_samples


@pytest.mark.parametrize("shape", [(8,), (40, 1), (3, 32, 32), (3, 224, 224), (4, 4096, 4096)])
def test_large_samples_are_evaluated_a_few_at_a_time(shape: tuple[int, ...]) -> None:
    x = torch.empty(1, *shape, device="meta").expand(100_000, *shape)
    count = evaluation_samples(x)
    assert 1 <= count <= EVALUATION_SAMPLES
    assert count == 1 or count * x[:1].nbytes <= EVALUATION_BYTES
    assert count == EVALUATION_SAMPLES or (count + 1) * x[:1].nbytes > EVALUATION_BYTES


def test_a_batch_of_runs_takes_fewer_samples_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knobs.data.in_memory.EVALUATION_SAMPLES", 60)
    config, cpu = toy_config(), torch.device("cpu")
    one, three = InMemoryData(config, tmp_path, cpu), RunBatchData(config, tmp_path, cpu, (1, 2, 3))
    assert [len(x) for x, _ in one.val_dataloader()] == [60, 60, 8]
    assert [len(x) for x, _ in three.val_dataloader()] == [20] * 6 + [8]
    assert [len(x) for x, _ in three.training_batches()] == [60] * 4 + [16]  # evaluated one network at a time
