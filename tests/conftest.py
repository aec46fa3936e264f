"""Makes the content folders of this repository importable, and registers the fixtures that several folders use."""

from pathlib import Path

import pytest
from faults.fixtures import undisturbed  # noqa: F401

from knobs import discover

discover.activate(Path(__file__).resolve().parent.parent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Minutes before seconds, so that the last worker is not left with the longest tests."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
