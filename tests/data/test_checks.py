"""Arrays against their spec: what fits is taken, what is safe is converted, and the rest is refused in a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from knobs import BadInputError, DataSpec, Split, Splits
from knobs.data import check_splits

VECTOR = DataSpec(task="multiclass", layout="vector", shape=(4,), outputs=3, metric="accuracy")
BINARY = DataSpec(task="binary", layout="vector", shape=(4,), outputs=1, metric="auroc")
NUMBERS = DataSpec(task="regression", layout="vector", shape=(4,), outputs=1, metric="r2")
IMAGE = DataSpec(task="multiclass", layout="image", shape=(3, 8, 8), outputs=3, metric="accuracy")
TOKENS = DataSpec(task="multiclass", layout="sequence", shape=(6, 1), outputs=3, metric="accuracy", tokens=10)


def split_of(spec: DataSpec, rows: int = 12, seed: int = 0) -> Split:
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(rows, *spec.shape)).astype(np.float32)
    if spec.tokens:
        x = chance.integers(0, spec.tokens, x.shape).astype(np.float32)
    if spec.task == "multiclass":
        return Split(x, np.arange(rows) % spec.outputs)
    if spec.task == "binary":
        return Split(x, (np.arange(rows) % 2).astype(np.float32)[:, None])
    return Split(x, chance.normal(size=(rows, spec.outputs)).astype(np.float32))


def splits_of(spec: DataSpec) -> Splits:
    return Splits(train=split_of(spec), val=split_of(spec, seed=1), test=split_of(spec, seed=2))


def with_train(spec: DataSpec, change: Callable[[Split], Split]) -> Splits:
    whole = splits_of(spec)
    return replace(whole, train=change(whole.train))


def of_x(change: Callable[[Any], Any]) -> Callable[[Split], Split]:
    return lambda split: Split(change(split.x), split.y)


def of_y(change: Callable[[Any], Any]) -> Callable[[Split], Split]:
    return lambda split: Split(split.x, change(split.y))


def put(array: Any, place: Any, value: Any) -> Any:
    changed = np.array(array)
    changed[place] = value
    return changed


TAKEN: dict[str, tuple[DataSpec, Callable[[Split], Split]]] = {
    "labels of bool": (BINARY, of_y(lambda y: y.astype(bool))),
    "labels of int64": (BINARY, of_y(lambda y: y.astype(np.int64))),
    "labels without an axis": (BINARY, of_y(lambda y: y[:, 0])),
    "whole floats as classes": (VECTOR, of_y(lambda y: y.astype(np.float64))),
    "small integers as classes": (VECTOR, of_y(lambda y: y.astype(np.int8))),
    "classes with an axis": (VECTOR, of_y(lambda y: y[:, None])),
    "targets without an axis": (NUMBERS, of_y(lambda y: y[:, 0])),
    "a frame and a series": (VECTOR, lambda s: Split(pd.DataFrame(s.x), pd.Series(s.y))),
    "tensors": (VECTOR, lambda s: Split(torch.from_numpy(s.x), torch.from_numpy(s.y))),
    "lists": (VECTOR, lambda s: Split(s.x.tolist(), s.y.tolist())),
    "half precision": (VECTOR, of_x(lambda x: x.astype(np.float16))),
    "the other byte order": (VECTOR, of_x(lambda x: x.astype(">f4"))),
    "pixels": (IMAGE, of_x(lambda x: (np.abs(x) * 50).astype(np.uint8))),
    "steps without a feature axis": (TOKENS, of_x(lambda x: x[:, :, 0].astype(np.int64))),
}


@pytest.mark.parametrize("given_as", TAKEN)
def test_what_is_safe_is_converted_and_no_number_changes(given_as: str) -> None:
    spec, change = TAKEN[given_as]
    given_splits = with_train(spec, change)
    checked = check_splits("table", spec, given_splits).train
    assert checked.x.shape == (12, *spec.shape)
    assert checked.x.dtype == (np.float64 if given_as == "lists" else np.float32)
    assert checked.y.shape == ((12,) if spec.task == "multiclass" else (12, spec.outputs))
    assert checked.y.dtype == (np.int64 if spec.task == "multiclass" else np.float32)
    wanted = change(split_of(spec))
    assert np.array_equal(checked.x.ravel(), np.asarray(wanted.x).ravel().astype(np.float64))
    assert np.array_equal(checked.y.ravel(), np.asarray(wanted.y).ravel().astype(np.float64))


REFUSED: dict[str, tuple[DataSpec, Callable[[Split], Any], str]] = {
    "NaN in x": (
        VECTOR,
        of_x(lambda x: put(x, (5, 2), np.nan)),
        r"x holds NaN \(row 5, feature 2\); fill or drop",
    ),
    "infinity in x": (VECTOR, of_x(lambda x: put(x, (0, 3), -np.inf)), r"x holds -inf \(row 0, feature 3\)"),
    "beyond 32 bits": (VECTOR, of_x(lambda x: put(x.astype(float), (1, 1), 1e300)), "beyond the range of 32 bits"),
    "NaN in a frame": (
        VECTOR,
        of_x(lambda x: pd.DataFrame(put(x, (5, 2), np.nan), columns=["a", "b", "c", "d"])),
        r"\(row 5, feature 2 'c'\)",
    ),
    "NaN in an image": (IMAGE, of_x(lambda x: put(x, (1, 2, 3, 4), np.nan)), "row 1, channel 2, line 3, column 4"),
    "NaN in y": (NUMBERS, of_y(lambda y: put(y, (3, 0), np.nan)), r"train y holds NaN \(row 3, target 0\)"),
    "classes from 1": (VECTOR, of_y(lambda y: y + 1), r"y holds 3 \(row 2\); outputs=3: .* 0 to 2; number them from 0"),
    "a missing class": (VECTOR, of_y(lambda y: put(y, 4, -100)), "-100 marks a missing label"),
    "half a class": (VECTOR, of_y(lambda y: put(y.astype(float), 4, 0.5)), r"y holds 0\.5 \(row 4\)"),
    "one-hot rows": (VECTOR, of_y(lambda y: np.eye(3)[y]), r"y\.argmax\(1\)"),
    "labels 1 and 2": (BINARY, of_y(lambda y: y + 1), "labels of a binary task are 0 and 1"),
    "labels -1 and 1": (BINARY, of_y(lambda y: 2 * y - 1), "labels of a binary task are 0 and 1"),
    "a feature more": (VECTOR, of_x(lambda x: np.hstack([x, x[:, :1]])), r"5 features in load\(\), 4 in spec\(\)"),
    "channels last": (
        IMAGE,
        of_x(lambda x: x.transpose(0, 2, 3, 1)),
        r"channels come first: x\.transpose\(0, 3",
    ),
    "a row less": (VECTOR, of_y(lambda y: y[:-1]), "x has 12 rows, y has 11"),
    "no rows": (VECTOR, lambda s: Split(s.x[:0], s.y[:0]), "train holds no rows"),
    "dates": (VECTOR, of_x(lambda x: x.astype("datetime64[s]")), "x "),
    "texts": (VECTOR, of_x(lambda x: x.astype(str)), "x "),
    "objects": (VECTOR, of_x(lambda x: [*x.astype(object)[:, :3].tolist(), [None] * 3]), "x "),
    "complex numbers": (VECTOR, of_x(lambda x: x * 1j), "x "),
    "a token too large": (TOKENS, of_x(lambda x: put(x, (2, 1, 0), 10)), "tokens are 0 to 9"),
    "no split": (VECTOR, lambda s: (s.x, s.y), r"give Split\(x, y\)"),
    "nothing": (VECTOR, lambda s: Split(None, s.y), "x "),
}


@pytest.mark.parametrize("given_as", REFUSED)
def test_the_rest_is_refused_in_a_line(given_as: str) -> None:
    spec, change, said = REFUSED[given_as]
    with pytest.raises(BadInputError, match=said) as caught:
        check_splits("table", spec, with_train(spec, change))
    text = str(caught.value)
    assert text.startswith("data.table: train")
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize("returned", [None, 3, (1, 2, 3)])
def test_something_else_than_splits_is_refused(returned: object) -> None:
    with pytest.raises(BadInputError, match=r"load\(\) returned .*; return Splits"):
        check_splits("table", VECTOR, returned)


@pytest.mark.parametrize("name", ["val", "train", "test", "fresh (2024)", "a/b", "", "é", "a%b"])
def test_names_of_extra_splits_are_those_that_the_record_can_have(name: str) -> None:
    whole = splits_of(VECTOR)
    with pytest.raises(BadInputError, match="extra names a split"):
        check_splits("table", VECTOR, replace(whole, extra={name: whole.test}))
    assert check_splits("table", VECTOR, replace(whole, extra={"fresh_2024": whole.test})).extra.keys() == {
        "fresh_2024"
    }


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_split_is_checked(split: str) -> None:
    whole = splits_of(VECTOR)
    wrong = Split(put(getattr(whole, split).x, (0, 0), np.nan), getattr(whole, split).y)
    with pytest.raises(BadInputError, match=f"data.table: {split} x holds NaN"):
        check_splits("table", VECTOR, replace(whole, **{split: wrong}))


def test_a_metric_without_a_value_on_validation_is_refused() -> None:
    whole = splits_of(BINARY)
    with pytest.raises(BadInputError, match="val holds class 0 only, so auroc has no value"):
        check_splits("table", BINARY, replace(whole, val=Split(whole.val.x, np.zeros_like(whole.val.y))))
    numbers = splits_of(NUMBERS)
    with pytest.raises(BadInputError, match="val y is constant"):
        check_splits("table", NUMBERS, replace(numbers, val=Split(numbers.val.x, np.ones_like(numbers.val.y))))


def test_what_fits_is_not_copied() -> None:
    whole = splits_of(VECTOR)
    checked = check_splits("table", VECTOR, whole)
    assert checked.train.x is whole.train.x
    assert np.shares_memory(checked.train.y, whole.train.y)


TABLES = arrays.arrays(
    some.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_]),
    some.tuples(some.integers(2, 6), some.integers(1, 5)),
)


@given(TABLES)
def test_a_table_is_taken_unchanged_or_refused(table: Any) -> None:
    spec = DataSpec(task="multiclass", layout="vector", shape=(table.shape[1],), outputs=2, metric="accuracy")
    split = Split(table, np.arange(len(table)) % 2)
    fits = bool(np.isfinite(table.astype(np.float64)).all()) and float(np.abs(table.astype(np.float64)).max()) <= 3.4e38
    try:
        checked = check_splits("table", spec, Splits(train=split, val=split, test=split)).train.x
    except BadInputError:
        assert not fits
        return
    assert np.isfinite(checked).all()
    assert np.array_equal(checked.astype(np.float64), table.astype(np.float64))
