"""Which files the code of a data set opens, for data sets that say which ones they depend on.

Python reports every file that it opens, and every SQLite database, to an audit hook. A file counts against a data set
if its module was running, or a helper of the project that belongs to no content. Libraries written in C open files
without a report: a data set that promises its files must name those too.
"""

from __future__ import annotations

import functools
import os
import site
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from knobs import discover

CODE = (".py", ".pyc", ".so", ".pth")
"""Suffixes of code. Code is hashed separately, or recorded as a package's version."""

SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/")


_opened: set[tuple[str, str]] = set()
"""Path, and the data set whose module was running; empty: a helper's."""


@functools.cache
def listen() -> None:
    """Note from now on which files are opened. Call this before content is imported."""
    sys.addaudithook(_note)  # Python cannot remove an audit hook


def is_listening() -> bool:
    """Return whether `listen` was called in this process."""
    return listen.cache_info().currsize > 0


def opened_by(kind: str) -> set[Path]:
    """Return the files that a data set's code has opened for reading; code and files of packages are left out."""
    return {Path(path) for path, owner in _opened if owner in (kind, "")}


@functools.cache
def _ignored() -> tuple[str, ...]:
    packages = {sys.prefix, sys.base_prefix, *site.getsitepackages(), site.getusersitepackages()}
    return (*SYSTEM, *(f"{place}{os.sep}" for place in packages))


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("open", "sqlite3.connect"):
        return
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return
    if event == "open":
        _, mode, flags = arguments
        if set(mode) & set("wax+") if isinstance(mode, str) else flags & os.O_ACCMODE:
            return
    text = os.fsdecode(path)
    if text.endswith(CODE) or text.startswith(_ignored()):  # most files: code and data of packages
        return
    file = os.path.normpath(Path.cwd() / text)
    if not file.startswith(_ignored()):
        _opened.update((file, owner) for owner in _owners())


def _owners() -> set[str]:
    """Return the data sets whose modules are running, or an empty name for a project's helper outside of content.

    Of the call stack only the part inside of the engine's last call counts. A package's own reading while it is
    imported does not count.
    """
    sets, helper = set[str](), False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") and not sets and not helper:
            return set()
        room, _, rest = str(frame.f_globals.get("__name__", "")).partition(".")
        if room == "knobs":
            break
        if room == "datamodules" and rest and not rest.startswith("_"):
            sets.add(rest.partition(".")[0])
        elif room == "datamodules" or room not in discover.FOLDERS:
            helper = helper or _is_within(frame.f_code.co_filename, str(discover.current_root()))
        frame = frame.f_back
    return sets or ({""} if helper else set())


@functools.cache
def _is_within(file: str, project: str) -> bool:
    return file.startswith(f"{project}{os.sep}") and not file.startswith(_ignored())
