"""Finding content by file name: models, data sets, studies, ablations.

Content lives in four folders of the project root (the nearest folder, from the current one upward, that holds
`studies/` or `experiments/`), and in the same four folders that are installed beside `knobs`; the project's own come
first. Listing reads file names and docstrings and imports nothing of it.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from knobs.errors import BadInputError, nearest

T = TypeVar("T")

FOLDERS = ("models", "datamodules", "studies", "experiments")
SHIPPED = Path(__file__).resolve().parent.parent


def project_root(start: Path | None = None) -> Path:
    """The nearest folder from `start` (default: the current one) upward with `studies/` or `experiments/`, or `start`.

    `KNOBS_ROOT` names it outright: workers inherit the driver's.
    """
    if start is None and (named := os.environ.get("KNOBS_ROOT")):
        return Path(named)
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "studies").is_dir() or (folder / "experiments").is_dir():
            return folder
    return here


def activate(root: Path) -> None:
    """Make `from models.mlp import MLP` find the project's own files first, then the installed ones.

    The four packages get an explicit search path, so that no other installed package named `models` can stand before.
    """
    for folder in FOLDERS:
        places = [str(base / folder) for base in (root, SHIPPED) if (base / folder).is_dir()]
        package = sys.modules.get(folder)
        if package is None or list(getattr(package, "__path__", [])) != list(dict.fromkeys(places)):
            package = ModuleType(folder)
            package.__path__ = list(dict.fromkeys(places))
            sys.modules[folder] = package
    importlib.invalidate_caches()


def files(folder: str, root: Path | None = None) -> dict[str, Path]:
    """Name and file of everything in one content folder, the project's own shadowing the installed."""
    found: dict[str, Path] = {}
    for base in (SHIPPED, root or project_root()):
        for path in sorted((base / folder).glob("*.py")):
            if not path.name.startswith(("_", ".")) and path.is_file():  # an editor's lock is a dangling `.#name.py`
                found[path.stem] = path
    return dict(sorted(found.items()))


def summary(path: Path) -> str:
    """First line of a file's docstring, read without importing it."""
    return docstring(path).partition("\n")[0]


def docstring(path: Path) -> str:
    """A file's docstring, read without importing it."""
    try:
        return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (SyntaxError, ValueError) as error:
        return f"(cannot be read: {error})"


def load(folder: str, name: str) -> ModuleType:
    """Import a content file by its name. Raises `BadInputError` for an unknown name or a file that fails."""
    known = files(folder)
    if name not in known:
        singular = {"models": "model", "datamodules": "data set", "studies": "study", "experiments": "ablation"}[folder]
        raise BadInputError(f"no {singular} named {name!r}" + nearest(name, known))
    if folder not in sys.modules:
        activate(project_root())
    try:
        return importlib.import_module(f"{folder}.{name}")
    except BadInputError as error:
        raise BadInputError(f"{known[name]}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's file raises is bad input, not our bug
        said = str(error).strip().partition("\n")[0]
        raise BadInputError(f"{known[name]} does not import: {type(error).__name__}: {said}") from error


def find_file(name: str) -> str:
    """The folder of the study or ablation of this name; names are unique across the two. Imports nothing."""
    places = {folder: files(folder) for folder in ("studies", "experiments")}
    found = [folder for folder, known in places.items() if name in known]
    if len(found) > 1:
        raise BadInputError(f"{name!r} names both a study and an ablation; rename one of the two files")
    if not found:
        every = {known for names in places.values() for known in names}
        raise BadInputError(f"no study or ablation named {name!r}" + nearest(name, every))
    return found[0]


def find(name: str) -> tuple[str, ModuleType]:
    """The study or ablation of this name, imported, with its folder."""
    folder = find_file(name)
    return folder, load(folder, name)


def the_one(module: ModuleType, wanted: type[T]) -> T:
    """The single object of type `wanted` in a content file. Raises `BadInputError` where there is none or several."""
    found = [value for key, value in vars(module).items() if isinstance(value, wanted) and not key.startswith("_")]
    if len(found) != 1:
        raise BadInputError(f"{module.__file__}: expected one {wanted.__name__}, found {len(found)}")
    return found[0]


def config_class(folder: str, kind: str, wanted: type[T]) -> type[T]:
    """The one subclass of `wanted` that the file `<folder>/<kind>.py` defines."""
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
