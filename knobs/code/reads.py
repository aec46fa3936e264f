"""Notes what a training reads besides its data: files, folders, environment variables.

A model may load weights or take a setting from the environment. Its code and its knobs do not show that. The worker
notes such reads, and the record keeps a hash of each, so that a finished run is reused only if all of them are as they
were. Not seen: files that a C library opens itself. So a run is marked as unproven if its own code imports a library
that does, or starts a process, or opens a network connection.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knobs import discover
from knobs.code.callers import is_imported_package, is_installed, project_asks

SYSTEM = ("/proc/", "/sys/", "/dev/")

LARGE = 1 << 28
"""Files of more bytes than this are known by size and time of change."""

ABSENT = "absent"

OWN = "KNOBS_"
"""Start of the variables that say where and how fast knobs works, not what it computes."""


@dataclass(frozen=True)
class Reads:
    """Files and variables that were read, with hashes. A file within the project is named relative to it."""

    files: dict[str, str] = field(default_factory=dict)
    """Hash by path. A folder that was listed ends with a slash; its hash is that of its names."""
    variables: dict[str, str] = field(default_factory=dict)
    """Hash by environment variable; `absent` if it was not set."""
    unproven: tuple[str, ...] = ()
    """Reasons why more may have been read than is known here."""

    def __bool__(self) -> bool:
        return bool(self.files or self.variables or self.unproven)

    def difference(self) -> str:
        """Return the first file or variable that differs now; empty if none does."""
        for path, content in self.files.items():
            if _content(discover.current_root() / path, folder=path.endswith("/")) != content:
                return path
        for name, value in self.variables.items():
            if _value(os.environ.get(name)) != value:
                return f"environment variable {name}"
        return ""

    def to_json(self) -> str:
        """Return JSON; two equal reads have the same text."""
        return json.dumps(vars(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Reads:
        """Return the reads that `to_json` wrote."""
        tree = json.loads(text)
        return cls(tree["files"], tree["variables"], tuple(tree["unproven"]))


class Notes:
    """Names of files and variables that were read during one block."""

    def __init__(self, ignored: tuple[str, ...] = ()) -> None:
        self.paths: set[str] = set()
        self.variables: set[str] = set()
        self.unproven: set[str] = set()
        self.written: set[str] = set()
        self.ignored = ignored


_active: list[Notes] = []
_of_module: dict[str, Notes] = {}
"""By module of the project: the reads while it was imported."""


@contextmanager
def noted(*ignored: Path) -> Iterator[Notes]:
    """Note what is read in this block, except below these folders. `install_hooks` must have been called."""
    notes = Notes(tuple(f"{path}{os.sep}" for path in ignored))
    _active.append(notes)
    try:
        yield notes
    finally:
        _active.remove(notes)


@contextmanager
def noted_for_module(name: str) -> Iterator[None]:
    """Note what a module reads while it is imported."""
    with noted() as notes:
        _of_module[name] = notes
        yield


def collect_reads(notes: Notes, files_by_module: dict[str, Path]) -> Reads:
    """Return what was read in a block and while these modules were imported. Their own files are code, not reads."""
    every = [notes, *(_of_module[name] for name in files_by_module if name in _of_module)]
    code = {os.path.realpath(path) for path in files_by_module.values()}
    written = set[str]().union(*(each.written for each in every))
    paths = set[str]().union(*(each.paths for each in every)) - written
    root = os.path.realpath(discover.current_root()) + os.sep
    files: dict[str, str] = {}
    for path in sorted(paths):
        folder = path.endswith("/")
        source = os.path.realpath(path)
        if source in code or source.startswith(notes.ignored) or not os.path.exists(path):
            continue
        name = source.removeprefix(root) + "/" * folder
        files[name] = _content(Path(source), folder=folder)
    variables = set[str]().union(*(each.variables for each in every))
    values = {name: _value(os.environ.get(name)) for name in sorted(variables)}
    return Reads(files, values, tuple(sorted(set[str]().union(*(each.unproven for each in every)))))


@functools.cache
def install_hooks() -> None:
    """Listen to what this process reads from now on. Python cannot remove an audit hook, so only workers do this."""
    sys.addaudithook(_hear)
    os.environ.__class__ = _NotingEnvironment


class _NotingEnvironment(type(os.environ)):  # type: ignore[misc]
    """`os.environ` that notes which variables the project's own code asks for."""

    def __getitem__(self, key: str) -> str:
        if _active and not key.startswith(OWN) and project_asks():
            for notes in _active:
                notes.variables.add(key)
        value: str = super().__getitem__(key)
        return value


_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"}


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active:
        return
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, str | bytes | os.PathLike):
            writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & os.O_ACCMODE
            if not writes and is_imported_package():
                return
            _note_file(os.path.abspath(os.fsdecode(path)), written=bool(writes))
    elif event == "sqlite3.connect":
        if isinstance(arguments[0], str | bytes | os.PathLike):
            _note_file(os.path.abspath(os.fsdecode(arguments[0])), written=False)
    elif event in ("os.listdir", "os.scandir"):
        if isinstance(arguments[0], str | bytes | os.PathLike | None) and project_asks():
            folder = os.path.abspath(os.fsdecode(arguments[0] or "."))
            for notes in _active:
                notes.paths.add(f"{folder}/")
    elif event in _STARTS and project_asks(through_python=True):
        _note_unproven("it starts another process")
    elif event == "socket.connect" and project_asks(through_python=True):
        _note_unproven("it connects to a network address")


def _note_file(path: str, *, written: bool) -> None:
    if path.startswith(SYSTEM) or is_installed(path):
        return
    if path.endswith(".pyc"):
        return
    for notes in _active:
        (notes.written if written else notes.paths).add(path)


def _note_unproven(reason: str) -> None:
    for notes in _active:
        notes.unproven.add(reason)


def _content(path: Path, *, folder: bool) -> str:
    try:
        if folder:
            names = "\n".join(sorted(name for name in os.listdir(path) if name != "__pycache__"))
            return hashlib.sha256(names.encode()).hexdigest()[:16]
        found = path.stat()
        if found.st_size > LARGE:
            return f"{found.st_size} bytes of {found.st_mtime_ns}"
        return _hash(str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    except OSError:
        return ABSENT


@functools.cache
def _hash(path: str, *_unchanged: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _value(text: str | None) -> str:
    return ABSENT if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
