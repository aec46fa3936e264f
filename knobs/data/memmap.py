"""Arrays on disk, for data that do not fit into memory. NumPy only."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


def on_disk(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an array of zeros in a temporary file without a name. The file is deleted with the last reference."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def empty_like(array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an uninitialised array like `array`; it is on disk if `array` is."""
    return on_disk(array.shape, array.dtype) if isinstance(array, np.memmap) else np.empty_like(array)
