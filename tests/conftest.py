"""Makes the content folders of this repository importable, and registers the fixtures that several folders use."""

import compileall
from pathlib import Path

import pytest
from faults.fixtures import undisturbed  # noqa: F401

from knobs import discover

ROOT = Path(__file__).resolve().parent.parent
discover.activate(ROOT)


def pytest_configure(config: pytest.Config) -> None:
    """Compile knobs and content once: if Python writes no bytecode, each of hundreds of processes would do it."""
    if not hasattr(config, "workerinput"):
        for folder in ("knobs", *discover.FOLDERS):
            compileall.compile_dir(ROOT / folder, quiet=1)


LONGEST = ("faults", "reports", "end to end", "ui", "ui_ablation")
"""Groups of tests that take minutes. They start first, so that no worker is left with one of them at the end."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the slow tests of each file: they share expensive fixtures. Long groups run first, quick tests last.

    One worker runs all tests of a group (`--dist loadgroup`).
    """
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))

    def rank(item: pytest.Item) -> tuple[bool, int]:
        mark = item.get_closest_marker("xdist_group")
        group = mark.args[0] if mark else ""
        return item.get_closest_marker("slow") is None, LONGEST.index(group) if group in LONGEST else len(LONGEST)

    items.sort(key=rank)
