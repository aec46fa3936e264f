"""Checks of ablations: cells, spaces, claims and derived numbers, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

from knobs.ablation import Ablation, RecordedValues
from knobs.ablation.deciding import check_decidable
from knobs.checks.check import FailedCheckError
from knobs.checks.data_sets import loaded_splits
from knobs.config import SPLITS, Metric, RunConfig
from knobs.errors import BadInputError, nearest
from knobs.search import DRAWS, check_space
from knobs.user_code import line_of, user_error

MOST_DRAWS = 400
"""Draws over all cells: an ablation of many cells takes fewer in each, but at least `FEWEST_DRAWS`."""

FEWEST_DRAWS = 4

POINTS = 20
"""Validations of an invented training."""


def check_ablation(name: str, ablation: Ablation, *, quick: bool = False) -> str:
    """Raise `BadInputError` if a draw makes no run, or a claim or a derived number can never be had. Imports no torch.

    Quick presets are not held to their claims: too few seeds are their point.
    """
    cells = ablation.cells()
    draws = min(DRAWS, max(FEWEST_DRAWS, MOST_DRAWS // len(cells)))
    for cell in cells:
        check_space(f"{name}, cell {cell.name}", ablation.study(cell), draws)
    check_derived(ablation)
    if not quick:
        check_decidable(ablation)
    return f"{len(cells)} cells, {draws} draws in each, {len(ablation.claims)} claims"


def check_derived(ablation: Ablation) -> None:
    """Raise `BadInputError` if a derived number raises, or is no number, for plausible records: of a run that learns,
    and of one that does not."""
    config = ablation.cells()[0].config.with_knobs({"seed": ablation.first_seed})
    for derived in ablation.derived:
        for learns in (True, False):
            try:
                value = derived.of(config, _invented(config, learns))
            except Exception as error:
                raise user_error(error, f"{derived.metric} raises") from error
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadInputError(
                    f"{line_of(derived.of)}: {derived.metric} is {type(value).__name__} {value!r}; return a number, or "
                    f"NaN if a run has none"
                )


def check_extra_splits(ablation: Ablation) -> str:
    """Raise `FailedCheckError` if a claim reads a test split that the data set lacks. Loads the data."""
    named = {claim.metric for claim in ablation.claims} | {ablation.reported}
    for metric in sorted(metric for metric in named if metric.startswith("test/") and metric.count("/") == 2):
        split, extra = metric.split("/")[1], loaded_splits(ablation.baseline.data).extra
        if split not in extra:
            data = ablation.baseline.data.kind
            raise FailedCheckError(f"{metric}: data set {data} has no test split {split!r}{nearest(split, extra)}")
    return "there"


def check_cells_build(ablation: Ablation) -> str:
    """Raise `FailedCheckError` if the network of a cell does not build."""
    import torch

    from knobs.training.network import build_network_of

    cells = ablation.cells()
    for cell in cells:
        try:
            with torch.random.fork_rng(devices=[]):
                build_network_of(cell.config.model, cell.config.network_spec)
        except BadInputError as error:
            raise FailedCheckError(f"cell {cell.name}: {error}") from error
    return f"{len(cells)} networks"


class _TestSplits(dict[str, float]):
    """Recorded values that also hold the metrics of any extra test split: their names are known after loading only."""

    def __missing__(self, key: str) -> float:
        parts = key.split("/")
        if len(parts) == 3 and parts[0] == "test":
            return self[f"test/{parts[2]}"]
        raise KeyError(key)


def _invented(config: RunConfig, learns: bool) -> RecordedValues:
    """Return records as a finished run has them: its loss falls by a factor of 20, or stays."""
    metrics, training = config.metrics, config.training
    every = training.val_every or max(1, training.max_steps // POINTS)
    steps = list(range(every, training.max_steps + 1, every)) or [training.max_steps]
    steps = steps if steps[-1] == training.max_steps else [*steps, training.max_steps]
    shares = [(at / steps[-1]) if learns else 0.0 for at in steps]
    curves: dict[str, list[tuple[int, float]]] = {}

    def add(name: str, start: float, end: float) -> None:
        ratio = math.log(end / start)
        curves[name] = [(step, start * math.exp(ratio * share)) for step, share in zip(steps, shares, strict=True)]

    for split, factor in (("train", 1.0), ("val", 1.1)):
        add(f"{split}/loss", 2.0 * factor, 0.1 * factor)
    for name, metric in metrics.items():
        if name != "loss":
            add(f"val/{name}", *_plausible(metric))
    add("lr", config.optimizer.lr, config.optimizer.lr)
    add("grad_norm", 2.0, 0.1)
    if training.layer_norms:
        add("grad_norm/first", 1.0, 0.05)
        add("grad_norm/last", 2.0, 0.1)
    values = _TestSplits({name: points[-1][1] for name, points in curves.items()})
    for split in SPLITS:
        for name in metrics:
            prefix = "test" if split == "test" else f"best/{split}"
            values[f"{prefix}/{name}"] = values[f"val/{name}"]
    values |= {"best/step": float(steps[-1]), "parameters": 1000.0, "system/seconds": 10.0}
    values |= {"system/steps_per_second": steps[-1] / 10.0}
    return RecordedValues(curves, _read_only(values))


def _plausible(metric: Metric) -> tuple[float, float]:
    """Return values of a metric, both positive if its bounds allow that, of which the second is better."""
    low, high = (max(0.0, metric.bounds[0]), min(1.0, metric.bounds[1]))
    low, high = (low, high) if low < high else (metric.bounds[0], metric.bounds[0] + 1.0)
    worse, better = low + 0.4 * (high - low), low + 0.95 * (high - low)
    return (worse, better) if metric.direction == "maximize" else (low + 0.8 * (high - low), low + 0.1 * (high - low))


def _read_only(values: _TestSplits) -> Mapping[str, float]:
    return values
