"""Which studies, ablations and runs are recorded, and which of them count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from knobs import discover
from knobs.errors import BadInputError, nearest
from knobs.record.schema import Kind, MlflowTag, Tag, has_tag
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row


def open_store() -> Tracker:
    """Open the project's record for reading. Raise `BadInputError` if there is none yet."""
    places = StoreLocations.of(discover.project_root())
    if places.tracking_uri is None and not places.database.exists():
        raise BadInputError(f"nothing is recorded yet in {places.folder}; start with: knobs study NAME")
    return Tracker(places)


def experiment_names(tracker: Tracker) -> dict[str, str]:
    """Return the name of every MLflow experiment by its id."""
    return {str(experiment.experiment_id): experiment.name for experiment in tracker.experiments()}


def runs_of_kind(tracker: Tracker, kind: str, experiment: str | None = None, limit: int | None = None) -> list[Row]:
    """Return the runs of a kind, newest first."""
    return tracker.search(has_tag(Tag.KIND, kind), experiment, limit)


def runs_under(tracker: Tracker, parent: str, experiment: str) -> list[Row]:
    """Return the runs whose parent this is, newest first."""
    return tracker.search(has_tag(MlflowTag.PARENT, parent), experiment)


def current(rows: Iterable[Row]) -> list[Row]:
    """Return the studies, ablations or cells that were not set aside, in the given order."""
    return [row for row in rows if Tag.RETIRED not in row.tags]


def newest_by_number(rows: Iterable[Row], number: Callable[[Row], tuple[int, ...]]) -> list[Row]:
    """Return one run per number, the newest, in order of the numbers. `rows` are newest first."""
    newest: dict[tuple[int, ...], Row] = {}
    for row in rows:
        newest.setdefault(number(row), row)
    return [newest[number] for number in sorted(newest)]


def counted_trials(rows: Iterable[Row], total: int | None = None, repetitions: int | None = None) -> list[Row]:
    """Return the trials that count, by repetition and number: the newest of each.

    Only the first `total` of each repetition and the first `repetitions`, if given.
    """
    trials = newest_by_number((row for row in rows if row.kind == Kind.TRIAL), lambda row: (row.repetition, row.trial))
    return [
        row
        for row in trials
        if (total is None or row.trial < total) and (repetitions is None or row.repetition < repetitions)
    ]


def counted_seeds(rows: Iterable[Row], repetitions: int) -> list[Row]:
    """Return the fresh seeds of the first repetitions, by seed: the newest of each; not those of an earlier winner."""
    seeds = (row for row in rows if row.kind == Kind.SEED and Tag.SUPERSEDED not in row.tags)
    return newest_by_number((row for row in seeds if row.repetition < repetitions), lambda row: (row.seed,))


def newest_references(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """Return the recorded references: the newest value by name and metric. `rows` are newest first."""
    found: dict[tuple[str, str], float] = {}
    for row in rows:
        for metric, value in row.metrics.items():
            found.setdefault((row.tags[Tag.REFERENCE], metric), value)
    return found


def parent_of(tracker: Tracker, name: str, kinds: Sequence[str] = (Kind.STUDY, Kind.ABLATION)) -> Row:
    """Return the current run of the study or ablation of this name. Raise `BadInputError` if there is none."""
    names = experiment_names(tracker)
    for experiment in [number for number, known in names.items() if known == name]:
        for kind in kinds:
            if found := current(runs_of_kind(tracker, kind, experiment)):
                return found[0]
    raise BadInputError(
        f"no {' or '.join(kinds)} named {name!r} is recorded" + nearest(name, set(names.values()) - {"Default"})
    )
