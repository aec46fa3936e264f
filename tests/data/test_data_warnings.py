"""What is odd about arrays is said in a line each, and nothing is said of arrays that are fine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data.test_checks import BINARY, IMAGE, NUMBERS, TOKENS, VECTOR, split_of

from knobs import DataSpec, Split, Splits
from knobs.data.data_warnings import row_hashes, warnings_about


def fine(spec: DataSpec) -> Splits:
    return Splits(train=split_of(spec, 200), val=split_of(spec, 60, 1), test=split_of(spec, 60, 2))


@pytest.mark.parametrize("spec", [VECTOR, BINARY, NUMBERS, IMAGE], ids=["vector", "binary", "numbers", "image"])
def test_nothing_is_said_of_fine_arrays(spec: DataSpec) -> None:
    assert warnings_about(spec, fine(spec)) == []


def joined(one: Split, other: Split, rows: int) -> Split:
    return Split(np.concatenate([one.x, other.x[:rows]]), np.concatenate([one.y, other.y[:rows]]))


def in_train(change: Callable[[Any, Any], Split]) -> Callable[[Splits], Splits]:
    return lambda splits: replace(splits, train=change(splits.train.x.copy(), splits.train.y.copy()))


def constant(x: Any, y: Any) -> Split:
    x[:, 2] = 7.0
    return Split(x, y)


def telling(x: Any, y: Any) -> Split:
    x[:, 1] = y[:, 0] * 3 + 0.01 * x[:, 0]
    return Split(x, y)


def without(label: int) -> Callable[[Any, Any], Split]:
    return lambda x, y: Split(x[y != label], y[y != label])


ODD: dict[str, tuple[DataSpec, Callable[[Splits], Splits], str]] = {
    "train holds test": (
        VECTOR,
        lambda s: replace(s, train=joined(s.train, s.test, 60)),
        "60 of 60 rows of test are rows of train too",
    ),
    "train holds some of val": (
        NUMBERS,
        lambda s: replace(s, train=joined(s.train, s.val, 7)),
        "7 of 60 rows of val are rows of train too",
    ),
    "a constant feature": (VECTOR, in_train(constant), "1 of 4 feature is constant in train: 2"),
    "a constant channel": (IMAGE, in_train(constant), "1 of 3 channel is constant in train: 2"),
    "a feature that is the label": (BINARY, in_train(telling), "feature 1 alone gives AUROC"),
    "a feature that is the target": (NUMBERS, in_train(telling), "feature 1 alone gives R2"),
    "a class that train lacks": (VECTOR, in_train(without(1)), "class"),
    "a target of thousands": (NUMBERS, in_train(lambda x, y: Split(x, y * 5000)), "5"),
    "a target of thousandths": (NUMBERS, in_train(lambda x, y: Split(x, y / 5000)), "0.0"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_is_said(odd: str) -> None:
    spec, change, said = ODD[odd]
    (line,) = warnings_about(spec, change(fine(spec)))
    assert said in line


def test_shared_rows_of_tokens_are_counted_exactly() -> None:
    chance = np.random.default_rng(3)
    x = chance.integers(0, 10, (3000, *TOKENS.shape)).astype(np.float32)
    y = np.arange(3000) % 3
    rows = {row.tobytes() for row in x[:2000]}
    shared = sum(row.tobytes() in rows for row in x[2500:])
    splits = Splits(
        train=Split(x[:2000], y[:2000]), val=Split(x[2000:2500], y[2000:2500]), test=Split(x[2500:], y[2500:])
    )
    lines = [line for line in warnings_about(TOKENS, splits) if "rows of test" in line]
    assert lines == ([f"{shared} of 500 rows of test are rows of train too"] if shared else [])


def test_hashes_of_different_rows_differ() -> None:
    x = np.unique(np.random.default_rng(0).integers(0, 4, (50_000, 9)).astype(np.float32), axis=0)
    assert len(np.unique(row_hashes(x))) == len(x)
