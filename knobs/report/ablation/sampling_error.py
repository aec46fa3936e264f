"""Check that the test split is large enough for what the seeds can tell apart."""

from __future__ import annotations

import json
import math

import numpy as np

from knobs.numbers import metric_text
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.schema import Metric, Tag, is_test
from knobs.report.ablation.cells import seeds_group
from knobs.report.checks import Finding
from knobs.report.formats.document import Parts, joined
from knobs.report.receipts import Ledger

MOST_CELLS = 4
"""Cells that are listed."""


def check_sampling_error(ablation: RecordedAblation, ledger: Ledger) -> Finding:
    """Check that an accuracy errs less by the choice of the test rows than by the seed.

    An accuracy p over n rows has the standard error sqrt(p (1 - p) / n): other rows of the same kind would give another
    one. Seeds share their rows, so their spread does not show it. Other metrics have no such formula.
    """
    title, metric = "Enough test rows", ablation.shown
    split = metric.removeprefix(Metric.TEST).rpartition("/")[0] or "test"
    if not is_test(metric) or not metric.endswith("/accuracy"):
        return Finding(title, True, [f"{metric} is no test accuracy, so its sampling error is not known."])
    found: list[Parts] = []
    for cell in ablation.cells:
        values = list(cell.values(metric).values())
        rows = json.loads(cell.seeds[0].tag(Tag.DATA_ROWS) or "{}").get(split, 0) if cell.seeds else 0
        if len(values) < 2 or not rows:
            continue
        mean, seeds = float(np.mean(values)), float(np.std(values, ddof=1))
        error = math.sqrt(mean * (1.0 - mean) / rows)
        if error > seeds:
            key, group = f"review/sampling/{cell.name}", seeds_group(cell)
            how = f"sqrt(p (1 - p) / n), p the mean {metric}, n the rows of {split}"
            found.append(
                [
                    f"{cell.name}: ",
                    ledger.number(f"{key}/error", error, group, how, metric_text(error)),
                    " (seeds: ",
                    ledger.number(f"{key}/seeds", seeds, group, f"sd of {metric}", metric_text(seeds)),
                    ")",
                ]
            )
    if not found:
        return Finding(title, True, [f"in no cell does {metric} err more by the choice of rows than by the seed."])
    more = [f" and {len(found) - MOST_CELLS} more cells"] if len(found) > MOST_CELLS else []
    text = f"{metric} errs more by the choice of the {split} rows than by the seed: "
    end = ". Intervals hold for these rows; cells share them, so differences err less."
    return Finding(title, False, [text, *joined(found[:MOST_CELLS]), *more, end])
