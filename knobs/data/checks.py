"""Check the arrays of a data set against its spec, and convert what is safe to convert. NumPy only.

Safe: axes of length one, bool and whole numbers as inputs or targets, whole floats as classes, half precision. A number
is never changed. Large arrays are read in pieces, so that a training split on disk stays there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from knobs.config import SPLITS, DataSpec, Split, Splits
from knobs.data.arrays import as_array
from knobs.data.memmap import on_disk
from knobs.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from knobs.config import Array

NUMBERS_AT_A_TIME = 1 << 22
"""Numbers that are looked at in one piece."""

FLOAT32_MAX = float(np.finfo(np.float32).max)
EXACT_IN_FLOAT32 = 1 << 24
"""Whole numbers up to this are exact in 32 bits."""


def check_splits(name: str, spec: DataSpec, splits: object, *, finite: bool = True) -> Splits:
    """Return the splits as the spec describes them: see `Split` for shapes and types. Arrays that fit are not copied.

    `name` is the data set's kind. Not `finite`: leave out the check that reads every number of every x. Raise
    `BadInputError`, one line that names data set, split, row and column, and the rule.
    """
    if not isinstance(splits, Splits):
        given = "nothing" if splits is None else f"a {type(splits).__name__}"
        _refuse(name, f"load() returned {given}; return Splits(train=..., val=..., test=...)")
    if not isinstance(splits.extra, Mapping):
        _refuse(name, f"extra is a {type(splits.extra).__name__}; give a dict of name and Split")
    for extra in splits.extra:
        _check_name(name, extra)
    made = {split: _checked(f"data.{name}: {split}", spec, arrays, finite) for split, arrays in splits.items()}
    main = {split: made.pop(split) for split in SPLITS}
    checked = Splits(**main, extra=made)
    _check_metrics(name, spec, checked)
    return checked


def pieces(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield the rows of an array in pieces that fit into memory, each with the number of its first row."""
    rows = max(1, NUMBERS_AT_A_TIME // max(1, array[:1].size))
    for begin in range(0, len(array), rows):
        yield begin, array[begin : begin + rows]


def _refuse(name: str, why: str) -> NoReturn:
    raise BadInputError(f"data.{name}: {why}")


def _check_name(name: str, extra: object) -> None:
    """Refuse the name of an extra split that MLflow or the file system refuses, or that another split has."""
    if extra in SPLITS:
        _refuse(name, f"extra names a split {extra!r}, which every data set has already; choose another name")
    if not isinstance(extra, str) or not re.fullmatch(r"\w[\w-]*", extra, re.ASCII):
        _refuse(name, f"extra names a split {extra!r}; use letters, digits, _ and - only")


def _checked(where: str, spec: DataSpec, split: object, finite: bool) -> Split:
    if not isinstance(split, Split):
        raise BadInputError(f"{where} is of type {type(split).__name__}; give Split(x, y)")
    x, names = as_array(split.x, f"{where} x")
    y, _ = as_array(split.y, f"{where} y")
    if len(x) != len(y):
        raise BadInputError(f"{where} x has {len(x)} rows, y has {len(y)}; each sample needs one of both")
    if not len(x):
        raise BadInputError(f"{where} holds no rows; load() must give every split some")
    x = _shaped(f"{where} x", x, spec.shape, spec)
    if finite:
        _check_finite(f"{where} x", x, AXES[spec.layout], names)
    if spec.tokens:
        _check_whole(f"{where} x", x, spec.tokens, f"tokens={spec.tokens}: tokens are 0 to {spec.tokens - 1}")
    return Split(_as_floats(x), _targets(f"{where} y", y, spec))


def _shaped(where: str, array: Array, wanted: tuple[int, ...], spec: DataSpec) -> Array:
    """Return the array with this shape after the first axis; only axes of length one may differ."""
    found = array.shape[1:]
    if found == wanted:
        return array
    if [n for n in found if n != 1] == [n for n in wanted if n != 1]:
        return array.reshape(len(array), *wanted)
    hint = ""
    if where.endswith(" x") and len(found) == len(wanted):
        if spec.layout == "image" and found == (*wanted[1:], wanted[0]):
            hint = "; channels come first: x.transpose(0, 3, 1, 2)"
        elif spec.layout == "sequence" and found == wanted[::-1]:
            hint = "; steps come first: x.transpose(0, 2, 1)"
        elif spec.layout == "vector":
            hint = f": {found[0]} features in load(), {wanted[0]} in spec()"
    elif where.endswith(" y") and spec.task == "multiclass" and found == (spec.outputs,):
        hint = "; give class numbers instead of one-hot rows: y.argmax(1)"
    shown = ", ".join(map(str, ("rows", *wanted)))
    raise BadInputError(f"{where} has shape {array.shape}, the spec says ({shown}){hint}")


AXES = {"vector": ("feature",), "sequence": ("step", "feature"), "image": ("channel", "line", "column")}
"""Names of the axes of one sample, for messages."""


def _check_finite(where: str, array: Array, axes: Sequence[str], names: Sequence[Any] = ()) -> None:
    """Refuse the first number that is NaN, infinite, or beyond what 32 bits hold."""
    if array.dtype.kind != "f":
        return
    for begin, rows in pieces(array):
        fine = np.isfinite(rows)
        if array.dtype.itemsize > 4:
            with np.errstate(invalid="ignore"):
                fine &= np.abs(rows) <= FLOAT32_MAX
        if fine.all():
            continue
        place = tuple(int(i) for i in np.argwhere(~fine)[0])
        value = float(rows[place])
        words = [f"row {begin + place[0]}", *(f"{axis} {i}" for axis, i in zip(axes, place[1:], strict=True))]
        shown = ", ".join(words) + (f" {names[place[1]]!r}" if names and array.ndim == 2 else "")
        if np.isfinite(value):
            raise BadInputError(f"{where} holds {value:.3g} ({shown}), beyond the range of 32 bits; scale it in load()")
        text = "NaN" if np.isnan(value) else str(value)
        raise BadInputError(f"{where} holds {text} ({shown}); fill or drop it in load()")


def _targets(where: str, y: Array, spec: DataSpec) -> Array:
    """Return classes as int64, binary labels and quantities as floats."""
    if spec.task == "multiclass":
        y = _shaped(where, y, spec.shape[:1] if spec.per_step else (), spec)
        rule = f"outputs={spec.outputs}: classes are 0 to {spec.outputs - 1}"
        _check_whole(where, y, spec.outputs, rule)
        return _converted(y, np.int64)
    y = _shaped(where, y, (spec.outputs,), spec)
    if spec.task == "binary":
        _check_whole(where, y, 2, "labels of a binary task are 0 and 1")
        return _converted(y, np.float32)
    _check_finite(where, y, ("target",))
    return _as_floats(y)


def _check_whole(where: str, array: Array, end: int, rule: str) -> None:
    """Refuse the first number that is not one of 0, 1, ..., end - 1."""
    if array.dtype.kind == "b":
        return
    for begin, rows in pieces(array):
        with np.errstate(invalid="ignore"):
            fine = (rows >= 0) & (rows < end)
            if array.dtype.kind == "f":
                fine &= rows == np.floor(rows)
        if not fine.all():
            place = tuple(int(i) for i in np.argwhere(~fine)[0])
            value = rows[place].item()
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            hints = {-100: "; -100 marks a missing label: drop these rows in load()", end: "; number them from 0"}
            hint = "; fill or drop it in load()" if np.isnan(value) else hints.get(value, "")
            more = f", column {place[1]}" if len(place) > 1 and array.shape[1] > 1 else ""
            raise BadInputError(f"{where} holds {shown} (row {begin + place[0]}{more}); {rule}{hint}")


def _as_floats(array: Array) -> Array:
    """Return single or double precision: double only if the array is that precise."""
    if array.dtype.kind == "f":
        single = array.dtype.itemsize <= 4
    else:
        single = all(abs(int(f(rows))) <= EXACT_IN_FLOAT32 for _, rows in pieces(array) for f in (np.min, np.max))
    return _converted(array, np.float32 if single else np.float64)


def _converted(array: Array, dtype: DTypeLike) -> Array:
    """Return the array in this type; it stays on disk if it is there."""
    if array.dtype == np.dtype(dtype) and array.dtype.isnative:
        return array
    if not isinstance(array, np.memmap):
        return array.astype(dtype)
    made = on_disk(array.shape, dtype)
    for begin, rows in pieces(array):
        made[begin : begin + len(rows)] = rows
    return made


def _check_metrics(name: str, spec: DataSpec, splits: Splits) -> None:
    """Refuse splits on which a metric of the task has no value."""
    for split, arrays in splits.items():
        if spec.task == "regression" and len(arrays.y) < 2:
            _refuse(name, f"{split} holds one row; r2 needs two")
    held = splits.val.y
    if spec.task == "binary" and (held == held[:1]).all():
        _refuse(name, f"val holds class {int(held[0, 0])} only, so auroc has no value; split by class")
    if spec.task == "regression" and spec.metric == "r2" and (held == held[:1]).all():
        _refuse(name, f"val y is constant ({float(held[0, 0]):g}), so r2 has no value; split at random")
