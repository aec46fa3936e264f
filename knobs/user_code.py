"""Errors that pass through user code: the user's file and line, and the nearest right name.

User code is everything outside the engine, Python's own library and installed packages: a project's files, and content.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import os
import re
import sys
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any

from knobs.errors import BadInputError, KnobsError, nearest

MOST_CHARACTERS = 300
"""Longer texts of foreign errors are cut."""

_ENGINE = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parent, Path(__file__).resolve().parent))
_CONTENT = tuple(f"{folder}content{os.sep}" for folder in _ENGINE)
"""Shipped content inside an installed package."""


def place_of(error: BaseException) -> str:
    """Return `file:line` of the innermost user code that an error passed through; empty if there is none.

    An error without such a line has the place of the error that caused it.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_user_file(error.filename):
        return f"{_shown(error.filename)}:{error.lineno}"
    lines = [(frame, line) for frame, line in walk_tb(error.__traceback__) if _is_user_file(frame.f_code.co_filename)]
    if lines:
        frame, line = lines[-1]
        return f"{_shown(frame.f_code.co_filename)}:{line}"
    return place_of(error.__cause__) if error.__cause__ is not None else ""


def line_of(function: Any) -> str:
    """Return `file:line` of a user's function or class; of the function inside a partial; else empty."""
    function = getattr(function, "func", function)
    try:
        code = function if inspect.isroutine(function) or inspect.isclass(function) else type(function)
        file = inspect.getsourcefile(code)
        return f"{_shown(file)}:{inspect.getsourcelines(code)[1]}" if file and _is_user_file(file) else ""
    except (OSError, TypeError):
        return ""


def text_of_error(error: BaseException) -> str:
    """Return one line on an error of user code: type, text, the nearest right name. One of ours speaks for itself."""
    if isinstance(error, KnobsError):
        return str(error)
    said = str(error).strip().partition("\n")[0][:MOST_CHARACTERS]
    return f"{type(error).__name__}: {said}{_hint(error)}" if said else type(error).__name__


def placed_text(error: BaseException) -> str:
    """Return `text_of_error` behind the user's file and line.

    An error of ours that content itself raised, as networks do to refuse data, needs no place; nor if its text has one.
    """
    text, place = text_of_error(error), place_of(error)
    if not place or place in text or (isinstance(error, KnobsError) and _is_raised_by_user(error)):
        return text
    return f"{place}: {text}"


def user_error(error: Exception, about: str = "") -> BadInputError:
    """Return what user code raised as bad input: place, then `about` (`the space of s`), then the error's text."""
    text, place = text_of_error(error), place_of(error)
    words = f"{about}: {text}" if about else text
    return BadInputError(f"{place}: {words}" if place and place not in words else words)


def _is_raised_by_user(error: BaseException) -> bool:
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and _is_user_file(frames[-1].f_code.co_filename)


def _is_user_file(file: str) -> bool:
    if not Path(file).is_absolute():
        return False
    if file.startswith(_ENGINE):
        return file.startswith(_CONTENT)
    return not file.startswith(_libraries())


@functools.cache
def _libraries() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {str(Path(path).resolve()) for path in found}
    return tuple(path + os.sep for path in found)


def _shown(file: str) -> str:
    """Return a path relative to the current folder if it lies below it."""
    return file.removeprefix(f"{Path.cwd()}{os.sep}")


def _hint(error: BaseException) -> str:
    """Return `; did you mean X?` if a name in a user's code is close to a right one."""
    try:
        name, valid = _misspelt(error)
    except Exception:  # a hint must not hide the error
        return ""
    if not name or name in valid:
        return ""
    hint = nearest(name, [word for word in valid if not word.startswith("_")])
    return hint if "did you mean" in hint else ""


def _misspelt(error: BaseException) -> tuple[str, list[str]]:
    """Return the unknown name that an error is about, and the names that are known there."""
    frames: list[FrameType] = [frame for frame, _ in walk_tb(error.__traceback__)]
    match error:
        case ModuleNotFoundError(name=str(full)):
            import pkgutil

            parent, _, leaf = full.rpartition(".")
            path = sys.modules[parent].__path__ if parent else None
            return leaf, [module.name for module in pkgutil.iter_modules(path)]
        case ImportError(name=str(module)):
            found = re.search(r"cannot import name '(\w+)'", str(error))
            known = sys.modules[module]
            return (found[1], [*dir(known), *getattr(known, "__all__", ())]) if found else ("", [])
        case AttributeError(name=str(name)) if "did you mean" not in str(error).lower():
            return name, dir(error.obj)
        case NameError(name=str(name)):
            return name, [*frames[-1].f_locals, *frames[-1].f_globals, *dir(builtins)]
        case TypeError():
            found = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", str(error))
            if found:
                return found[2], list(inspect.signature(frames[-1].f_globals[found[1]]).parameters)
    return "", []
