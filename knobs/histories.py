"""Every recorded value of many runs at once: one query where the store is a local file, a call a metric elsewhere."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from knobs.design import DERIVED
from knobs.stores import retry
from knobs.tracking import Row, Tracker

Points = list[tuple[int, float]]
"""Step and value, in order of steps."""

History = Mapping[str, Points]
"""Metric -> every value."""

_MANY = 500
"""Runs asked for in one query."""


def read(tracker: Tracker, rows: Sequence[Row]) -> dict[str, dict[str, Points]]:
    """Run -> metric -> every value with its step; single values are there with the one step they have."""
    if tracker.places.tracking_uri is None:
        return retry(lambda: _from_file(tracker, [row.id for row in rows]))
    return {row.id: {name: tracker.curve(row.id, name) for name in sorted(row.metrics)} for row in rows}


def values_hash(history: History) -> str:
    """Hash over every value that a training recorded; equal exactly when all bits are."""
    digest = hashlib.sha256()
    for metric, points in compared(history).items():
        digest.update(f"{metric} {[(step, value.hex()) for step, value in points]}\n".encode())
    return digest.hexdigest()[:32]


def compared(history: History) -> dict[str, Points]:
    """What must come out the same: all but the clock, and what an ablation read off the rest, by name."""
    return {metric: history[metric] for metric in sorted(history) if not metric.startswith(("system/", DERIVED))}


def first_difference(old: History, new: History) -> str:
    """The first value, in order of steps, that is not the same to the last bit; empty where all are."""
    a, b = ({(s, name): v for name, points in compared(h).items() for s, v in points} for h in (old, new))
    for step, name in sorted(a.keys() | b.keys()):
        was, now = a.get((step, name)), b.get((step, name))
        if was is None or now is None or was.hex() != now.hex():
            texts = ["not there" if value is None else repr(value) for value in (was, now)]
            return f"{name} at step {step}: {texts[0]} recorded, {texts[1]} now"
    return ""


def _from_file(tracker: Tracker, ids: Sequence[str]) -> dict[str, dict[str, Points]]:
    """From MLflow's own table, read-only; `get_metric_history` takes a call for each of thousands of curves."""
    found: dict[str, dict[str, Points]] = {run: {} for run in ids}
    connection = sqlite3.connect(f"file:{tracker.places.database}?mode=ro", uri=True, timeout=1.0)
    try:
        for start in range(0, len(ids), _MANY):
            some = ids[start : start + _MANY]
            marks = ",".join("?" * len(some))
            rows: Iterable[tuple[str, str, int, float, int]] = connection.execute(
                f"select run_uuid, key, step, value, is_nan from metrics where run_uuid in ({marks})"
                " order by run_uuid, key, step, timestamp, value",
                some,
            )
            for run, metric, step, value, is_nan in rows:
                found[run].setdefault(metric, []).append((step, float("nan") if is_nan else value))
    finally:
        connection.close()
    return found
