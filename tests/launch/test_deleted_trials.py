"""Trials, studies, cells and seeds that somebody deletes in MLflow's page are trained again and come out the same."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import optuna
import pytest
from memory_pool import MemoryPool, QuietDisplay
from mlflow import MlflowClient
from written_records import a_study, an_ablation, new_tracker, read_ablation, record_ablation, record_study

from knobs.launch.driver import Driver
from knobs.launch.plans.study_plan import StudyPlan
from knobs.launch.study_parent import open_study
from knobs.record.queries import counted_trials, runs_under
from knobs.record.reader import read_recorded
from knobs.record.recorded_study import RecordedStudy
from knobs.record.states import StateName
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

pytestmark = pytest.mark.xdist_group("deleted trials")

STUDY = a_study(feedback_lag=2, sampler="tpe", pruner="median")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """A store with six trials of the study and with an ablation. Tests change copies of it."""
    tracker = new_tracker(tmp_path_factory.mktemp("recorded"))
    record_study(tracker, "study", STUDY, trials=6)
    record_ablation(tracker, "ablation", an_ablation())
    return tracker


@pytest.fixture
def tracker(recorded: Tracker, tmp_path: Path) -> Tracker:
    places = StoreLocations(tmp_path, tmp_path / "mlruns")
    shutil.copytree(recorded.places.folder, places.folder)
    return Tracker(places)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordedStudy, Tracker]:
    """Ten trials of the study, recorded in one launch, and their store."""
    tracker = new_tracker(tmp_path_factory.mktemp("whole"))
    return record_study(tracker, "study", STUDY, trials=10), tracker


def six_trials(tracker: Tracker) -> RecordedStudy:
    study = read_recorded(tracker, "study")
    assert isinstance(study, RecordedStudy)
    assert len(study.trials) == 6
    return study


def table(study: RecordedStudy) -> list[tuple[object, ...]]:
    return [(run.row.trial, run.finished, run.config.to_json(), run.value("val/loss")) for run in study.trials]


def mirrored(tracker: Tracker, name: str) -> list[tuple[object, ...]]:
    """What Optuna's own tools see."""
    study = optuna.load_study(study_name=name, storage=tracker.places.optuna_url)
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in study.trials]


@pytest.mark.parametrize(
    "deleted",
    [[1, 2, 3], *(pytest.param(numbers, marks=pytest.mark.slow) for numbers in ([0], [2], [5], [0, 1, 2, 3, 4, 5]))],
    ids=str,
)
def test_deleted_trials_come_out_the_same(
    deleted: list[int], tracker: Tracker, whole: tuple[RecordedStudy, Tracker]
) -> None:
    client: MlflowClient = tracker.client
    for trial in six_trials(tracker).trials:
        if trial.row.trial in deleted:
            client.delete_run(trial.row.id)
    again = record_study(tracker, "study", STUDY, trials=10)
    assert table(again) == table(whole[0])
    assert mirrored(tracker, "study") == mirrored(whole[1], "study")


def without_one_and_with_one_interrupted(tracker: Tracker) -> None:
    rows = {trial.row.trial: trial.row for trial in six_trials(tracker).trials}
    tracker.client.delete_run(rows[1].id)
    tracker.end(rows[4].id, "KILLED", {"knobs.state": StateName.INTERRUPTED})


def opened(tracker: Tracker, **changes: float) -> StudyPlan:
    parent = open_study(tracker, "study", STUDY, fresh=False)
    plan = StudyPlan("study", STUDY, tracker, total=10, **changes)
    plan.open(parent.id, counted_trials(runs_under(tracker, parent.id, parent.experiment)))
    return plan


def test_an_interrupted_trial_waits_for_a_deleted_one_before_it(
    tracker: Tracker, whole: tuple[RecordedStudy, Tracker]
) -> None:
    without_one_and_with_one_interrupted(tracker)
    plan = opened(tracker)
    assert plan.missing == [1]
    assert plan.resumed == []
    Driver(tracker, MemoryPool(2), QuietDisplay(), fresh=False).run(plan)
    assert table(record_study(tracker, "study", STUDY, trials=10)) == table(whole[0])


def test_a_deadline_ends_a_study_that_waits_for_a_deleted_trial(tracker: Tracker) -> None:
    without_one_and_with_one_interrupted(tracker)
    assert opened(tracker, deadline=0.0).done


def deletions() -> Iterable[tuple[str, Callable[[object], list[str]]]]:
    yield "a trial", lambda recorded: [recorded.cells[0].trials[0].row.id]  # type: ignore[attr-defined]
    yield "a seed", lambda recorded: [recorded.cells[1].seeds[1].row.id]  # type: ignore[attr-defined]
    yield "a cell", lambda recorded: [recorded.cells[1].row.id]  # type: ignore[attr-defined]
    yield "the whole", lambda recorded: [recorded.parent.id]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "what", [pytest.param(name, marks=[] if name == "a seed" else pytest.mark.slow) for name in dict(deletions())]
)
def test_an_ablation_without_one_of_its_runs_is_completed(what: str, tracker: Tracker) -> None:
    before = read_ablation(tracker, "ablation")
    for run in dict(deletions())[what](before):
        tracker.client.delete_run(run)
    after = record_ablation(tracker, "ablation", an_ablation())
    assert after.missing == []
    for old, new in zip(before.cells, after.cells, strict=True):
        assert old.values("test/accuracy") == new.values("test/accuracy")
    ended = itertools.chain.from_iterable(cell.runs for cell in after.cells)
    assert all(run.finished for run in ended)


def test_a_run_of_ones_own_under_a_study_is_left_alone(tracker: Tracker, whole: tuple[RecordedStudy, Tracker]) -> None:
    parent = six_trials(tracker).parent
    own = tracker.client.create_run(parent.experiment, tags={"mlflow.parentRunId": parent.id}, run_name="mine")
    tracker.client.log_metric(own.info.run_id, "val/loss", -1.0)
    assert table(record_study(tracker, "study", STUDY, trials=10)) == table(whole[0])
    assert tracker.client.get_run(own.info.run_id).data.metrics == {"val/loss": -1.0}
