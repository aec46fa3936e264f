"""Every recorded value of many runs at once, and whether two runs recorded the same values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from knobs.record.schema import Metric
from knobs.record.stores.mlflow_internals import read_metrics
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.retry import retry
from knobs.record.stores.rows import Row

Points = list[tuple[int, float]]
"""Step and value, in order of steps."""

Curves = Mapping[str, Points]
"""Every value by metric. A single value has one point."""


def read_curves(tracker: Tracker, rows: Sequence[Row]) -> dict[str, dict[str, Points]]:
    """Return the curves of each run by its id: one query for a local file, a call per metric for a server."""
    if tracker.places.tracking_uri is not None:
        return {row.id: {name: tracker.curve(row.id, name) for name in sorted(row.metrics)} for row in rows}

    def from_file() -> dict[str, dict[str, Points]]:
        found: dict[str, dict[str, Points]] = {row.id: {} for row in rows}
        for run, metric, step, value in read_metrics(tracker.places.database, list(found)):
            found[run].setdefault(metric, []).append((step, value))
        return found

    return retry(from_file)


def values_hash(curves: Curves) -> str:
    """Return a hash over every value that a training recorded; equal exactly if all bits are."""
    digest = hashlib.sha256()
    for metric, points in compared_curves(curves).items():
        digest.update(f"{metric} {[(step, value.hex()) for step, value in points]}\n".encode())
    return digest.hexdigest()[:32]


def compared_curves(curves: Curves) -> dict[str, Points]:
    """Return the curves that must come out the same, by name: all but the clock's and those derived from the others."""
    leave = (Metric.SYSTEM, Metric.DERIVED)
    return {metric: curves[metric] for metric in sorted(curves) if not metric.startswith(leave)}


def first_difference(old: Curves, new: Curves) -> str:
    """Describe the first value, in order of steps, that differs in any bit; empty if none does."""
    a, b = ({(s, name): v for name, points in compared_curves(c).items() for s, v in points} for c in (old, new))
    for step, name in sorted(a.keys() | b.keys()):
        was, now = a.get((step, name)), b.get((step, name))
        if was is None or now is None or was.hex() != now.hex():
            texts = ["not there" if value is None else repr(value) for value in (was, now)]
            return f"{name} at step {step}: {texts[0]} recorded, {texts[1]} now"
    return ""
