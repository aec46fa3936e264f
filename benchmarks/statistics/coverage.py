"""Coverage of the interval on given test samples, and of that for new samples, on a generated task.

A run is a ridge classifier on fresh training samples of two classes. Its truths are means over many runs: on the
study's own test samples, and on a million others.
"""

from __future__ import annotations

import numpy as np

from benchmarks.statistics.intervals import table
from knobs.stats import Estimate, mean_interval, new_samples_interval, paired_difference

FEATURES, TRAINED, TRAINING, SAMPLES, MILLION, GROUPS = 8, 2000, 100, 360, 1_000_000, 20
RIDGES = (1.0, 300.0)
"""The two cells."""
METRICS = ("accuracy", "log loss")
REPETITIONS = (5, 10, 20)

Array = np.ndarray


def coverage(g: np.random.Generator, studies: int) -> str:
    """Return the table of coverage. In a study every run is drawn from a pool of trained ones, its samples are new."""
    direction = g.normal(size=FEATURES) / FEATURES**0.5
    weights = train(g, direction)
    million = np.mean([_cell_means(weights, *samples(g, direction, 2000)) for _ in range(MILLION // 2000)], axis=0)
    hits: dict[tuple[str, str, int], list[list[bool]]] = {}
    for _ in range(studies):
        x, y = samples(g, direction, SAMPLES)
        near = _cell_means(weights, x, y)
        groups = g.permutation(SAMPLES) % GROUPS
        kept = (groups != np.arange(GROUPS)[:, None]) / (groups != np.arange(GROUPS)[:, None]).sum(axis=1)[:, None]
        for count in REPETITIONS:
            chosen = weights[:, g.choice(TRAINED, count, replace=False)]
            for m, name in enumerate(METRICS):
                values = measure(chosen @ x.T, y, name)  # (cells, runs, samples)
                runs, left = values.mean(axis=2), values @ kept.T
                hits.setdefault((name, "one cell", count), []).append(
                    _found(mean_interval(runs[0]), mean_interval(runs[0], shape="symmetric"), left[0],
                           near[m, 0], million[m, 0])
                )  # fmt: skip
                made = paired_difference(runs[0], runs[1])
                hits.setdefault((name, "difference", count), []).append(
                    _found(made, made, left[0] - left[1], near[m, 0] - near[m, 1], million[m, 0] - million[m, 1])
                )
    rows = [[*key, *np.mean(found, axis=0).tolist()] for key, found in sorted(hits.items())]
    heads = ["these samples", "new samples", "Student's, these", "Student's, new", "runs alone, new samples"]
    return table(["metric", "of", "repetitions", *heads], rows)


def _found(made: Estimate, student: Estimate, left: Array, here: float, new: float) -> list[bool]:
    """Return which intervals hold their truth: printed and Student's, on these and on new samples; runs alone."""
    found = []
    for one in (made, student):
        low, high = new_samples_interval(one, left)
        found += [bool(one.low <= here <= one.high), low <= new <= high]
    return [*found, bool(made.low <= new <= made.high)]


def samples(g: np.random.Generator, direction: Array, count: int) -> tuple[Array, Array]:
    """Draw samples of two classes, -1 and 1."""
    x = g.normal(size=(count, FEATURES)).astype(np.float32)
    return x, np.sign(x @ direction * 1.5 + g.normal(size=count)).astype(np.float32)


def train(g: np.random.Generator, direction: Array) -> Array:
    """Return the weights of all runs: (cells, runs, features). The cells of a run have the same training samples."""
    made = np.empty((len(RIDGES), TRAINED, FEATURES), dtype=np.float32)
    for run in range(TRAINED):
        x, y = samples(g, direction, TRAINING)
        for cell, ridge in enumerate(RIDGES):
            made[cell, run] = np.linalg.solve(x.T @ x + ridge * np.eye(FEATURES), x.T @ y)
    return made


def measure(scores: Array, y: Array, name: str) -> Array:
    """Return each run's value on each sample: (..., samples) -> (..., samples)."""
    margins = scores * y
    return (margins > 0).astype(float) if name == "accuracy" else np.log1p(np.exp(-2 * margins)).astype(float)


def _cell_means(weights: Array, x: Array, y: Array) -> Array:
    """Return the mean of each metric over all runs and samples: (metrics, cells)."""
    margins = (weights.reshape(-1, FEATURES) @ x.T * y).reshape(len(RIDGES), -1)
    right, losses = (margins > 0).mean(axis=1), np.log1p(np.exp(-2 * margins)).mean(axis=1, dtype=np.float64)
    return np.stack([right, losses])
