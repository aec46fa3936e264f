"""Find content by file name: models, data sets, objectives, optimizers, schedules, studies, ablations.

Content lives in the folders named in `FOLDERS`. A project has its own (its root is the nearest folder, from the
current one upward, that holds `studies/` or `experiments/`), and `knobs` ships some. A project's own file wins over a
shipped file of the same name. Listing reads file names and docstrings and imports nothing.
"""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from knobs.errors import BadInputError, nearest
from knobs.user_code import place_of, text_of_error, user_error

T = TypeVar("T")

FOLDERS = {
    "models": "model",
    "datamodules": "data set",
    "objectives": "objective",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "studies": "study",
    "experiments": "ablation",
}
"""Content folders, with the word for one file in each."""

NAME = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""Names that are safe in filters, paths and pages."""

_PACKAGE = Path(__file__).resolve().parent
SHIPPED = _PACKAGE / "content" if (_PACKAGE / "content").is_dir() else _PACKAGE.parent
"""Where the shipped content folders are: inside the installed package, or beside it in the repository."""


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder from `start` (default: the current one) upward that holds `studies/` or `experiments/`.

    Return `start` itself if there is none. The variable `KNOBS_ROOT` overrides the search; workers inherit it.
    """
    if start is None and (named := os.environ.get("KNOBS_ROOT")):
        return Path(named).expanduser()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "studies").is_dir() or (folder / "experiments").is_dir():
            return folder
    return here


def find_content(name: str) -> ModuleSpec | None:
    """Return the spec of a content folder as a package that searches the project first and the shipped files second.

    Return None if neither has such a folder.
    """
    search = _search_path(name)
    if not search:
        return None
    init = Path(search[0]) / "__init__.py"
    if init.is_file():  # the project's own package code runs
        return spec_from_file_location(name, init, submodule_search_locations=search)
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = search
    return spec


class _Active:
    """The project whose content this process imports."""

    root: Path | None = None


def current_root() -> Path:
    """Return the project whose content this process imports."""
    return _Active.root or project_root()


def _search_path(folder: str) -> list[str]:
    """Return where files of a content folder are looked for, the project's own place first."""
    bases = dict.fromkeys((current_root(), SHIPPED))
    return [str(base / folder) for base in bases if (base / folder).is_dir()]


def activate(root: Path) -> None:
    """Import content for the project at `root` from now on, and forget content that was imported for another one."""
    _Active.root = root
    for folder in FOLDERS:
        if folder in sys.modules and list(getattr(sys.modules[folder], "__path__", [])) == _search_path(folder):
            continue
        for name in [name for name in sys.modules if name == folder or name.startswith(f"{folder}.")]:
            del sys.modules[name]
    importlib.invalidate_caches()


def files(folder: str, root: Path | None = None) -> dict[str, Path]:
    """Return name and file of everything in one content folder; the project's own files replace shipped ones."""
    found: dict[str, Path] = {}
    for base in (SHIPPED, root or project_root()):
        for path in sorted((base / folder).glob("*.py")):
            if not path.name.startswith(("_", ".")) and path.is_file():  # an editor's lock is a dangling `.#name.py`
                found[path.stem] = path
    return dict(sorted(found.items()))


def summary(path: Path) -> str:
    """Return the first line of a file's docstring without importing it."""
    return docstring(path).partition("\n")[0]


def docstring(path: Path) -> str:
    """Return a file's docstring without importing it."""
    try:
        return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (SyntaxError, ValueError) as error:
        return f"(cannot be read: {error})"


@functools.cache
def launch_docstring(name: str) -> str:
    """Return the docstring of a study's or ablation's file; empty if there is no such file."""
    for folder in ("studies", "experiments"):
        path = files(folder).get(name)
        if path is not None:
            return docstring(path)
    return ""


def check_file_name(path: Path) -> None:
    """Raise `BadInputError` if a content file's name cannot be imported, or is not safe in filters, paths and pages."""
    if not re.fullmatch(NAME, path.stem):
        better = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).strip("_")[:64]
        hint = f"; rename it, for example to {better}.py" if better else ""
        raise BadInputError(f"{path}: a file's name may hold letters, digits, _ and -, at most 64{hint}")


def load(folder: str, name: str) -> ModuleType:
    """Import a content file by its name. Raise `BadInputError` if the name is unknown or the file fails."""
    known = files(folder)
    if name not in known:
        raise BadInputError(f"no {FOLDERS[folder]} named {name!r}" + nearest(name, known))
    check_file_name(known[name])
    try:
        return importlib.import_module(f"{folder}.{name}")
    except BadInputError as error:  # said about the line that built something, in this file or in one that it imports
        raise user_error(error, "" if place_of(error) else str(known[name])) from error
    except (Exception, SystemExit) as error:  # whatever a user's file raises is bad input, not an internal error
        place = f" ({place})" if (place := place_of(error)) else ""
        raise BadInputError(f"{known[name]} does not import: {text_of_error(error)}{place}") from error


def find_file(name: str) -> str:
    """Return the folder of the study or ablation of this name; names are unique across the two. Imports nothing."""
    places = {folder: files(folder) for folder in ("studies", "experiments")}
    found = [folder for folder, known in places.items() if name in known]
    for folder in found:
        check_file_name(places[folder][name])
    if len(found) > 1:
        raise BadInputError(f"{name!r} names both a study and an ablation; rename one of the two files")
    if not found:
        every = {known for names in places.values() for known in names}
        raise BadInputError(f"no study or ablation named {name!r}" + nearest(name, every))
    return found[0]


def find(name: str) -> tuple[str, ModuleType]:
    """Import the study or ablation of this name. Return its folder and module."""
    folder = find_file(name)
    return folder, load(folder, name)


def the_one(module: ModuleType, wanted: type[T]) -> T:
    """Return the one object of type `wanted` in a content file. Raise `BadInputError` if there is none or several."""
    found = [value for key, value in vars(module).items() if isinstance(value, wanted) and not key.startswith("_")]
    if len(found) != 1:
        raise BadInputError(f"{module.__file__}: expected one {wanted.__name__}, found {len(found)}")
    return found[0]


def config_class(folder: str, kind: str, wanted: type[T]) -> type[T]:
    """Return the one subclass of `wanted` that the file `<folder>/<kind>.py` defines."""
    module = load(folder, kind)
    found: list[Any] = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, wanted) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise BadInputError(f"{module.__file__}: expected one {wanted.__name__}, found {len(found)}")
    chosen: type[T] = found[0]
    return chosen
