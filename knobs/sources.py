"""Loading a data set while noting which files it reads, so that a replaced file is never answered with old arrays.

Seen is every file that is opened from Python for reading, in this process; not what a C library opens by itself, and
not a file that is new in a folder which was listed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knobs.altered import altered
from knobs.errors import BadInputError, KnobsError

if TYPE_CHECKING:
    from knobs.config import DataConfig
    from knobs.data import Splits

CODE = {".py", ".pyc", ".so", ".pth"}
"""Hashed as code, or recorded as a package's version."""

SYSTEM = ("/proc/", "/sys/", "/dev/")


@dataclass(frozen=True)
class Made:
    """What was loaded, and a hash of each file that was read for it."""

    splits: Splits
    sources: dict[str, str]


_read: dict[str, set[str]] = {}
"""By the data set's kind: what it once read it may keep in memory, and not read again."""


def load(config: DataConfig) -> Made:
    """The arrays, with their sources. Raises `BadInputError` for whatever a data set's own code raises."""
    _install()
    heard = _read.setdefault(config.kind, set())
    _State.heard = heard
    try:
        splits = altered(config.load(), config)
    except KnobsError:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise BadInputError(f"the data set {config.kind} does not load: {type(error).__name__}: {said}") from error
    finally:
        _State.heard = None
    return Made(splits, {path: content(path) for path in sorted(heard) if Path(path).is_file()})


def content(path: str) -> str:
    """A hash of a file's bytes; empty where there is none."""
    try:
        stat = Path(path).stat()
        return _content(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    except OSError:
        return ""


@functools.cache
def _content(path: str, *_unchanged: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _State:
    heard: set[str] | None = None


@functools.cache
def _install() -> None:
    sys.addaudithook(_hear)  # it stays for the process's life


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _State.heard is None or event != "open":
        return
    path, mode, flags = arguments
    if not isinstance(path, str | bytes | os.PathLike):
        return
    writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & os.O_ACCMODE
    file = Path.cwd() / os.fsdecode(path)
    if not writes and not str(file).startswith(SYSTEM) and file.suffix not in CODE:
        _State.heard.add(str(file))
