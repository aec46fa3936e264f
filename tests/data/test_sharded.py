"""A data set in shards: every sample once an epoch, two shards in memory, and the same bits after an interruption."""

from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import Listener, lasting, train

from datamodules.streamed import Streamed
from datamodules.toy import Toy
from knobs import DataConfig, RunConfig, Splits, Training
from knobs.data.in_memory import InMemoryData
from knobs.data.loading import load_checked
from knobs.data.sharded import ShardedData, open_run_data
from knobs.training import newest_checkpoints
from knobs.training.batch.rule import batch_key
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant


def loaded(config: DataConfig) -> Splits:
    return load_checked(config)


def config(data: DataConfig) -> RunConfig:
    return RunConfig(model=MLP(), data=data, optimizer=SGD(), schedule=Constant(), training=Training(max_steps=10))


def test_an_epoch_of_shards_is_every_sample_once(tmp_path: Path) -> None:
    data = Streamed(samples=2350, shard=500, batch_size=47)
    batches = open_run_data(config(data), tmp_path, torch.device("cpu"))
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
    assert open_run_data(run, tmp_path, torch.device("cpu")).val  # writes the cache
    before = anonymous_bytes()
    batches = open_run_data(run, tmp_path, torch.device("cpu"))
    total = sum(float(x.sum()) for x, _ in batches.gather(0, 0, batches.steps_per_epoch))
    used = anonymous_bytes() - before
    assert np.isfinite(total)
    assert used < 20 * 2**20 < data.samples * data.features * 4 / 2
    assert type(open_run_data(config(Toy()), tmp_path, torch.device("cpu"))) is InMemoryData


def test_a_sharded_run_goes_on_with_the_same_bits_and_trains_alone(tmp_path: Path) -> None:
    run = config(Streamed(samples=2000, shard=300, batch_size=70)).with_knobs(
        {"training.max_steps": 60, "training.val_every": 20}
    )
    whole, after = Listener(), Listener()
    expected = train(run, tmp_path / "whole", whole, read_test=True)
    assert expected.state == "finished", expected.message
    assert train(run, tmp_path / "run" / "r", Listener(stop_at=33)).state == "interrupted"
    resumed = tuple(newest_checkpoints(tmp_path / "run" / "r"))
    ended = train(run, tmp_path / "after", after, resume=resumed, read_test=True)
    assert after.curves() == whole.curves()
    assert lasting(ended) == lasting(expected)
    assert batch_key(run, "cpu") == ""
    kept = ShardedData(run, tmp_path / "after", torch.device("cpu")).on_disk
    assert not kept.x.flags.writeable  # a private writable mapping would count under a limit of data (RLIMIT_DATA)


def anonymous_bytes() -> int:
    """Return the bytes of this process's memory that no file backs."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        pytest.skip("the kernel does not say how much memory is anonymous")
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) * 1024
