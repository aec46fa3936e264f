"""The code of a function as text: equal exactly if the function computes the same from the same arguments."""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from knobs.code.imported import source_of


def function_hash(function: Callable[..., Any]) -> str:
    """Return a hash of a function's code, without comments and docstrings.

    It covers default values, bound arguments, closures, and the functions and constants of its module that it names.
    """
    found: dict[str, str] = {}
    _collect(function, "", found)
    listing = "\n".join(f"{name} {text}" for name, text in sorted(found.items()))
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def _collect(value: Any, name: str, found: dict[str, str]) -> None:
    if isinstance(value, functools.partial):
        found[f"{name}()"] = repr((value.args, sorted(value.keywords.items())))
        value = value.func
    value = inspect.unwrap(value) if callable(value) else value
    if inspect.ismethod(value):
        found[f"{name}.self"] = _state(value.__self__)
        value = value.__func__
    if not isinstance(value, FunctionType):
        called = getattr(type(value), "__call__", None)  # noqa: B004  (its code, not whether it has any)
        found[f"{name}.value"] = _state(value)
        if isinstance(called, FunctionType):
            _collect(called, f"{name}.__call__", found)
        return
    key = f"{value.__module__}.{value.__qualname__}"
    if key in found:
        return
    found[key] = f"{_source(value)} {value.__defaults__!r} {value.__kwdefaults__!r}"
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    used = {free: cell.cell_contents for free, cell in cells if _is_filled(cell)}
    used |= {global_: value.__globals__[global_] for global_ in _names(value.__code__) if global_ in value.__globals__}
    for other, content in used.items():
        if isinstance(content, ModuleType | type):
            continue
        if isinstance(content, FunctionType):
            if content.__module__ == value.__module__:
                _collect(content, other, found)
        elif isinstance(content, functools.partial):
            _collect(content, f"{key}.{other}", found)
        else:
            found[f"{key}.{other}"] = _state(content)


def _names(code: Any) -> set[str]:
    """Return the names of globals that a code object and the functions within it use."""
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    return set(code.co_names).union(*map(_names, inner))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _state(value: Any) -> str:
    """Return a text of a value that is the same in every process."""
    text = repr(value)
    return type(value).__qualname__ if f"0x{id(value):x}" in text else text


def _source(function: FunctionType) -> str:
    """Return a function's code as its module was imported; its bytecode if it has no file."""
    code, file = function.__code__, inspect.getsourcefile(function)
    source = source_of(function.__module__, Path(file)) if file and Path(file).is_file() else None
    kinds = ast.Lambda if function.__name__ == "<lambda>" else ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [] if source is None else [n for n in ast.walk(_tree(source)) if isinstance(n, kinds)]
    found = [node for node in nodes if _first_line(node) == code.co_firstlineno]
    if not found:
        constants = [constant for constant in code.co_consts if not hasattr(constant, "co_code")]
        return repr((code.co_code.hex(), code.co_names, constants))
    return " ".join(map(_dump, found))  # several lambdas in a line cannot be told apart


@functools.cache
def _tree(source: bytes) -> ast.AST:
    return ast.parse(source)


def _first_line(node: Any) -> int:
    lines: list[int] = [node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]
    return min(lines)


def _dump(node: ast.AST) -> str:
    """Return the code of a function without docstrings."""
    stripped = copy.deepcopy(node)
    for inner in ast.walk(stripped):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:] or [ast.Pass()]
    return ast.dump(stripped)
