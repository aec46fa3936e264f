"""Where a number comes from: code, packages, machine."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from knobs import discover
from knobs.public import HOMES

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOMS = ("knobs", *discover.FOLDERS)

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed packages. Their versions are recorded instead of their code."""

ENGINE = ("knobs.training.run", "knobs.training.seed_batch")
"""The modules from which everything that a training executes is imported."""


def training_code_hash(content: Iterable[str]) -> str:
    """Return the hash of the code that determines a run: the engine's, and that of the run's content modules."""
    return code_hash([*ENGINE, *content])


def code_hash(modules: Iterable[str]) -> str:
    """Return a hash over these modules and what they import from knobs and from the project.

    Comments and docstrings do not count.
    """
    root, waiting, seen, looked = discover.project_root(), list(modules), dict[str, str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in looked:
            continue
        looked.add(name)
        path = _source(name, root)
        if path is None:
            continue
        seen[name], imported = _parse(name, path, path.stat().st_mtime_ns)
        waiting += imported
    listing = "\n".join(f"{name} {digest}" for name, digest in sorted(seen.items()))
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


@functools.cache
def _parse(name: str, path: Path, _modified: int) -> tuple[str, list[str]]:
    """Return a file's hash without comments and docstrings, and the modules that it imports outside type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: list[str] = []
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]

    class Strip(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if is_typing else self.generic_visit(node)

        def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
            return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> ast.AST:
            imported.extend(alias.name for alias in node.names)
            return node

        def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            imported.append(module)
            imported.extend(f"{module}.{alias.name}" for alias in node.names)
            if module == "knobs":  # its names are imported when they are first used
                imported.extend(home for home, names in HOMES.items() for alias in node.names if alias.name in names)
            return node

    dump = ast.dump(Strip().visit(tree))
    return hashlib.sha256(dump.encode()).hexdigest(), imported


def _source(name: str, root: Path) -> Path | None:
    """Return the file of a module of knobs or of the project, without importing it; None for any other module."""
    room, _, rest = name.partition(".")
    bases = (
        [Path(__file__).resolve().parents[1]]
        if room == "knobs"
        else [root, discover.SHIPPED]
        if room in ROOMS
        else _beside(room, root)
    )
    for base in bases:
        stem = base.joinpath(room, *rest.split(".")) if rest else base / room
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


@functools.cache
def _beside(name: str, root: Path) -> list[Path]:
    """Return the folder of a top-level module of the project; empty if it is an installed package."""
    found = PathFinder.find_spec(name) if name and name not in sys.stdlib_module_names else None
    places = [] if found is None else [found.origin, *(found.submodule_search_locations or [])]
    real = [Path(place).resolve() for place in places if place]
    if not real or not real[0].is_relative_to(root.resolve()) or INSTALLED & set(real[0].parts):
        return []
    return [real[0].parents[1 if real[0].stem == "__init__" else 0]]


@functools.cache
def git_state(root: Path) -> tuple[str, str]:
    """Return the commit and the diff against it, which is empty if clean; ('none', '') outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    try:
        return git("rev-parse", "HEAD").strip(), git("diff", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return "none", ""


@functools.cache
def packages() -> dict[str, str]:
    """Return every installed distribution and its exact version."""
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: str(item[0]).lower()))


def short_hash(facts: object) -> str:
    """Return a short hash of some facts: equal exactly if the facts are equal; empty for no facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16] if facts else ""


def machine() -> dict[str, str]:
    """Return what can change a rounding on this machine: platform, processor, instruction set."""
    return {
        "platform": " ".join((platform.system(), platform.machine(), *platform.libc_ver())).strip(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def torch_state() -> dict[str, str]:
    """Return torch's version, instruction set and determinism flags in this process."""
    import torch

    return {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic_algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
        "cuda": str(torch.version.cuda),
    }
