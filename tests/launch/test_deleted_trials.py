"""Trials, studies, cells and seeds that somebody deletes in MLflow's page are trained again and come out the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import optuna
import pytest
from memory_pool import MemoryPool, QuietDisplay
from mlflow import MlflowClient
from written_records import a_study, an_ablation, new_tracker, record_ablation, record_study

from knobs.launch.driver import Driver
from knobs.launch.plans.study_plan import StudyPlan
from knobs.launch.study_parent import open_study
from knobs.record.queries import counted_trials, runs_under
from knobs.record.recorded_study import RecordedStudy
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker

STUDY = a_study(feedback_lag=2, sampler="tpe", pruner="median")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("deleted"))


def table(study: RecordedStudy) -> list[tuple[object, ...]]:
    return [(run.row.trial, run.finished, run.config.to_json(), run.value("val/loss")) for run in study.trials]


def mirrored(tracker: Tracker, name: str) -> list[tuple[object, ...]]:
    """What Optuna's own tools see."""
    study = optuna.load_study(study_name=name, storage=tracker.places.optuna_url)
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in study.trials]


@pytest.fixture(scope="module")
def whole(tracker: Tracker) -> RecordedStudy:
    return record_study(tracker, "whole", STUDY, trials=10)


@pytest.mark.parametrize("deleted", [[0], [2], [5], [1, 2, 3], [0, 1, 2, 3, 4, 5]])
def test_deleted_trials_come_out_the_same(deleted: list[int], tracker: Tracker, whole: RecordedStudy) -> None:
    name = "without " + " ".join(map(str, deleted))
    client: MlflowClient = tracker.client
    for trial in record_study(tracker, name, STUDY, trials=6).trials:
        if trial.row.trial in deleted:
            client.delete_run(trial.row.id)
    again = record_study(tracker, name, STUDY, trials=10)
    assert table(again) == table(whole)
    assert mirrored(tracker, name) == mirrored(tracker, "whole")


def test_an_interrupted_trial_waits_for_a_deleted_one_before_it(tracker: Tracker, whole: RecordedStudy) -> None:
    first = record_study(tracker, "both", STUDY, trials=6)
    rows = {trial.row.trial: trial.row for trial in first.trials}
    tracker.client.delete_run(rows[1].id)
    tracker.end(rows[4].id, "KILLED", {"knobs.state": StateName.INTERRUPTED})
    parent = open_study(tracker, "both", STUDY, fresh=False)
    plan = StudyPlan("both", STUDY, tracker, total=10)
    plan.open(parent.id, counted_trials(runs_under(tracker, parent.id, parent.experiment)))
    assert plan.missing == [1]
    assert plan.resumed == []
    Driver(tracker, MemoryPool(2), QuietDisplay(), fresh=False).run(plan)
    assert table(record_study(tracker, "both", STUDY, trials=10)) == table(whole)


def test_a_deadline_ends_a_study_that_waits_for_a_deleted_trial(tracker: Tracker) -> None:
    first = record_study(tracker, "late", STUDY, trials=6)
    rows = {trial.row.trial: trial.row for trial in first.trials}
    tracker.client.delete_run(rows[1].id)
    tracker.end(rows[4].id, "KILLED", {"knobs.state": StateName.INTERRUPTED})
    parent = open_study(tracker, "late", STUDY, fresh=False)
    plan = StudyPlan("late", STUDY, tracker, total=10, deadline=0.0)
    plan.open(parent.id, counted_trials(runs_under(tracker, parent.id, parent.experiment)))
    assert plan.done


def deletions() -> Iterable[tuple[str, Callable[[object], list[str]]]]:
    yield "a trial", lambda recorded: [recorded.cells[0].trials[0].row.id]  # type: ignore[attr-defined]
    yield "a seed", lambda recorded: [recorded.cells[1].seeds[1].row.id]  # type: ignore[attr-defined]
    yield "a cell", lambda recorded: [recorded.cells[1].row.id]  # type: ignore[attr-defined]
    yield "the whole", lambda recorded: [recorded.parent.id]  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", dict(deletions()))
def test_an_ablation_without_one_of_its_runs_is_completed(what: str, tracker: Tracker) -> None:
    chosen, name = dict(deletions())[what], f"ablation without {what}"
    before = record_ablation(tracker, name, an_ablation())
    for run in chosen(before):
        tracker.client.delete_run(run)
    after = record_ablation(tracker, name, an_ablation())
    assert after.missing == []
    for old, new in zip(before.cells, after.cells, strict=True):
        assert old.values("test/accuracy") == new.values("test/accuracy")
    ended = itertools.chain.from_iterable(cell.runs for cell in after.cells)
    assert all(run.finished for run in ended)


def test_a_run_of_ones_own_under_a_study_is_left_alone(tracker: Tracker, whole: RecordedStudy) -> None:
    record_study(tracker, "guest", STUDY, trials=4)
    parent = record_study(tracker, "guest", STUDY, trials=4).parent
    own = tracker.client.create_run(parent.experiment, tags={"mlflow.parentRunId": parent.id}, run_name="mine")
    tracker.client.log_metric(own.info.run_id, "val/loss", -1.0)
    assert table(record_study(tracker, "guest", STUDY, trials=10)) == table(whole)
    assert tracker.client.get_run(own.info.run_id).data.metrics == {"val/loss": -1.0}
