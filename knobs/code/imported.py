"""Notes the source of each module of knobs and of the project when it is imported.

A file may be edited after its import. What runs is the code in memory, so hashes are taken of the noted source. The
project's files are compiled from the bytes that are noted, never from a `.pyc`: Python takes a `.pyc` for current if
second and size of the source are equal.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from knobs import discover
from knobs.code import reads
from knobs.code.callers import INSTALLED

ENGINE = "knobs"


@dataclass(frozen=True)
class Imported:
    """A module as it was imported."""

    path: str
    stat: tuple[int, int]
    """Time of change in ns, and size."""
    source: bytes | None
    """Its bytes. None for a file of the engine, until they are asked for: its stat stands for them."""


_imported: dict[str, Imported] = {}


class _ProjectLoader(SourceFileLoader):
    """Loads a file of the project, and notes the bytes that it compiles."""

    def get_code(self, fullname: str) -> CodeType:
        stat = _stat(self.path)
        source = self.get_data(self.path)
        _imported[fullname] = Imported(self.path, stat, source)
        code: CodeType = self.source_to_code(source, self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        with reads.noted_for_module(module.__name__):
            super().exec_module(module)


class _EngineLoader(SourceFileLoader):
    """Loads a file of knobs, from its `.pyc` if Python likes, and notes the state of the file that Python compared."""

    def path_stats(self, path: Any) -> dict[str, Any]:
        found = os.stat(path)
        _imported[self.name] = Imported(os.fspath(path), (found.st_mtime_ns, found.st_size), None)
        return {"mtime": found.st_mtime, "size": found.st_size}


class NotingFinder(MetaPathFinder):
    """Finds modules of knobs and of the project, and lets our loaders load them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of knobs or of the project; None for every other module."""
        top, _, rest = name.partition(".")
        if top in discover.FOLDERS:
            spec = PathFinder.find_spec(name, path, target) if rest else discover.find_content(name)
        elif top == ENGINE or (top in _project_modules if rest else is_of_project(name)):
            spec = PathFinder.find_spec(name, path, target)
            _project_modules.update({name} - {ENGINE} if not rest else ())
        else:
            return None
        if spec is not None and type(spec.loader) is SourceFileLoader:
            owner = _EngineLoader if top == ENGINE else _ProjectLoader
            spec.loader = owner(spec.loader.name, spec.loader.path)
        return spec


_project_modules: set[str] = set()
"""Top-level modules of the project beside its content folders."""


def install_noting_finder() -> None:
    """Note imports in this process from now on. Called when `knobs` is imported."""
    if any(isinstance(finder, NotingFinder) for finder in sys.meta_path):
        return
    before = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(before, NotingFinder())  # after finders of others: pytest rewrites the assertions of tests
    for name, module in list(sys.modules.items()):  # those that were needed to come this far
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == ENGINE and file:
            _imported.setdefault(name, Imported(file, _stat(file), None))


def is_of_project(name: str) -> bool:
    """Return whether a top-level module lies in the project. An installed package does not."""
    return bool(project_folder(name, discover.current_root()))


@functools.cache
def _entries_within(root: Path, search: tuple[str, ...]) -> list[Path]:
    """Return the entries of `sys.path` within the project."""
    entries = [Path(entry or os.curdir).resolve() for entry in search]
    return [entry for entry in entries if entry.is_relative_to(root) and not INSTALLED & set(entry.parts)]


def project_folder(name: str, root: Path) -> Path | None:
    """Return the folder that holds a top-level module of the project; None for any other module."""
    if name in sys.stdlib_module_names:
        return None
    for entry in _entries_within(root.resolve(), tuple(sys.path)):
        if (entry / f"{name}.py").is_file() or (entry / name / "__init__.py").is_file():
            return entry
        if (entry / name).is_dir():  # a namespace package, if no installed package has this name
            spec = PathFinder.find_spec(name)
            return entry if spec is not None and spec.origin is None else None
    return None


def source_of(name: str, path: Path) -> bytes | None:
    """Return the source of a module as this process imported it, or its file if it was not imported.

    Return None if it was imported and its file has changed since, so that its source is not known.
    """
    noted = _imported.get(name)
    if noted is None or not _same_file(noted.path, str(path)):
        return _read(str(path), *_stat(path))
    if noted.source is not None:
        return noted.source
    if _stat(path) != noted.stat:
        return None
    source = _read(noted.path, *noted.stat)
    _imported[name] = replace(noted, source=source)
    return source


def imported_file(name: str) -> Path | None:
    """Return the file from which this process imported a module of knobs or of the project."""
    noted = _imported.get(name) if name in sys.modules else None
    return Path(noted.path) if noted else None


def changed_modules() -> dict[str, Path]:
    """Return the modules whose file no longer holds what was imported, and their files."""
    return {
        name: Path(noted.path)
        for name, noted in list(_imported.items())
        if getattr(sys.modules.get(name), "__file__", None) == noted.path and _has_changed(name, noted)
    }


def _has_changed(name: str, noted: Imported) -> bool:
    stat = _stat(noted.path)
    if stat == noted.stat:
        return False
    if noted.source is None or stat == (0, 0) or _read(noted.path, *stat) != noted.source:
        return True
    _imported[name] = replace(noted, stat=stat)  # written again with the same text
    return False


Forgotten = dict[str, tuple[ModuleType, Imported | None]]


def forget_project_modules() -> Forgotten:
    """Remove the project's modules from this process, so that their next use imports them anew. Return them."""
    tops = {*discover.FOLDERS, *_project_modules}
    gone = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in tops}
    for name in gone:
        del sys.modules[name]
    return {name: (module, _imported.pop(name, None)) for name, module in gone.items()}


def restore_project_modules(forgotten: Forgotten) -> None:
    """Undo `forget_project_modules`."""
    forget_project_modules()
    for name, (module, noted) in forgotten.items():
        sys.modules[name] = module
        if noted is not None:
            _imported[name] = noted


def _same_file(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _stat(path: str | Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.cache
def _read(path: str, _modified: int, _size: int) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
