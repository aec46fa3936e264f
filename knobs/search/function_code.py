"""The code of a function with all that it uses: equal exactly if two launches compute the same."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from knobs.config import Part, RunConfig
from knobs.errors import BadInputError
from knobs.provenance import short_hash


def function_hash(function: Any) -> str:
    """Return a short hash of `function_code`."""
    return short_hash(function_code(function))


def function_code(function: Any) -> Any:
    """Return JSON that is equal for equal functions: source without comments, bound and captured values.

    The functions and constants of its module that it names are part of it. `function` is a function, a lambda, a
    partial, a bound method or an object that can be called. Raise `BadInputError` if it holds something that cannot
    be compared between two launches.
    """
    return _code(function, set())


def _code(function: Any, seen: set[int]) -> Any:
    if isinstance(function, functools.partial):
        return {"code": _code(function.func, seen), "arguments": _plain([function.args, function.keywords], seen)}
    if isinstance(function, MethodType):
        return {"code": _code(function.__func__, seen), "object": _plain(function.__self__, seen)}
    if isinstance(function, FunctionType):
        if id(function) in seen:  # it calls itself, or was described already
            return function.__qualname__
        seen.add(id(function))
        defaults = [function.__defaults__, function.__kwdefaults__]
        held = {
            "captured": _captured(function, seen),
            "defaults": _plain(defaults, seen) if any(defaults) else None,
            "module": _of_module(function, seen),
        }
        return {"code": _source(function), **{name: value for name, value in held.items() if value}}
    if callable(function):
        return {"code": _source(type(function)), "object": _plain(function, seen)}
    raise BadInputError(f"expected a function, not {type(function).__name__}")


def _of_module(function: FunctionType, seen: set[int]) -> dict[str, Any]:
    """Return the functions and constants of its own module that a function names, also within inner functions."""
    found: dict[str, Any] = {}
    for name in sorted(_names(function.__code__)):
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType):
            if value.__module__ == function.__module__:
                found[name] = _code(value, seen)
        elif value is not None and not isinstance(value, ModuleType | type):
            try:
                found[name] = _plain(value, seen)
            except BadInputError:  # an array, say; what it holds is code of the module
                found[name] = type(value).__name__
    return found


def _names(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _captured(function: FunctionType, seen: set[int]) -> dict[str, Any]:
    """Return the values of outer functions' variables that a function uses."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: _plain(cell.cell_contents, seen) for name, cell in cells}


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
        raise BadInputError(f"the source of {name or code!r} is not to be found; write it in a file")
    return "\n".join(ast.dump(node) for node in named)


def _first_line(node: ast.AST) -> int:
    """Return the line where Python lets a definition start: that of its first decorator."""
    lines: list[int] = [each.lineno for each in (node, *getattr(node, "decorator_list", []))]
    return min(lines)


def _plain(value: Any, seen: set[int]) -> Any:
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
        return {"mapping": sorted([json.dumps(_plain(key, seen)), _plain(item, seen)] for key, item in value.items())}
    if isinstance(value, tuple | list):
        return [type(value).__name__, *(_plain(item, seen) for item in value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(json.dumps(_plain(item, seen)) for item in value)]
    if isinstance(value, FunctionType | MethodType | functools.partial):
        return _code(value, seen)
    if isinstance(value, Part) or dataclasses.is_dataclass(value):
        return [
            _plain(type(value), seen),
            {f.name: _plain(getattr(value, f.name), seen) for f in dataclasses.fields(value)},
        ]
    if hasattr(value, "__dict__") and type(value).__module__ not in ("builtins", "numpy"):
        return [_plain(type(value), seen), {name: _plain(item, seen) for name, item in vars(value).items()}]
    raise BadInputError(
        f"a function holds a {type(value).__name__}, which cannot be compared with that of a later launch; "
        f"use numbers, texts, tuples, mappings or functions"
    )
