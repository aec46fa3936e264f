"""Shuffled features and noisy labels, on any data set."""

import numpy as np
import pytest

from datamodules.digits import Digits
from datamodules.mnist1d import MNIST1D
from datamodules.toy import Toy
from knobs import BadInputError, DataConfig, Splits
from knobs.data.loading import load_checked


def loaded(config: DataConfig) -> Splits:
    return load_checked(config)


@pytest.mark.parametrize("data", [Toy, Digits, MNIST1D])
def test_positions_move_alike_in_all_samples_and_splits(data: type[DataConfig]) -> None:
    plain, mixed = loaded(data()), loaded(data(shuffle_features=True))

    def positions(made: Splits) -> list[bytes]:
        """Return the values at each position, over all samples of all splits."""
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
