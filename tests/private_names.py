"""Private names of other packages in source files. Shared by tests."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any


def is_private(name: str) -> bool:
    """Return whether a name has one leading underscore."""
    return name.startswith("_") and not name.startswith("__")


def resolve(dotted: str) -> Any:
    """Return what a dotted name stands for; None if there is nothing of this name."""
    module, found = "", None
    for name in dotted.split("."):
        try:
            found = getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}{name}")
        except ImportError:
            return None
        module += f"{name}."
    return found


def private_names(file: Path, *, foreign_only: bool = True) -> set[str]:
    """Return the private names that a file imports or reads; `foreign_only`: without those that it defines itself."""
    tree = ast.parse(file.read_text())
    found: set[str] = set()
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute):
            (own if isinstance(node.ctx, ast.Store) else found).add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
    return {name for name in found - (own if foreign_only else set()) if is_private(name)}
