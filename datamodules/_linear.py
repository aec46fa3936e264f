"""The exact solution of linear regression, and which targets a trained network is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from knobs.data import Array

Evaluation = Literal["noisy", "truth", "exact"]


def least_squares(x: Array, y: Array) -> tuple[Array, Array]:
    """Weights (features, outputs) and intercepts (outputs,) that satisfy the normal equations, in float64.

    x: (n, features), y: (n, outputs). Solved by an orthogonal decomposition, which loses fewer digits than X'X does.
    """
    columns = np.column_stack([x.astype(np.float64), np.ones(len(x))])
    solution = np.linalg.lstsq(columns, y.astype(np.float64), rcond=None)[0]
    return solution[:-1], solution[-1]


def predict(x: Array, solution: tuple[Array, Array]) -> Array:
    """(n, features) to (n, outputs), in float64."""
    return np.asarray(x.astype(np.float64) @ solution[0] + solution[1])
