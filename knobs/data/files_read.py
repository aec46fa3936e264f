"""Loads a data set and records which files it reads, so that a replaced file never yields the old cached arrays.

Recorded is every file that Python opens for reading in this process. Not recorded are files that a C library opens
itself, and new files in a folder that was listed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knobs.data.perturb import perturb
from knobs.errors import BadInputError, KnobsError

if TYPE_CHECKING:
    from knobs.config import DataConfig, Splits

CODE = {".py", ".pyc", ".so", ".pth"}
"""Suffixes of code. Code is hashed separately, or recorded as a package's version."""

SYSTEM = ("/proc/", "/sys/", "/dev/")


@dataclass(frozen=True)
class LoadedArrays:
    """A loaded data set, and a hash of each file that was read for it."""

    splits: Splits
    files_read: dict[str, str]
    """Path -> hash."""


_read_before: dict[str, set[str]] = {}
"""Files that each kind of data set read in this process. It may keep them in memory and not read them again."""


def load_arrays(config: DataConfig) -> LoadedArrays:
    """Load the arrays and record the files read. Raise `BadInputError` if the data set's own code raises anything."""
    _install_hook()
    paths = _read_before.setdefault(config.kind, set())
    _Recording.paths = paths
    try:
        splits = perturb(config.load(), config)
    except KnobsError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(f"the data set {config.kind} does not load: {type(error).__name__}: {reason}") from error
    finally:
        _Recording.paths = None
    return LoadedArrays(splits, {path: file_hash(path) for path in sorted(paths) if Path(path).is_file()})


def file_hash(path: str) -> str:
    """Return a hash of a file's bytes; empty if there is no such file."""
    try:
        stat = Path(path).stat()
        return _hash_once(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    except OSError:
        return ""


@functools.cache
def _hash_once(path: str, *_unchanged: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Recording:
    """Holds the set to which opened paths are added; None: nothing is recorded."""

    paths: set[str] | None = None


@functools.cache
def _install_hook() -> None:
    sys.addaudithook(_record_opened_file)  # Python cannot remove an audit hook


def _record_opened_file(event: str, arguments: tuple[Any, ...]) -> None:
    if _Recording.paths is None or event != "open":
        return
    path, mode, flags = arguments
    if not isinstance(path, str | bytes | os.PathLike):
        return
    writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & os.O_ACCMODE
    file = Path.cwd() / os.fsdecode(path)
    if not writes and not str(file).startswith(SYSTEM) and file.suffix not in CODE:
        _Recording.paths.add(str(file))
