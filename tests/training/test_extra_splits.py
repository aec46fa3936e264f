"""Additional test splits and sampled text: they are read and recorded together with the test split."""

from pathlib import Path

import numpy as np
import pytest
from trainings import lasting, train

from datamodules.letters import ALPHABET, Letters
from datamodules.mnist1d import MNIST1D
from knobs import RunConfig, Training
from knobs.data import open_prepared
from knobs.data.loading import load_checked
from models.mlp import MLP
from models.rnn import RNN
from optimizers.adam import Adam
from schedules.constant import Constant


def test_fresh_samples_are_new_and_leave_the_others_as_they_were() -> None:
    plain, more = (load_checked(MNIST1D(fresh=count)) for count in (0, 200))
    assert not plain.extra
    fresh = more.extra["fresh"]
    assert fresh.x.shape == (200, 40, 1)
    assert fresh.x.dtype == np.float32
    assert np.bincount(fresh.y).tolist() == [20] * 10
    assert abs(float(fresh.x.mean())) < 0.1
    assert 0.9 < float(fresh.x.std()) < 1.1
    known = {row.tobytes() for _, split in plain.items() for row in split.x}
    assert not known & {row.tobytes() for row in fresh.x}
    for (name, before), (again, after) in zip(plain.items(), more.items(), strict=False):
        assert name == again
        assert np.array_equal(before.x, after.x)
        assert np.array_equal(before.y, after.y)


def test_every_test_split_is_read_at_the_end_and_later(tmp_path: Path) -> None:
    config = RunConfig(
        model=MLP(depth=1, width=16),
        data=MNIST1D(fresh=100),
        optimizer=Adam(lr=0.01),
        schedule=Constant(),
        training=Training(max_steps=20, val_every=10),
    )
    ended = train(config, tmp_path / "run", read_test=True)
    assert {"test/accuracy", "test/loss", "test/fresh/accuracy", "test/fresh/loss"} <= ended.summary.keys()
    assert ended.summary["test/fresh/loss"] != ended.summary["test/loss"]
    kept = train(config, tmp_path / "kept")
    assert not [name for name in kept.summary if name.startswith("test/")]
    later = train(config, tmp_path / "later", evaluate_checkpoint=kept.checkpoint)
    assert later.summary == {name: value for name, value in ended.summary.items() if name.startswith("test/")}
    prepared = open_prepared(config.data, tmp_path / "cache")
    assert [name for name, _ in prepared.items()] == ["train", "val", "test", "fresh"]


@pytest.mark.slow
def test_a_network_speaks_where_the_test_split_is_read(tmp_path: Path) -> None:
    config = RunConfig(
        model=RNN(width=8),
        data=Letters(),
        optimizer=Adam(lr=0.01),
        schedule=Constant(),
        training=Training(max_steps=4, val_every=4),
    )
    at_the_end = train(config, tmp_path / "end", read_test=True)
    assert len(at_the_end.sample) > 100
    assert set(at_the_end.sample) <= set(ALPHABET) | {"\n"}
    without = train(config, tmp_path / "without")
    assert not without.sample
    later = train(config, tmp_path / "later", evaluate_checkpoint=without.checkpoint)
    assert later.sample == at_the_end.sample
    assert {**lasting(without), **lasting(later)} == lasting(at_the_end)
