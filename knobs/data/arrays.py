"""NumPy arrays from what `load()` may return: NumPy, pandas, torch, nested lists. Imports neither pandas nor torch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from knobs.errors import BadInputError

if TYPE_CHECKING:
    from knobs.config import Array

NUMBERS = "biuf"
"""NumPy's kinds of real numbers: bool, integers, floats."""

KINDS = {"M": "dates", "m": "time spans", "c": "complex numbers", "U": "text", "S": "bytes", "O": "Python objects"}
KINDS |= {"T": "text", "V": "records"}


def as_array(value: object, where: str) -> tuple[Array, list[Any]]:
    """Return real numbers as a NumPy array, and the names of its columns if it had some.

    Nothing is copied unless it must be. `where` names the value in messages: `data.table: train x`. Raise
    `BadInputError` for anything that is not a table of real numbers.
    """
    names: list[Any] = []
    if value is None:
        raise BadInputError(f"{where} is None; every split needs x and y")
    if _is_of(value, "pandas", "DataFrame", "Series"):
        array, names = _from_pandas(value, where)
    elif _is_of(value, "torch", "Tensor"):
        array = _from_torch(value, where)
    elif isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            row = int(np.argwhere(np.ma.getmaskarray(value))[0][0])
            raise BadInputError(f"{where} holds masked values (row {row}); fill or drop them in load()")
        array = value.data
    elif isinstance(value, np.ndarray):
        array = np.asarray(value) if isinstance(value, np.matrix) else value
    elif hasattr(value, "toarray"):
        raise BadInputError(f"{where} is a sparse {type(value).__name__}; return x.toarray()")
    elif hasattr(value, "__array__") or isinstance(value, list | tuple):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError) as error:
            raise BadInputError(f"{where} is no table of numbers: {error}") from None
    else:
        raise BadInputError(f"{where} is of type {type(value).__name__}; return an array")
    if array.dtype.kind not in NUMBERS:
        kind = KINDS.get(array.dtype.kind, str(array.dtype))
        raise BadInputError(f"{where} holds {kind} ({array.dtype}); turn them into numbers in load()")
    if array.ndim == 0:
        raise BadInputError(f"{where} is a single number; return one row for each sample")
    return array, names


def _is_of(value: object, module: str, *names: str) -> bool:
    """Return whether a value is of one of these classes. A module that is not imported made no value."""
    classes = tuple(found for name in names if (found := getattr(sys.modules.get(module), name, None)) is not None)
    return bool(classes) and isinstance(value, classes)


def _from_pandas(value: Any, where: str) -> tuple[Array, list[Any]]:
    """Return the numbers of a DataFrame or Series; missing ones are NaN."""
    types = sys.modules["pandas"].api.types
    several = hasattr(value, "columns")
    columns = list(zip(value.columns, value.dtypes, strict=True)) if several else [(value.name, value.dtype)]
    for name, dtype in columns:
        if not types.is_numeric_dtype(dtype) or types.is_complex_dtype(dtype):
            raise BadInputError(f"{where} holds {dtype} in column {name!r}; turn it into numbers in load()")
    kinds = {dtype for _, dtype in columns}
    if len(kinds) == 1 and isinstance(next(iter(kinds)), np.dtype):
        array = value.to_numpy()
    else:
        array = value.to_numpy(dtype=np.float64, na_value=np.nan)
    return array, [name for name, _ in columns] if several else []


def _from_torch(value: Any, where: str) -> Array:
    if value.layout is not sys.modules["torch"].strided:
        raise BadInputError(f"{where} is a sparse tensor; return x.to_dense()")
    tensor = value.detach().cpu()
    if tensor.dtype.is_floating_point and tensor.dtype.itemsize < 4:  # NumPy has no bfloat16
        tensor = tensor.float()
    array: Array = tensor.numpy()
    return array
