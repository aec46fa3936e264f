"""The numbers of an ablation's cells, from their seeds: means, differences to the baseline, corrected p. No words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from knobs import stats
from knobs.ablation import ClaimVerdict, is_selected
from knobs.record.recorded_ablation import RecordedAblation, RecordedCell
from knobs.record.schema import Metric


@dataclass(frozen=True)
class Spread:
    """A mean or a difference with its 95% interval. The interval's ends are None for a single run."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """The p of a difference; in `CellNumbers` it is corrected over the cells."""
    n: int = 1
    """Seeds behind it."""
    doubt: str = ""
    """Why the interval should not be relied on; empty if it may be."""

    @classmethod
    def of(cls, estimate: stats.Estimate) -> Spread:
        """Return an estimate of one number, without its p."""
        low, high = float(estimate.low), float(estimate.high)
        return cls(float(estimate.value), low, high, n=estimate.n, doubt=str(estimate.doubt))


@dataclass(frozen=True)
class CellNumbers:
    """One row of the table."""

    cell: RecordedCell
    mean: Spread | None
    """None if no seed finished."""
    difference: Spread | None
    """Difference to the baseline, paired by seed. None for the baseline, and if fewer than two seeds are shared."""
    lost: int
    """Seeds that ended without a value."""
    parameters: int | None
    validation: float | None
    """Mean of the seeds' validation metric."""


def cell_numbers(ablation: RecordedAblation) -> list[CellNumbers]:
    """Return every cell's numbers. The p of the differences are corrected (Holm) for the number of cells."""
    metric = ablation.shown
    differences = _corrected_differences(ablation)
    rows = []
    for cell in ablation.cells:
        validation = list(cell.values(ablation.metric).values())
        sizes = [run.row.metrics[Metric.PARAMETERS] for run in cell.runs if Metric.PARAMETERS in run.row.metrics]
        rows.append(
            CellNumbers(
                cell=cell,
                mean=_mean_spread(cell, metric),
                difference=differences.get(cell.name),
                lost=sum(seed.ended for seed in cell.seeds) - len(cell.values(metric)),
                parameters=int(sizes[0]) if sizes else None,
                validation=float(np.mean(validation)) if validation else None,
            )
        )
    return rows


def _mean_spread(cell: RecordedCell, metric: str) -> Spread | None:
    estimate, values = cell.mean(metric), list(cell.values(metric).values())
    if estimate is not None:
        return Spread.of(estimate)
    return Spread(values[0]) if values else None


def _corrected_differences(ablation: RecordedAblation) -> dict[str, Spread]:
    """Return the difference to the baseline by cell, with p corrected over the cells."""
    base = ablation.baseline.values(ablation.shown)
    others = [cell for cell in ablation.cells if cell is not ablation.baseline]
    found = {c.name: made for c in others if (made := paired_spread(c.values(ablation.shown), base)) is not None}
    corrected = stats.holm([made.p for made in found.values() if made.p is not None])
    return {name: replace(made, p=float(p)) for (name, made), p in zip(found.items(), corrected, strict=True)}


def paired_spread(a: Mapping[int, float], b: Mapping[int, float]) -> Spread | None:
    """Return the mean of a - b over the seeds that both have; None if they share fewer than two."""
    shared = sorted(a.keys() & b.keys())
    if len(shared) < 2:
        return None
    estimate = stats.paired_difference([a[s] for s in shared], [b[s] for s in shared])
    return replace(Spread.of(estimate), p=float(estimate.p))


def tuned_values(cell: RecordedCell, ablation: RecordedAblation) -> list[float]:
    """Return the validation values of a cell's ended trials. A trial without a value counts as the worst seen."""
    ended = [trial for trial in cell.trials if trial.ended]
    found = [v for t in ended if t.finished and (v := t.value(ablation.metric)) is not None]
    if not found:
        return []
    worst = min(found) if ablation.direction == "maximize" else max(found)
    return found + [worst] * (len(ended) - len(found))


def cells_of_claim(verdict: ClaimVerdict, ablation: RecordedAblation) -> Sequence[RecordedCell]:
    """Return the cells that a claim is about."""
    selections = verdict.claim.selections()
    return [cell for cell in ablation.cells if any(is_selected(cell.levels, selection) for selection in selections)]


def trials_group(cell: RecordedCell) -> str:
    """Return the name of the ledger's group of a cell's trials."""
    return f"trials of {cell.name}"


def seeds_group(cell: RecordedCell) -> str:
    """Return the name of the ledger's group of a cell's seeds."""
    return f"seeds of {cell.name}"
