"""Which recorded values a claim speaks of: cells by their levels, seeds that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Levels = Mapping[str, str | Sequence[str]]
"""Which cells: level (or levels) by factor; all of a factor that is not named."""

Values = Mapping[tuple[tuple[str, str], ...], Mapping[int, float]]
"""One metric: seed -> value of every cell, the cell as its sorted (factor, level) pairs."""


Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Unanswerable(Exception):
    """The recorded runs cannot answer a claim; the message says why."""


def cell_table(values: Values, where: Levels) -> tuple[list[list[float]], str]:
    """(seeds, cells) of the cells that a claim speaks of."""
    chosen = select_cells(values, where)
    seeds, caveat = common_seeds(values, chosen)
    return [[values[cell][s] for cell in chosen] for s in seeds], caveat


def select_cells(values: Values, where: Levels) -> list[tuple[tuple[str, str], ...]]:
    """The cells at these levels. Raises `Unanswerable` where there is none."""

    def inside(cell: tuple[tuple[str, str], ...]) -> bool:
        levels = dict(cell)
        return all(
            levels[name] == want if isinstance(want, str) else levels[name] in want for name, want in where.items()
        )

    found = [cell for cell in values if inside(cell)]
    if not found:
        raise Unanswerable("no cell that it speaks of has recorded runs")
    return found


def common_seeds(values: Values, cells: Sequence[tuple[tuple[str, str], ...]]) -> tuple[list[int], str]:
    """Seeds that finished in all these cells; the rest is said, never dropped in silence."""
    every = set().union(*(values[cell] for cell in cells))
    common = sorted(set.intersection(*(set(values[cell]) for cell in cells)))
    for cell in cells:
        if not values[cell]:
            raise Unanswerable(f"no run of cell {' '.join(level for _, level in cell)} finished")
    if len(common) < 2:
        raise Unanswerable(f"{len(common)} seed in common; a test needs at least 2")
    lost = len(every) - len(common)
    return common, f"{lost} of {len(every)} seeds left out: they did not finish in every cell" if lost else ""


def paired_values(
    first: Levels, second: Levels, values: Values, factors: Mapping[str, list[str]]
) -> tuple[Array, Array, str]:
    """Both sides as (seeds, cells), the same seed in a row and the same other levels in a column."""
    differs = [name for name in factors if first.get(name) != second.get(name)]

    def rest(cell: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple(pair for pair in cell if pair[0] not in differs)

    left = {rest(cell): cell for cell in select_cells(values, first)}
    right = {rest(cell): cell for cell in select_cells(values, second)}
    shared = [key for key in left if key in right]
    if not shared:
        raise Unanswerable("no two cells differ in just what it compares")
    seeds, caveat = common_seeds(values, [side[key] for key in shared for side in (left, right)])
    a, b = ([[values[side[key]][s] for key in shared] for s in seeds] for side in (left, right))
    return np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), caveat
