"""The numbers of an ablation's cells: means, differences to the baseline, corrected p, components of spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from knobs import stats
from knobs.ablation import ClaimVerdict, is_selected
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
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
    """Repetitions, or seeds, behind it."""
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
    """None if nothing finished."""
    difference: Spread | None
    """Difference to the baseline, paired. None for the baseline, and if fewer than two rows are shared."""
    lost: int
    """Repetitions, or seeds, that ended without a value."""
    parameters: int | None
    validation: float | None
    """Mean of the validation metric."""
    new_mean: tuple[float, float] | None = None
    """Interval of the mean for new test samples; None if the metric is not of a test split."""
    new_difference: tuple[float, float] | None = None
    seeds_sd: float | None = None
    """Standard deviation between the seeds of a repetition, pooled over repetitions; None with one seed in each."""
    tuning_sd: float | None = None
    """Standard deviation that tuning adds to a repetition's value: between repetitions, beyond what seeds explain."""


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
                lost=cell.lost,
                parameters=int(sizes[0]) if sizes else None,
                validation=float(np.mean(validation)) if validation else None,
                new_mean=_new_mean(cell, metric),
                new_difference=_new_difference(cell, ablation.baseline, metric),
                **_sds(cell, metric),
            )
        )
    return rows


def _new_mean(cell: RecordedCell, metric: str) -> tuple[float, float] | None:
    estimate, without = cell.mean(metric), cell.left_out(metric)
    if estimate is None or len(without) < 2:
        return None
    return stats.new_samples_interval(estimate, list(without.values()), bounds=cell.bounds(metric))


def _new_difference(cell: RecordedCell, base: RecordedCell, metric: str) -> tuple[float, float] | None:
    values, others = cell.values(metric), base.values(metric)
    without, base_without = cell.left_out(metric), base.left_out(metric)
    shared = sorted(values.keys() & others.keys() & without.keys() & base_without.keys())
    if cell is base or len(shared) < 2:
        return None
    estimate = stats.paired_difference([values[s] for s in shared], [others[s] for s in shared])
    gaps = np.subtract([without[s] for s in shared], [base_without[s] for s in shared])
    return stats.new_samples_interval(estimate, gaps)


def _sds(cell: RecordedCell, metric: str) -> dict[str, float | None]:
    """Return the two components of a repetition's variance as standard deviations, by one-way analysis of variance."""
    groups = [values for values in cell.seeds_by_repetition(metric).values() if len(values) > 1]
    if not cell.repeated or len(groups) < 2:
        return {}
    within = float(np.mean([np.var(values, ddof=1) for values in groups]))
    between = float(np.var([np.mean(values) for values in groups], ddof=1))
    size = float(np.mean([len(values) for values in groups]))
    return {"seeds_sd": within**0.5, "tuning_sd": max(0.0, between - within / size) ** 0.5}


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


def winning_value(cell: RecordedCell, knob: str) -> Any:
    """Return a tuned knob's value in the winners: the median of numbers, the commonest of other values, or None."""
    chosen = [winner.chosen[knob] for winner in cell.winners.values() if knob in winner.chosen]
    if not chosen:
        return None
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in chosen):
        return max(chosen, key=chosen.count)
    return sorted(chosen)[(len(chosen) - 1) // 2]


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
