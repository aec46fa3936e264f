"""Studies and ablations in the record, and which of their runs count: shared by launching and reporting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knobs import discover
from knobs.design import DERIVED
from knobs.errors import BadInputError, nearest
from knobs.places import Places
from knobs.tracking import Row, Tracker

ENDED = frozenset({"finished", "reused", "pruned", "diverged", "out_of_memory", "failed", "lost"})
"""`knobs.state` of a run that will not go on."""

FINISHED = frozenset({"finished", "reused"})

LEVEL = "knobs.level."
"""With a factor's name behind it, the tag that holds a run's level."""


def open_store() -> Tracker:
    """The project's record, to read it. Raises `BadInputError` where there is none yet."""
    places = Places.of(discover.project_root())
    if places.tracking_uri is None and not places.database.exists():
        raise BadInputError(f"nothing is recorded yet in {places.folder}; start with: knobs study NAME")
    return Tracker(places)


def experiments(tracker: Tracker) -> dict[str, str]:
    """Id of every MLflow experiment by its name."""
    return {experiment.name: str(experiment.experiment_id) for experiment in tracker.experiments()}


def parent_of(tracker: Tracker, name: str, kinds: Sequence[str]) -> tuple[Row, str]:
    """The current run of the study or ablation of this name, and its MLflow experiment.

    Raises `BadInputError` for an unknown one.
    """
    known = experiments(tracker)
    for kind in kinds if name in known else ():
        found = tracker.search(f"tags.`knobs.kind` = '{kind}'", known[name])
        if current := [row for row in found if "knobs.retired" not in row.tags]:
            return current[0], known[name]
    what = " or ".join({"study": "study", "ablation": "ablation"}[kind] for kind in kinds)
    raise BadInputError(f"no {what} named {name!r} is recorded" + nearest(name, set(known) - {"Default"}))


def trials_of(tracker: Tracker, name: str) -> tuple[Row, list[Row]]:
    """A study's current parent run, and its trials by number. Raises `BadInputError` for an unknown one."""
    parent, where = parent_of(tracker, name, ("study",))
    rows = tracker.search(f"tags.`mlflow.parentRunId` = '{parent.id}'", where)
    return parent, sorted(rows, key=lambda row: int(row.tags["knobs.trial"]))


def levels_of(row: Row) -> dict[str, str]:
    """Level by factor of a run of an ablation."""
    return {name.removeprefix(LEVEL): level for name, level in row.tags.items() if name.startswith(LEVEL)}


def metric_key(metric: str) -> str:
    """Under which name a run holds the value of a metric at the checkpoint that validation chose."""
    return metric if metric.startswith(("test/", DERIVED)) else f"best/{metric}"


def seed_values(rows: Sequence[Row], metric: str) -> Mapping[tuple[tuple[str, str], ...], dict[int, float]]:
    """One metric of an ablation's seeds: seed -> value of every cell; a cell without a finished seed is empty."""
    values: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    key = metric_key(metric)
    for row in rows:
        if row.tags.get("knobs.kind") != "seed" or "knobs.superseded" in row.tags:
            continue
        seeds = values.setdefault(tuple(sorted(levels_of(row).items())), {})
        if row.state in FINISHED and key in row.metrics:
            seeds[int(row.tags["knobs.seed"])] = row.metrics[key]
    return values
