"""Hashes of code: of modules as this process imported them, and of everything that they import."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from knobs import discover
from knobs.code.imported import ENGINE, imported_file, project_folder, source_of
from knobs.public import HOMES

ROOTS = ("knobs.training.run", "knobs.training.batch.run_batch")
"""The modules from which everything that a training executes is imported."""

UNKNOWN = "edited after its import"


@dataclass(frozen=True)
class Code:
    """The code of some modules and of all that they import from knobs and from the project."""

    hash: str
    files: dict[str, Path]
    """File by module."""
    dynamic: tuple[str, ...]
    """Places, `file:line`, at which the project executes code that its source does not name."""
    libraries: frozenset[str]
    """Top-level names of what the project's files import from elsewhere."""


@dataclass(frozen=True)
class _Module:
    """Facts about one file."""

    hash: str
    imports: tuple[str, ...]
    dynamic: tuple[int, ...]
    """Lines that execute code whose name is computed."""


def training_code_hash(content: Iterable[str]) -> str:
    """Return the hash of the code that determines a run: the engine's, and that of the run's content modules."""
    return training_code(content).hash


def training_code(content: Iterable[str]) -> Code:
    """Return the code that determines a run: the engine's, and that of the run's content modules."""
    return collect_code([*ROOTS, *content])


def code_hash(modules: Iterable[str]) -> str:
    """Return a hash over these modules and what they import from knobs and from the project.

    Comments and docstrings do not count. A module that this process has imported counts as it was then.
    """
    return collect_code(modules).hash


def collect_code(modules: Iterable[str]) -> Code:
    """Return these modules and what they import from knobs and from the project; see `code_hash`."""
    root, waiting, looked = discover.current_root(), list(modules), set[str]()
    hashes: dict[str, str] = {}
    files: dict[str, Path] = {}
    dynamic: list[str] = []
    libraries: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in looked:
            continue
        looked.add(name)
        path = _file_of(name, root) or imported_file(name)
        if path is None:
            libraries.add(name.partition(".")[0])
            continue
        files[name] = path
        source = source_of(name, path)
        if source is None:
            hashes[name] = UNKNOWN
            continue
        module = _parse(name, path.stem == "__init__", source)
        hashes[name] = module.hash
        waiting += module.imports
        if name.partition(".")[0] != ENGINE:
            dynamic += [f"{path}:{line}" for line in module.dynamic]
    listing = "\n".join(f"{name} {digest}" for name, digest in sorted(hashes.items()))
    return Code(hashlib.sha256(listing.encode()).hexdigest()[:16], files, tuple(sorted(dynamic)), frozenset(libraries))


@functools.cache
def _parse(name: str, is_package: bool, source: bytes) -> _Module:
    """Return a file's hash without comments and docstrings, and the modules that it imports outside type checking."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # its import fails and says why
        return _Module(hashlib.sha256(source).hexdigest(), (), ())
    visitor = _Visitor(name.split(".") if is_package else name.split(".")[:-1])
    dump = ast.dump(visitor.visit(tree))
    return _Module(hashlib.sha256(dump.encode()).hexdigest(), tuple(visitor.imported), tuple(visitor.dynamic))


IMPORTERS = {"import_module", "__import__"}
EXECUTORS = {"exec", "eval", "run_path", "run_module", "spec_from_file_location", "SourceFileLoader"}


class _Visitor(ast.NodeTransformer):
    """Strips docstrings and type checking, and collects imports."""

    def __init__(self, package: list[str]) -> None:
        self.package = package
        self.imported: list[str] = []
        self.dynamic: list[int] = []

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Keep what runs: the `else` of `if TYPE_CHECKING`."""
        test = node.test
        is_typing = (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
            isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
        )
        if not is_typing:
            return self.generic_visit(node)
        kept = [self.visit(child) for child in node.orelse]
        return [child for child in kept if child is not None]

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop docstrings."""
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """Collect `import a.b`."""
        self.imported.extend(alias.name for alias in node.names)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Collect `from a import b`, which may be a module or a name."""
        above = self.package[: len(self.package) + 1 - node.level] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        self.imported.append(module)
        self.imported.extend(f"{module}.{alias.name}" for alias in node.names)
        if module == ENGINE:  # its names are imported when they are first used
            self.imported.extend(home for home, names in HOMES.items() for alias in node.names if alias.name in names)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Collect `import_module("a.b")`; note code that is named nowhere."""
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if called in IMPORTERS and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                self._import_text(first.value, node)
            else:
                self.dynamic.append(node.lineno)
        elif called in EXECUTORS and (isinstance(node.func, ast.Name) or called not in ("exec", "eval")):
            self.dynamic.append(node.lineno)  # `exec` and `eval` as methods are other things: network.eval()
        return self.generic_visit(node)

    def _import_text(self, name: str, node: ast.Call) -> None:
        level = len(name) - len(name.lstrip("."))
        if not level:
            self.imported.append(name)
            return
        package = node.args[1] if len(node.args) > 1 else None
        if isinstance(package, ast.Constant) and isinstance(package.value, str):
            above = package.value.split(".")
        elif isinstance(package, ast.Name) and package.id == "__package__":
            above = self.package
        else:
            self.dynamic.append(node.lineno)
            return
        self.imported.append(".".join([*above[: len(above) + 1 - level], name[level:]]))


def _file_of(name: str, root: Path) -> Path | None:
    """Return the file of a module of knobs or of the project, without importing it; None for any other module."""
    room, _, rest = name.partition(".")
    if room == ENGINE:
        bases = [Path(__file__).resolve().parents[2]]
    elif room in discover.FOLDERS:
        bases = [root, discover.SHIPPED]
    else:
        base = project_folder(room, root) if room else None
        bases = [base] if base else []
    for base in bases:
        stem = base.joinpath(room, *rest.split(".")) if rest else base / room
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None
