"""Who asks: code of the project, an installed package, or Python itself. Found from the call stack."""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from pathlib import Path

from knobs import discover

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed packages. Their versions are recorded instead of their code."""


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    """Return the folders of Python, of installed packages and of knobs: versions and code hashes stand for them."""
    packages = [*site.getsitepackages(), site.getusersitepackages()]
    found = [*map(sysconfig.get_path, ("stdlib", "platstdlib")), *packages, sys.prefix, str(Path(__file__).parents[1])]
    return tuple({f"{folder}{os.sep}" for path in found for folder in (path, os.path.realpath(path))})


def is_installed(path: str) -> bool:
    """Return whether a file belongs to Python, to an installed package or to knobs."""
    installed = path.startswith(_installed_folders()) or any(
        f"{os.sep}{folder}{os.sep}" in path for folder in INSTALLED
    )
    return installed and not path.startswith(f"{discover.SHIPPED}{os.sep}content{os.sep}")


def is_imported_package() -> bool:
    """Return whether a package, not the project, reads something while it is imported: a cache of fonts, say."""
    frame, package = sys._getframe(2), False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return package
        if not file.startswith("<"):
            if not is_installed(file):
                return False
            package = True
        frame = frame.f_back  # type: ignore[assignment]
    return False


FOR_THE_CALLER = {"os", "_collections_abc", "glob", "pathlib", "posixpath"}
"""Modules of Python that read a variable or list a folder only because their caller asks."""


def project_asks(*, through_python: bool = False) -> bool:
    """Return whether code of the project asks: itself, or through modules of Python that answer for their caller.

    Args:
        through_python: Any module of Python counts as answering for its caller.
    """
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return False  # an import looks for files
        own = file.removeprefix("<frozen ").removesuffix(">") if file.startswith("<") else _python_module(file)
        if not own:
            return not is_installed(file)
        if not through_python and own not in FOR_THE_CALLER:
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return False


@functools.cache
def _python_module(file: str) -> str:
    """Return the top-level name of a module of Python; empty for every other file."""
    base = sysconfig.get_path("stdlib") + os.sep
    if not file.startswith(base) or INSTALLED & set(Path(file).parts):
        return ""
    return file.removeprefix(base).split(os.sep)[0].removesuffix(".py")
