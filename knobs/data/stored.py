"""Arrays on this machine's disk, each set under its own fingerprint, and an index of which data set made them.

`arrays/<fingerprint>/`: one `.npy` file for each array, and `about.json`. Workers map them into memory, so that eight
workers hold one copy. `index/<kind>-<key>.json`: the fingerprint that these knobs, code, packages and files gave last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from knobs.config import SPLITS, Split, Splits
from knobs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from knobs.config import DataSpec

ABOUT_FILE = "about.json"

LEFT_SECONDS = 3600.0
"""An unfinished folder that is older was left by a killed writer."""


@dataclass(frozen=True)
class About:
    """Facts about checked arrays that can be had without reading them."""

    fingerprint: str
    """Hash over the spec, and over names, shapes, types and bytes of all arrays."""
    spec: str
    """The spec that they were checked against, as text."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of each split."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Indexed:
    """The result of the last load of a data set."""

    fingerprint: str
    current: bool
    """True if equal knobs, code, packages and files give these arrays: nothing else was read."""


class ArrayStore:
    """The prepared arrays in one folder. Several processes may write at once: a rename decides, and all agree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, fingerprint: str) -> Path:
        """Return the folder of these arrays."""
        return self.folder / "arrays" / fingerprint[:16]

    def about(self, fingerprint: str) -> About | None:
        """Return what is known of these arrays; None if they are not here."""
        try:
            found = About(**json.loads((self.place(fingerprint) / ABOUT_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.fingerprint == fingerprint else None

    def open(self, fingerprint: str, *, train_on_disk: bool = False) -> Splits:
        """Return arrays that are here, mapped into memory (copy on write: no process changes another's arrays).

        `train_on_disk`: the training split is read-only, so that it does not count as the process's own memory.
        """
        folder = self.place(fingerprint)

        def split(name: str) -> Split:
            mode: Literal["r", "c"] = "r" if train_on_disk and name == "train" else "c"
            return Split(*(np.load(folder / f"{name}_{part}.npy", mmap_mode=mode) for part in "xy"))

        names = sorted(path.name.removesuffix("_x.npy") for path in folder.glob("*_x.npy"))
        extra = {name: split(name) for name in names if name not in SPLITS}
        return Splits(train=split("train"), val=split("val"), test=split("test"), extra=extra)

    def write(self, splits: Splits, about: About) -> None:
        """Write arrays unless they are here. Raise `StoreError` if the disk refuses."""
        if self.about(about.fingerprint) is not None:
            return
        folder = self.place(about.fingerprint)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
            try:
                for name, split in splits.items():
                    np.save(temporary / f"{name}_x.npy", np.ascontiguousarray(split.x))
                    np.save(temporary / f"{name}_y.npy", np.ascontiguousarray(split.y))
                (temporary / ABOUT_FILE).write_text(json.dumps(asdict(about)), encoding="utf-8")
                self._rename(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror or error}") from None

    def indexed(self, key: str) -> Indexed | None:
        """Return what `note` wrote under this key; None if nothing."""
        try:
            return Indexed(**json.loads(self._index_file(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def note(self, key: str, found: Indexed) -> None:
        """Note what a data set gave. Raise `StoreError` if the disk refuses."""
        if self.indexed(key) == found:
            return
        path = self._index_file(key)
        temporary = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(found)), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror or error}") from None

    def unneeded(self, fingerprints: Iterable[str]) -> list[Path]:
        """Return the folders of arrays with other fingerprints, and what killed writers left."""
        kept = {fingerprint[:16] for fingerprint in fingerprints}
        found = [path for path in (self.folder / "arrays").glob("*") if path.name not in kept]
        old = time.time() - LEFT_SECONDS
        return sorted(path for path in found if not path.name.startswith(".") or path.stat().st_mtime < old)

    def _index_file(self, key: str) -> Path:
        return self.folder / "index" / f"{key}.json"

    def _rename(self, temporary: Path, folder: Path) -> None:
        for attempt in range(3):
            try:
                os.rename(temporary, folder)
            except OSError:  # another process wrote the same arrays, or a killed one left half of them
                if attempt == 2 and not folder.is_dir():
                    raise
                if (folder / ABOUT_FILE).is_file():
                    return
                shutil.rmtree(folder, ignore_errors=True)
            else:
                return


def hash_splits(splits: Splits) -> str:
    """Return a hash over names, shapes, types and bytes of all arrays."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        for part, array in (("x", split.x), ("y", split.y)):
            digest.update(f"{name}.{part} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def fingerprint_of(spec: DataSpec, splits: Splits) -> str:
    """Return a hash over the spec and the arrays: what a network is built from and trained on."""
    return hashlib.sha256(f"{spec} {hash_splits(splits)}".encode()).hexdigest()
