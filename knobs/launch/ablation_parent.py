"""The MLflow run of an ablation: opened before its cells; closed with counts, references and verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from knobs.ablation import Ablation, RecordedValues
from knobs.launch.plans.ablation_plan import AblationPlan
from knobs.launch.plans.cell_plan import CellPlan
from knobs.launch.plans.run_names import shortened
from knobs.provenance import short_hash
from knobs.record.definition import AblationDefinition, definition_to_json
from knobs.record.queries import current, newest_references, runs_of_kind
from knobs.record.reader import recorded_under
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.registration import read_registration, register_design, register_look
from knobs.record.schema import DONE, Artifact, Kind, Metric, MlflowTag, Tag
from knobs.record.states import STATES, StateName, is_finished
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.verdicts import RecordedVerdict, count_verdicts, verdicts_to_json


def open_ablation(
    tracker: Tracker, name: str, ablation: Ablation, definition: AblationDefinition, *, fresh: bool
) -> tuple[str, list[str]]:
    """Record an ablation's design, and return the id of its run, and how the design has changed since the last launch.

    A change before the first run is none. The run is created, or reopened; `fresh` sets the recorded ablation aside.
    """
    parent = _open_run(tracker, name, ablation, fresh=fresh)
    tracker.upload_texts(parent, {Artifact.DEFINITION: definition_to_json(definition)})
    before = read_registration(tracker, tracker.get(parent))
    now = register_design(tracker, parent, definition)
    known = len(before.revisions) if before else 0
    return parent, [f"after {new.runs} runs: {change}" for new in now.revisions[known:] for change in new.changes]


def _open_run(tracker: Tracker, name: str, ablation: Ablation, *, fresh: bool) -> str:
    experiment = tracker.experiment(name)
    recorded = current(runs_of_kind(tracker, Kind.ABLATION, experiment))
    if recorded and not fresh:
        tracker.reopen(recorded[0].id, {Tag.STATE: StateName.RUNNING})
        return recorded[0].id
    for row in recorded:
        tracker.tag(row.id, {Tag.RETIRED: "true"})
    tags = {Tag.KIND: Kind.ABLATION, Tag.ABLATION: name, Tag.STATE: StateName.RUNNING}
    params = {"metric": ablation.metric, "direction": ablation.direction}
    return tracker.create(experiment, shortened(name), tags, params)


def close_ablation(tracker: Tracker, plan: AblationPlan, parent: str, state: str) -> None:
    """Write each cell's budget and how its runs ended, and the sums to the ablation's run."""
    plan.close()
    cells = list(plan.cells.values())
    for cell in cells:
        if not cell.opened:
            if cell.run:
                tracker.end(cell.run, STATES[StateName.INTERRUPTED].mlflow, {Tag.STATE: StateName.INTERRUPTED})
            continue
        budget = {
            Metric.BUDGET_TRIALS: float(cell.budget()),
            Metric.BUDGET_STEPS: float(cell.cell.config.training.max_steps),
        }
        tracker.summary(cell.run, {**_count_ends([cell]), **budget})
        cell_state = _cell_state(cell)
        tracker.end(cell.run, STATES[cell_state].mlflow, {Tag.STATE: cell_state})
    if all(cell.opened for cell in cells):
        runs = {Metric.RUNS_DONE: float(plan.total - plan.left), Metric.RUNS_LEFT: float(plan.left)}
        done = {Metric.CELLS: float(len(cells)), Metric.CELLS_DONE: float(sum(cell.left == 0 for cell in cells))}
        tracker.summary(parent, {**runs, **done, **_count_ends(cells)})
    tracker.end(parent, STATES[state].mlflow, {Tag.STATE: state})


def _count_ends(cells: Sequence[CellPlan]) -> dict[str, float]:
    """Return how many trials and seeds ended, in all and by state. Every state is there: a count may fall back to 0."""
    trials, seeds = Counter[str](), Counter[str]()
    for cell in cells:
        trials.update(cell.trial_counts())
        seeds.update(cell.ended_seeds.values())
    found: dict[str, float] = {}
    for prefix, counts in ((Metric.TRIALS, trials), (Metric.SEEDS, seeds)):
        found[prefix + DONE] = float(counts.total())
        ended = [name for name, state in STATES.items() if state.ended and name != StateName.NO_RUN_FINISHED]
        found |= {prefix + name: float(counts[name]) for name in sorted(ended)}
    return found


def _cell_state(cell: CellPlan) -> str:
    if cell.left > 0:
        return StateName.INTERRUPTED
    states = cell.ended_seeds.values()
    if cell.hopeless or (states and not any(map(is_finished, states))):
        return StateName.NO_RUN_FINISHED
    return StateName.FINISHED


def decide_and_record(tracker: Tracker, name: str, ablation: Ablation, parent: str) -> RecordedAblation:
    """Record derived numbers, decide the claims from what is recorded, write the verdicts, and return the record."""
    _record_derived(tracker, ablation, read_ablation(tracker, name, parent))
    recorded = read_ablation(tracker, name, parent)
    finished = {cell.name: [seed for seed in cell.seeds if seed.finished] for cell in recorded.cells}
    evidence = short_hash({cell: [seed.row.id for seed in seeds] for cell, seeds in finished.items()})
    used = {cell: [seed.row.seed for seed in seeds] for cell, seeds in finished.items()}
    registration = register_look(tracker, parent, used, evidence)
    looks = len(registration.looks) if registration and not ablation.looks else 1  # planned looks keep the level
    verdicts = [RecordedVerdict.of(decided, look=looks) for decided in recorded.decide()]
    tracker.upload_texts(parent, {Artifact.VERDICTS: verdicts_to_json(verdicts)})
    tracker.tag(parent, {Tag.VERDICTS: count_verdicts(verdicts)})
    return recorded


def _record_derived(tracker: Tracker, ablation: Ablation, recorded: RecordedAblation) -> None:
    """Compute the derived numbers of every finished seed and record the new ones."""
    if not ablation.derived:
        return
    for seed in recorded.seeds:
        if not seed.finished:
            continue
        values = RecordedValues(seed.curves, seed.row.metrics)
        found = {derived.metric: float(derived.of(seed.config, values)) for derived in ablation.derived}
        new = {k: v for k, v in found.items() if math.isfinite(v) and seed.row.metrics.get(k) != v}
        if new:
            tracker.summary(seed.row.id, new)


def record_references(tracker: Tracker, name: str, ablation: Ablation, parent: str) -> None:
    """Record the numbers that are not trained here, each as a run of its own."""
    experiment = tracker.experiment(name)
    there = newest_references(runs_of_kind(tracker, Kind.REFERENCE, experiment))
    for reference in ablation.references:
        value = float(reference.value() if callable(reference.value) else reference.value)
        if there.get((reference.name, reference.metric)) == value:
            continue
        tags = {
            Tag.KIND: Kind.REFERENCE,
            Tag.REFERENCE: reference.name,
            Tag.SOURCE: reference.source,
            MlflowTag.PARENT: parent,
        }
        run = tracker.create(experiment, shortened(reference.name), tags, {})
        tracker.summary(run, {reference.metric: value})
        tracker.end(run, STATES[StateName.FINISHED].mlflow, {Tag.STATE: StateName.FINISHED})


def read_ablation(tracker: Tracker, name: str, parent: str) -> RecordedAblation:
    """Return what is recorded of an ablation."""
    recorded = recorded_under(tracker, name, tracker.get(parent))
    assert isinstance(recorded, RecordedAblation)
    return recorded
