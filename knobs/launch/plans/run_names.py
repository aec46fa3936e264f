"""Names of runs in MLflow's tables: at most 18 characters, as its pages show them."""

from __future__ import annotations

from collections.abc import Mapping

from knobs.config import Value, text_of
from knobs.numbers import number_in_name

MOST_CHARACTERS = 18

_FIRST = ("width", "depth", "activation", "lr")
"""Knobs that are shown first."""


def trial_label(number: int) -> str:
    """Return the label of a trial: `t007`."""
    return f"t{number:03d}"


def repetition_label(number: int) -> str:
    """Return the label of a repetition: `r03`."""
    return f"r{number:02d}"


def trial_name(label: str, values: Mapping[str, Value]) -> str:
    """Return a trial's name: its label, then its searched knobs, as many as fit: `t007 width=64`."""
    name = label
    leaves = {knob.rpartition(".")[2]: value for knob, value in values.items()}
    for leaf in sorted(leaves, key=lambda leaf: _FIRST.index(leaf) if leaf in _FIRST else len(_FIRST)):
        value = leaves[leaf]
        text = number_in_name(value) if isinstance(value, float) else text_of(value)
        piece = f" {text}" if isinstance(value, str) else f" {leaf}={text}"
        if len(name) + len(piece) <= MOST_CHARACTERS:
            name += piece
    return name


def shortened(name: str) -> str:
    """Return a name cut to what MLflow's pages show."""
    return name[:MOST_CHARACTERS].strip()
