"""Random splits that keep each class's share and put equal rows into the same split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from knobs import Array


def stratified(x: Array, y: Array, validation: float, test: float, seed: int) -> tuple[Array, Array, Array]:
    """Return the row numbers of train, val and test in random order; `validation` and `test` are fractions of all rows.

    x: (n, features), y: (n,). Rows that are equal in x go to the same split, so no test row was seen in training.
    Classes keep their shares up to these groups: a group counts once, with the class of its first row.
    """
    random = np.random.default_rng(seed)
    _, first, group = np.unique(x, axis=0, return_index=True, return_inverse=True)
    split = np.zeros(len(first), dtype=np.int64)  # one entry per group
    for label in np.unique(y):
        groups = random.permutation(np.flatnonzero(y[first] == label))
        tested, held = round(len(groups) * test), round(len(groups) * validation)
        split[groups[:tested]] = 2
        split[groups[tested : tested + held]] = 1
    order = random.permutation(len(x))
    where = split[group[order]]
    return order[where == 0], order[where == 1], order[where == 2]
