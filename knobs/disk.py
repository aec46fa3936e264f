"""Arrays that live on disk, for what does not fit into memory. NumPy only."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


def on_disk(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, np.dtype[Any]]:
    """An array of zeros in a temporary file without a name: gone with the last reference to it."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def like(array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """An empty array where `array` is: on disk if that is."""
    return on_disk(array.shape, array.dtype) if isinstance(array, np.memmap) else np.empty_like(array)
