"""Check that the test split is large enough for what repetitions can tell apart."""

from __future__ import annotations

import numpy as np

from knobs import stats
from knobs.numbers import metric_text
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.schema import is_test
from knobs.report.ablation.cells import seeds_group
from knobs.report.checks import Finding
from knobs.report.formats.document import Parts, joined
from knobs.report.receipts import Ledger

MOST_CELLS = 4
"""Cells that are listed."""


def check_sampling_error(ablation: RecordedAblation, ledger: Ledger) -> Finding:
    """Check that a test metric errs less by the choice of the test samples than by the run.

    Runs share their test samples, so their spread does not show what other samples of the same kind would give.
    """
    title, metric, unit = "Enough test samples", ablation.shown, ablation.definition.unit
    if not is_test(metric):
        return Finding(title, True, [f"{metric} is not of a test split."])
    found: list[Parts] = []
    known = False
    for cell in ablation.cells:
        values, without = list(cell.values(metric).values()), cell.left_out(metric)
        if len(values) < 2 or len(without) < 2:
            continue
        known, runs = True, float(np.std(values, ddof=1))
        error = stats.sampling_sd(list(without.values()))
        if error > runs:
            key, group = f"review/sampling/{cell.name}", seeds_group(cell)
            how = f"jackknife sd of the mean {metric} over groups of test samples"
            found.append(
                [
                    f"{cell.name}: ",
                    ledger.number(f"{key}/error", error, group, how, metric_text(error)),
                    f" ({unit}s: ",
                    ledger.number(f"{key}/runs", runs, group, f"sd of {metric} over {unit}s", metric_text(runs)),
                    ")",
                ]
            )
    if not known:
        return Finding(title, True, [f"the record does not say how {metric} varies with the test samples."])
    if not found:
        return Finding(title, True, [f"in no cell does {metric} err more by the choice of samples than by the {unit}."])
    more = [f" and {len(found) - MOST_CELLS} more cells"] if len(found) > MOST_CELLS else []
    text = f"{metric} errs more by the choice of the test samples than by the {unit}: "
    end = ". The wider intervals, for new samples, show it; cells share the samples, so differences err less."
    return Finding(title, False, [text, *joined(found[:MOST_CELLS]), *more, end])
