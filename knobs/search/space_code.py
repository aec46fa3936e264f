"""The code of a search space, with all that is bound to it: what tells whether two launches search the same space."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from knobs.config import Part, RunConfig
from knobs.errors import BadInputError


def space_code(space: Any) -> Any:
    """Return JSON that is equal for equal spaces: source without comments, bound and captured values.

    `space` is a function, a lambda, a partial, a bound method or an object that can be called. Raise `BadInputError`
    if it holds something that cannot be compared between two launches.
    """
    if isinstance(space, functools.partial):
        return {"code": space_code(space.func), "arguments": _plain([space.args, space.keywords])}
    if isinstance(space, MethodType):
        return {"code": space_code(space.__func__), "object": _plain(space.__self__)}
    if isinstance(space, FunctionType):
        defaults = [space.__defaults__, space.__kwdefaults__]
        held = {"captured": _captured(space), "defaults": _plain(defaults) if any(defaults) else None}
        return {"code": _source(space), **{name: value for name, value in held.items() if value}}
    if callable(space):
        return {"code": _source(type(space)), "object": _plain(space)}
    raise BadInputError(f"a space must be callable, not {type(space).__name__}")


def _captured(function: FunctionType) -> dict[str, Any]:
    """Return the values of outer functions' variables that a function uses."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: _plain(cell.cell_contents) for name, cell in cells}


def _source(code: Any) -> str:
    """Return the syntax tree of a function, lambda or class, without comments."""
    try:
        file = inspect.getsourcefile(code)
        text = Path(file).read_text(encoding="utf-8") if file else ""
        line = code.__code__.co_firstlineno if isinstance(code, FunctionType) else inspect.getsourcelines(code)[1]
    except (OSError, TypeError):
        text, line = "", 0
    kinds: tuple[type[ast.AST], ...] = (ast.FunctionDef, ast.Lambda, ast.ClassDef)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds) and _first_line(node) == line]
    name = getattr(code, "__name__", "")
    named = [node for node in found if getattr(node, "name", "<lambda>") == name]
    if not named:
        raise BadInputError(f"the source of the space {name or code!r} is not to be found; write it in a file")
    return "\n".join(ast.dump(node) for node in named)


def _first_line(node: ast.AST) -> int:
    """Return the line where Python lets a definition start: that of its first decorator."""
    lines: list[int] = [each.lineno for each in (node, *getattr(node, "decorator_list", []))]
    return min(lines)


def _plain(value: Any) -> Any:
    """Return JSON that is equal for equal values. Raise `BadInputError` for a value that cannot be compared so."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, RunConfig):
        return json.loads(value.to_json())
    if isinstance(value, Enum | ModuleType):
        return str(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return {"mapping": sorted([json.dumps(_plain(key)), _plain(item)] for key, item in value.items())}
    if isinstance(value, tuple | list):
        return [type(value).__name__, *map(_plain, value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(json.dumps(_plain(item)) for item in value)]
    if isinstance(value, FunctionType | MethodType | functools.partial):
        return space_code(value)
    if isinstance(value, Part) or dataclasses.is_dataclass(value):
        return [_plain(type(value)), {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}]
    if hasattr(value, "__dict__") and type(value).__module__ not in ("builtins", "numpy"):
        return [_plain(type(value)), {name: _plain(item) for name, item in vars(value).items()}]
    raise BadInputError(
        f"a space holds a {type(value).__name__}, which cannot be compared with that of a later launch; "
        f"use numbers, texts, tuples, mappings or functions"
    )
