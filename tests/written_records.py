"""Studies and ablations recorded by the real plans and the real driver over a pool in memory: milliseconds per run."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from memory_pool import MemoryPool, QuietDisplay

from datamodules.toy import Toy
from knobs import Ablation, Beats, Factor, RunConfig, Study, Training
from knobs.launch.ablation_parent import close_ablation, decide_and_record, open_ablation, record_references
from knobs.launch.driver import Driver
from knobs.launch.plans.ablation_plan import AblationPlan
from knobs.launch.plans.study_plan import StudyPlan
from knobs.launch.plans.trial_batches import StudyBatches
from knobs.launch.study_parent import close_study, open_study
from knobs.record.define import define_ablation, define_study
from knobs.record.definition import definition_to_json
from knobs.record.queries import counted_trials, runs_under
from knobs.record.reader import read_recorded
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Artifact, Tag
from knobs.record.states import StateName
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.search import Space
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=1, width=8),
    data=Toy(),
    optimizer=SGD(lr=0.1),
    schedule=Constant(),
    training=Training(max_steps=20, val_every=10),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Search the rate, and the momentum of wide networks only."""
    knobs: dict[str, Any] = {
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True),
        "model.width": trial.suggest_int("model.width", 4, 64, log=True),
    }
    if knobs["model.width"] > 8:
        knobs["optimizer.momentum"] = trial.suggest_float("optimizer.momentum", 0.0, 0.9)
    return baseline.with_knobs(knobs)


def rate(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Search the rate."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)})


@functools.cache
def _empty_store() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        places = StoreLocations(Path(folder), Path(folder) / "mlruns")
        Tracker(places)
        return places.database.read_bytes()


def new_tracker(folder: Path) -> Tracker:
    """Return a tracker on a new SQLite store in this folder. MLflow makes its tables once per process."""
    places = StoreLocations(folder, folder / "mlruns")
    places.make()
    places.database.write_bytes(_empty_store())
    return Tracker(places)


def a_study(searched: Space = space, **changes: Any) -> Study:
    """Return a study of a small network: it minimises the validation loss and prunes nothing."""
    given = {"baseline": BASELINE, "metric": "val/loss", "direction": "minimize", "pruner": "none", **changes}
    return Study(space=searched, **given)


def an_ablation(**changes: Any) -> Ablation:
    """Return an ablation of width: two cells of one trial and two seeds each, one claim."""
    wide, narrow = {"model.width": "16"}, {"model.width": "8"}
    given = {
        "question": "Does width help?",
        "claim": "Wider is better.",
        "baseline": BASELINE,
        "factors": (Factor.of("model.width", [8, 16]),),
        "nuisance": rate,
        "metric": "val/accuracy",
        "direction": "maximize",
        "repetitions": 1,
        "trials": 1,
        "seeds": 2,
        "claims": (Beats(text="wide wins", metric="test/accuracy", better=wide, worse=narrow),),
        **changes,
    }
    return Ablation(**given)


def record_study(
    tracker: Tracker,
    name: str,
    study: Study,
    *,
    trials: int,
    about: str = "A study.",
    pool: MemoryPool | None = None,
    fresh: bool = False,
    tags: Mapping[str, str] | None = None,
    device: str = "",
) -> RecordedStudy:
    """Record a study, or continue it, as `knobs study` does. `tags` are added to its run.

    `device`: the kind on which trials train together; empty: each trains alone.
    """
    parent = open_study(tracker, name, study, fresh=fresh)
    tracker.upload_texts(parent.id, {Artifact.DEFINITION: definition_to_json(define_study(name, study, about, trials))})
    plan = StudyPlan(name, study, tracker, total=trials)
    plan.train_together(StudyBatches(plan.search, device), [plan], 0)
    plan.open(parent.id, counted_trials(runs_under(tracker, parent.id, parent.experiment)))
    Driver(tracker, pool or MemoryPool(), QuietDisplay(), fresh=fresh).run(plan)
    close_study(tracker, plan, parent.id, StateName.FINISHED)
    tracker.tag(parent.id, {Tag.COMMAND: f"knobs study {name}", **(tags or {})})
    recorded = read_recorded(tracker, name)
    assert isinstance(recorded, RecordedStudy)
    return recorded


def record_ablation(
    tracker: Tracker,
    name: str,
    ablation: Ablation,
    *,
    pool: MemoryPool | None = None,
    fresh: bool = False,
    upto: int | None = None,
) -> RecordedAblation:
    """Record an ablation, or continue it, as `knobs ablate` does; only its first repetitions if `upto` is given."""
    parent = start_ablation(tracker, name, ablation, fresh=fresh)
    plan = AblationPlan(name, ablation, tracker, "cpu")
    plan.open(parent, fresh=fresh)
    plan.extend(upto or ablation.repetitions)
    Driver(tracker, pool or MemoryPool(), QuietDisplay(), fresh=fresh).run(plan)
    close_ablation(tracker, plan, parent, StateName.FINISHED)
    record_references(tracker, name, ablation, parent)
    decide_and_record(tracker, name, ablation, parent)
    return read_ablation(tracker, name)


def start_ablation(tracker: Tracker, name: str, ablation: Ablation, *, fresh: bool = False) -> str:
    """Open an ablation and record its definition, without its cells. Return the id of its run."""
    parent, _ = open_ablation(tracker, name, ablation, define_ablation(name, ablation, quick=False), fresh=fresh)
    tracker.tag(parent, {Tag.COMMAND: f"knobs ablate {name}"})
    return parent


def read_ablation(tracker: Tracker, name: str) -> RecordedAblation:
    """Return a recorded ablation."""
    recorded = read_recorded(tracker, name)
    assert isinstance(recorded, RecordedAblation)
    return recorded


def remove_artifact(tracker: Tracker, run: str, name: str) -> None:
    """Remove an artifact of a run, as somebody who cleans up by hand does."""
    folder = tracker.get(run).folder
    assert folder is not None
    (folder / name).unlink()
