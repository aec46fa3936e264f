"""The arrays of data sets: loaded, checked, cached, and cut into batches.

This package's `__init__` imports NumPy but no torch, because the driver imports it. Import `in_memory` and `sharded`
from their modules.

- `prepared`: makes a data set's arrays once per machine, fingerprints and caches them
- `files_read`: loads a data set and records which files it reads
- `perturb`: shuffled features and label noise, for any data set
- `memmap`: arrays on disk, for data that do not fit into memory
- `in_memory` (torch): batches from tensors on the device
- `sharded` (torch): batches from a training split that stays on disk
"""

from __future__ import annotations

from knobs.data.memmap import empty_like, on_disk
from knobs.data.prepared import cached_fingerprint, check_loads, hash_splits, open_prepared, prepare

__all__ = [
    "cached_fingerprint",
    "check_loads",
    "empty_like",
    "hash_splits",
    "on_disk",
    "open_prepared",
    "prepare",
]
