"""Checks of an ablation's tuning: enough trials, winners that their seeds reach, winners that differ by luck."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from knobs import stats
from knobs.numbers import metric_text
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
from knobs.report.ablation.cells import paired_spread, seeds_group, trials_group, tuned_values
from knobs.report.checks import Finding
from knobs.report.formats.document import Inline, Parts, joined
from knobs.report.receipts import Ledger

FEW_TRIALS = 4
"""Fewer trials cannot show what more trials would find."""

MOST_CELLS = 6
"""Cells that are listed."""

OPTIMISM_ONCE, OPTIMISM_REPEATED = 1.0, 2.0
"""By how many standard deviations of seeds a winner may be above its fresh seeds: for one tuning, whose luck decides
the result, and for the mean over repetitions, which luck evens out. The best of 8 equal trials leads by 1.4."""


def check_trials(ablation: RecordedAblation, ledger: Ledger) -> Finding:
    """Check that the last doubling of trials gained less than half of what seeds differ by."""
    title = "Enough trials to trust the tuned values"
    if not any(cell.space for cell in ablation.cells):
        return Finding(title, True, ["nothing was tuned."])
    found: list[Parts] = []
    few = []
    for cell in ablation.cells:
        if not cell.space:
            continue
        values = tuned_values(cell, ablation)
        budget = min(len(values), ablation.definition.trials)
        if budget < FEW_TRIALS:
            few.append(cell.name)
            continue
        best = stats.expected_best(values, direction=ablation.direction)[:budget]
        gain = float(abs(best[-1] - best[-(-len(best) // 2) - 1]))
        noise = seeds_sd(cell, ablation.metric)
        if gain > max(noise / 2, 1e-12):
            key = f"review/trials/{cell.name}"
            how = f"expected best {ablation.metric} of {budget} trials less that of half as many"
            sd = f"sd of {ablation.metric} between seeds of one winner"
            parts: list[Inline] = [
                f"{cell.name} ",
                ledger.number(f"{key}/gain", gain, trials_group(cell), how, metric_text(gain)),
                " (seeds: ",
                ledger.number(f"{key}/noise", noise, seeds_group(cell), sd, metric_text(noise)),
                ")",
            ]
            found.append(parts)
    remarks: list[Inline] = []
    if few:
        remarks.append(f"fewer than {FEW_TRIALS} trials cannot show what more would find: {_names(few)}. ")
    if found:
        remarks += [
            "the last doubling of trials gained more than half of what seeds differ by: ",
            *_listed(found),
        ]
    if remarks:
        return Finding(title, False, remarks)
    return Finding(title, True, ["in every cell the last doubling gained less than half of what its seeds differ by."])


def check_winners_reached(ablation: RecordedAblation, ledger: Ledger) -> Finding:
    """Check that fresh seeds reach the validation value with which their winner was chosen.

    A winner is the best of several noisy values, so its own value flatters it. If it flatters it by far, or if a seed's
    luck made the choice, the tuned knobs are not the best ones.
    """
    title = "Fresh seeds reach what tuning promised"
    repeated = ablation.definition.unit != "seed"
    limit = OPTIMISM_REPEATED if repeated else OPTIMISM_ONCE
    found: list[Parts] = []
    for cell in ablation.cells:
        gaps = winner_gaps(cell, ablation)
        noise = seeds_sd(cell, ablation.metric)
        if not gaps or noise == 0.0:
            continue
        promised, over = float(np.mean(gaps)), float(np.mean(gaps)) / noise
        if over > limit:
            key, how = f"review/winner/{cell.name}", f"{ablation.metric} of the winner less the mean of its seeds"
            parts: list[Inline] = [
                f"{cell.name}: ",
                ledger.number(f"{key}/gap", promised, trials_group(cell), how, metric_text(promised)),
                " too much, ",
                ledger.number(f"{key}/sd", over, trials_group(cell), f"{how}, in sd of seeds", f"{over:.1f}"),
                " standard deviations of seeds",
            ]
            found.append(parts)
    if not found:
        where = "on average over repetitions" if repeated else "in one tuning"
        return Finding(title, True, [f"no winner is above its seeds by more than {limit:g} sd of seeds, {where}."])
    why = (
        "repetitions average over such luck, but more trials or more seeds in tuning would choose better"
        if repeated
        else "the choice was luck, and the result is that of this choice; repetitions would show how much it varies"
    )
    return Finding(title, False, [f"{why}. ", *_listed(found)])


def check_same_trials(ablation: RecordedAblation) -> Finding:
    """Check that cells whose results differ from the baseline's also have trials that differ.

    Cells have the same draws in a repetition. If their trials agree on the whole and their winners do not, luck in
    tuning is one explanation.
    """
    title = "Cells that differ have trials that differ"
    base = ablation.baseline
    found = []
    for cell in ablation.cells:
        if cell is base or not cell.space or not base.space:
            continue
        results = paired_spread(cell.values(ablation.metric), base.values(ablation.metric))
        trials = paired_spread(_trial_means(cell, ablation), _trial_means(base, ablation))
        if results is None or trials is None or results.p is None or trials.p is None:
            continue
        if results.p <= 0.05 < trials.p:
            found.append(cell.name)
    if not found:
        return Finding(title, True, [f"no cell's {ablation.metric} differs from the baseline's in its winners alone."])
    text = f"their winners differ from the baseline's in {ablation.metric}, their trials on the whole do not"
    return Finding(title, False, [f"{text}: {_names(found)}. Either only the best values differ, or it is luck."])


def winner_gaps(cell: RecordedCell, ablation: RecordedAblation) -> list[float]:
    """Return by how much each repetition's winner is better than the mean of its fresh seeds, on validation."""
    sign = 1.0 if ablation.direction == "maximize" else -1.0
    seeds = cell.seeds_by_repetition(ablation.metric)
    found = []
    for repetition, winner in cell.winners.items():
        value = winner.value(ablation.metric)
        if value is not None and repetition in seeds:
            found.append(sign * (value - float(np.mean(seeds[repetition]))))
    return found


def seeds_sd(cell: RecordedCell, metric: str) -> float:
    """Return the standard deviation between fresh seeds of one winner, pooled over repetitions; 0 if unknown."""
    groups = [values for values in cell.seeds_by_repetition(metric).values() if len(values) > 1]
    return float(np.sqrt(np.mean([np.var(values, ddof=1) for values in groups]))) if groups else 0.0


def _trial_means(cell: RecordedCell, ablation: RecordedAblation) -> Mapping[int, float]:
    """Return the mean value of a repetition's trials, by repetition; if there is one, each trial's value."""
    found: dict[int, list[float]] = {}
    for trial in cell.trials:
        if trial.finished and (value := trial.value(ablation.metric)) is not None:
            row = trial.row.repetition if cell.repeated else trial.row.trial
            found.setdefault(row, []).append(value)
    return {row: float(np.mean(values)) for row, values in found.items()}


def _names(names: list[str]) -> str:
    more = f" and {len(names) - MOST_CELLS} more" if len(names) > MOST_CELLS else ""
    return "; ".join(names[:MOST_CELLS]) + more


def _listed(found: list[Parts]) -> Parts:
    more = [f" and {len(found) - MOST_CELLS} more cells"] if len(found) > MOST_CELLS else []
    return [*joined(found[:MOST_CELLS], "; "), *more, "."]
