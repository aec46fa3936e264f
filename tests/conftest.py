"""Makes `models`, `datamodules`, `studies` and `experiments` importable, as every command does."""

from pathlib import Path

from faults.fixtures import undisturbed  # noqa: F401

from knobs import discover

discover.activate(Path(__file__).resolve().parent.parent)
