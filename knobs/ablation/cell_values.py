"""The recorded values that a claim is about: cells by their levels, and the seeds that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from knobs.ablation.factors import level_text

Levels = Mapping[str, Any]
"""A selection of cells: by factor a level or several, by name or value. Every level of other factors is selected."""

Values = Mapping[tuple[tuple[str, str], ...], Mapping[int, float]]
"""One metric: its value by seed, by cell. A cell is its sorted (factor, level) pairs."""

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def named_levels(levels: Levels) -> dict[str, str | list[str]]:
    """Return a selection with the names of levels: `{"model.depth": [4, 16]}` selects the levels "4" and "16"."""
    return {
        factor: [level_text(one) for one in wanted] if isinstance(wanted, list | tuple) else level_text(wanted)
        for factor, wanted in levels.items()
    }


class UndecidableError(Exception):
    """The recorded runs cannot decide a claim; the message is the reason."""


def cell_table(values: Values, where: Levels) -> tuple[list[list[float]], str]:
    """Return the values of the selected cells as (seeds, cells), and a caveat on seeds that were left out."""
    chosen = select_cells(values, where)
    seeds, caveat = common_seeds(values, chosen)
    return [[values[cell][s] for cell in chosen] for s in seeds], caveat


def is_selected(levels: Mapping[str, str], where: Levels) -> bool:
    """Return whether a selection holds the cell with these levels."""
    return all(levels[name] == want if isinstance(want, str) else levels[name] in want for name, want in where.items())


def select_cells(values: Values, where: Levels) -> list[tuple[tuple[str, str], ...]]:
    """Return the selected cells. Raise `UndecidableError` if there is none."""
    found = [cell for cell in values if is_selected(dict(cell), where)]
    if not found:
        raise UndecidableError("no cell that it is about has recorded runs")
    return found


def common_seeds(values: Values, cells: Sequence[tuple[tuple[str, str], ...]]) -> tuple[list[int], str]:
    """Return the seeds that finished in all of these cells, and a caveat that counts the others.

    Raise `UndecidableError` if no seed of a cell finished, or if fewer than 2 finished in all cells.
    """
    every = set().union(*(values[cell] for cell in cells))
    common = sorted(set.intersection(*(set(values[cell]) for cell in cells)))
    for cell in cells:
        if not values[cell]:
            raise UndecidableError(f"no run of cell {' '.join(level for _, level in cell)} finished")
    if len(common) < 2:
        raise UndecidableError(f"{len(common)} seed in common; a test needs at least 2")
    lost = len(every) - len(common)
    return common, f"{lost} of {len(every)} seeds left out: they did not finish in every cell" if lost else ""


def paired_values(
    first: Levels, second: Levels, values: Values, factors: Mapping[str, list[str]]
) -> tuple[Array, Array, str]:
    """Return both sides as (seeds, cells), and a caveat on seeds that were left out.

    A row has one seed, and a column has the same levels of the other factors. Raise `UndecidableError` if no two cells
    differ in just what is compared.
    """
    differs = [name for name in factors if first.get(name) != second.get(name)]

    def rest(cell: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple(pair for pair in cell if pair[0] not in differs)

    left = {rest(cell): cell for cell in select_cells(values, first)}
    right = {rest(cell): cell for cell in select_cells(values, second)}
    shared = [key for key in left if key in right]
    if not shared:
        raise UndecidableError("no two cells differ in just what it compares")
    seeds, caveat = common_seeds(values, [side[key] for key in shared for side in (left, right)])
    a, b = ([[values[side[key]][s] for key in shared] for s in seeds] for side in (left, right))
    return np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), caveat
