"""Prepared data sets: arrays that are made once per machine, fingerprinted and cached. NumPy only.

The arrays are cached as `.npy` files. Every worker maps them into memory, so that eight workers hold one copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from knobs import discover
from knobs.code import code_hash
from knobs.config import SPLITS, Split, Splits
from knobs.data.files_read import LoadedArrays, file_hash, load_arrays
from knobs.errors import BadInputError, StoreError

if TYPE_CHECKING:
    from knobs.config import DataConfig

PERTURB = "knobs.data.perturb"
"""The engine's module that changes the arrays; its code counts like the data set's own."""

INDEX_FILE = "index.json"
"""Name of the file that holds a prepared data set's fingerprint and the hashes of the files read for it."""

_loaded: dict[Path, LoadedArrays | None] = {}
"""Data sets that `check_loads` loaded. Only the first one's arrays are kept: more may not fit into memory."""


def prepare(config: DataConfig, cache: Path) -> str:
    """Make the data set if this machine's `cache` lacks it, and return the fingerprint of its arrays.

    The fingerprint is a hash over names, shapes, types and bytes of the loaded arrays. Several processes may call this
    at once: each writes its own folder, and one rename wins. Raise `StoreError` if the cache cannot be written.
    """
    folder = _folder(config, cache)
    if found := _valid_fingerprint(folder):
        return found
    loaded = _loaded.pop(folder, None) or load_arrays(config)
    fingerprint = hash_splits(loaded.splits)
    try:
        _write_arrays(loaded.splits, folder / fingerprint[:16])
        root = discover.current_root()  # paths within the project are relative: a copy of it has files of its own
        files = {_relative(Path(path), root): content for path, content in loaded.files_read.items()}
        index = {"fingerprint": fingerprint, "files_read": files}
        _replace_file(folder / INDEX_FILE, json.dumps(index))
    except OSError as error:
        raise StoreError(f"{cache} cannot be written: {error.strerror or error}") from None
    return fingerprint


def check_loads(config: DataConfig, cache: Path) -> None:
    """Raise `BadInputError` if the data set does not load. Write nothing; the arrays are kept for `prepare`."""
    folder = _folder(config, cache)
    if not (folder in _loaded or _valid_fingerprint(folder)):
        loaded = load_arrays(config)
        _loaded[folder] = None if _loaded else loaded


def cached_fingerprint(config: DataConfig, cache: Path) -> str:
    """Return the fingerprint of a data set that this machine has prepared; empty if it has not."""
    return _valid_fingerprint(_folder(config, cache))


def open_prepared(config: DataConfig, cache: Path, fingerprint: str = "") -> Splits:
    """Return the prepared arrays, mapped into memory (copy on write: no process changes another's arrays).

    With a fingerprint, return exactly those arrays, even if the files have changed since. Raise `BadInputError` if they
    are gone.
    """
    folder = _folder(config, cache)
    if not (fingerprint and (folder / fingerprint[:16]).is_dir()):
        now = prepare(config, cache)
        if fingerprint not in ("", now):
            raise BadInputError(f"the arrays of data set {config.kind} changed from {fingerprint[:12]} to {now[:12]}")
        fingerprint = now
    arrays = folder / fingerprint[:16]

    def split(name: str) -> Split:
        return Split(*(np.load(arrays / f"{name}_{part}.npy", mmap_mode="c") for part in "xy"))

    names = sorted(path.name.removesuffix("_x.npy") for path in arrays.glob("*_x.npy"))
    extra = {name: split(name) for name in names if name not in SPLITS}
    return Splits(train=split("train"), val=split("val"), test=split("test"), extra=extra)


def hash_splits(splits: Splits) -> str:
    """Return a hash over names, shapes, types and bytes of all arrays."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        for part, array in (("x", split.x), ("y", split.y)):
            digest.update(f"{name}.{part} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _folder(config: DataConfig, cache: Path) -> Path:
    """Return the data set's folder. Its name hashes the data knobs (except the batch size) and the loader's code."""
    knobs = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "batch_size"}
    key = json.dumps([config.kind, knobs, code_hash([type(config).__module__, PERTURB])], sort_keys=True)
    return cache / f"{config.kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _valid_fingerprint(folder: Path) -> str:
    """Return the fingerprint that `prepare` wrote, if every file read is unchanged; otherwise empty."""
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        fingerprint, files_read = str(index["fingerprint"]), dict(index["files_read"])
    except (OSError, ValueError, KeyError):
        return ""
    root = discover.current_root()
    unchanged = all(file_hash(str(root / path)) == content for path, content in files_read.items())
    return fingerprint if unchanged and (folder / fingerprint[:16]).is_dir() else ""


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _write_arrays(splits: Splits, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        for name, split in splits.items():
            np.save(temporary / f"{name}_x.npy", np.ascontiguousarray(split.x))
            np.save(temporary / f"{name}_y.npy", np.ascontiguousarray(split.y))
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process wrote the same content
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_file(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
