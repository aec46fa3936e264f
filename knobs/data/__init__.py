"""The arrays of data sets: loaded, checked, cached, and cut into batches.

This package's `__init__` imports NumPy but no torch, because the driver imports it. Import `in_memory` and `sharded`
from their modules.

- `prepared`: a launch's data sets: loaded, checked, fingerprinted; when an earlier launch's arrays may answer
- `loading`: loads a data set, and asks whether a second load gives the same
- `checks`, `arrays`: arrays against their spec; conversions that change no number
- `data_warnings`: what is odd about arrays: leaks, empty classes, wild scales
- `stored`: arrays on disk, each set under its fingerprint
- `opened_files`: files that a data set's code was seen to open
- `perturb`: shuffled features and label noise, for any data set
- `memmap`: arrays on disk, for data that do not fit into memory
- `in_memory` (torch): batches from tensors on the device
- `sharded` (torch): batches from a training split that stays on disk
"""

from __future__ import annotations

from knobs.data.checks import check_splits
from knobs.data.data_warnings import warnings_about
from knobs.data.memmap import empty_like, on_disk
from knobs.data.prepared import about_prepared, begin_launch, check_loads, known_fingerprint, open_prepared, prepare
from knobs.data.stored import ArrayStore, hash_splits

__all__ = [
    "ArrayStore",
    "about_prepared",
    "begin_launch",
    "check_loads",
    "check_splits",
    "empty_like",
    "hash_splits",
    "known_fingerprint",
    "on_disk",
    "open_prepared",
    "prepare",
    "warnings_about",
]
