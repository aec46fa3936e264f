"""Shuffled features and noisy labels, on any data set; what a sharded one keeps in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import Listener, lasting, train

from datamodules.digits import Digits
from datamodules.mnist1d import MNIST1D
from datamodules.streamed import Streamed
from datamodules.toy import Toy
from knobs import population, shards, sources
from knobs.config import DataConfig, RunConfig, Training
from knobs.data import Splits
from knobs.datamodule import InMemoryData
from knobs.errors import BadInputError
from knobs.job import newest_checkpoints
from knobs.optimizers import SGD
from knobs.schedules import Constant
from models.mlp import MLP


def loaded(config: DataConfig) -> Splits:
    return sources.load(config).splits


@pytest.mark.parametrize("data", [Toy, Digits, MNIST1D])
def test_positions_move_alike_in_all_samples_and_splits(data: type[DataConfig]) -> None:
    plain, mixed = loaded(data()), loaded(data(shuffle_features=True))

    def positions(made: Splits) -> list[bytes]:
        """What stands at each position, in all samples of all splits."""
        x = np.concatenate([split.x for _, split in made.items()])
        pixels = x.reshape(*x.shape[:2], -1).swapaxes(1, 2) if data is Digits else x
        return [np.ascontiguousarray(pixels[:, place]).tobytes() for place in range(pixels.shape[1])]

    assert sorted(positions(plain)) == sorted(positions(mixed))
    assert positions(plain) != positions(mixed)
    assert all(np.array_equal(a.y, b.y) for (_, a), (_, b) in zip(plain.items(), mixed.items(), strict=True))


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_that_part_of_the_training_labels_is_wrong_and_no_other(task: str) -> None:
    clean, noisy = (loaded(Toy(task=task, label_noise=part)) for part in (0.0, 0.15))  # type: ignore[arg-type]
    wrong = (clean.train.y != noisy.train.y).reshape(-1)
    assert wrong.sum() == round(0.15 * len(wrong))
    assert np.array_equal(clean.train.x, noisy.train.x)
    assert np.array_equal(clean.val.y, noisy.val.y)
    assert np.array_equal(clean.test.y, noisy.test.y)
    assert set(np.unique(noisy.train.y)) == set(np.unique(clean.train.y))


def test_a_regression_has_no_labels() -> None:
    with pytest.raises(BadInputError, match=r"data.label_noise = 0.1: a regression has no labels"):
        loaded(Toy(task="regression", label_noise=0.1))


def config(data: DataConfig) -> RunConfig:
    return RunConfig(model=MLP(), data=data, optimizer=SGD(), schedule=Constant(), training=Training(max_steps=10))


def test_an_epoch_of_shards_is_every_sample_once(tmp_path: Path) -> None:
    data = Streamed(samples=2350, shard=500, batch_size=47)
    batches = shards.opened(config(data), tmp_path, torch.device("cpu"))
    whole = loaded(data).train.x
    seen = torch.cat([x for x, _ in batches.gather(0, 0, batches.steps_per_epoch)])
    assert len(seen) == len(whole)
    assert {row.tobytes() for row in seen.numpy()} == {row.tobytes() for row in np.asarray(whole)}
    again = torch.cat([x for x, _ in batches.gather(0, 20, 5)])
    assert torch.equal(again, seen[20 * 47 : 25 * 47])
    assert not torch.equal(seen, torch.cat([x for x, _ in batches.gather(1, 0, batches.steps_per_epoch)]))
    assert torch.equal(torch.cat([x for x, _ in batches.training_batches()]), torch.from_numpy(np.array(whole)))


def test_two_shards_are_in_memory(tmp_path: Path) -> None:
    data = Streamed(samples=60_000, features=256, shard=1000)
    run = config(data)
    assert shards.opened(run, tmp_path, torch.device("cpu")).val  # made
    before = anonymous_bytes()
    batches = shards.opened(run, tmp_path, torch.device("cpu"))
    total = sum(float(x.sum()) for x, _ in batches.gather(0, 0, batches.steps_per_epoch))
    used = anonymous_bytes() - before
    assert np.isfinite(total)
    assert used < 20 * 2**20 < data.samples * data.features * 4 / 2
    assert type(shards.opened(config(Toy()), tmp_path, torch.device("cpu"))) is InMemoryData


def test_a_sharded_run_goes_on_with_the_same_bits_and_trains_alone(tmp_path: Path) -> None:
    run = config(Streamed(samples=2000, shard=300, batch_size=70)).with_knobs(
        {"training.max_steps": 60, "training.val_every": 20}
    )
    whole, after = Listener(), Listener()
    expected = train(run, tmp_path / "whole", whole, test=True)
    assert expected.state == "finished", expected.message
    assert train(run, tmp_path / "run" / "r", Listener(stop_at=33)).state == "interrupted"
    resumed = tuple(newest_checkpoints(tmp_path / "run" / "r"))
    ended = train(run, tmp_path / "after", after, resume=resumed, test=True)
    assert after.curves() == whole.curves()
    assert lasting(ended) == lasting(expected)
    assert not population.trains_together(run, "cpu")


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        pytest.skip("the kernel does not say how much memory is anonymous")
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) * 1024
