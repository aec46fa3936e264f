"""The trials that tune a cell are handed out as batches, whatever has been trained already."""

from __future__ import annotations

import signal
from typing import Any

import optuna
import pytest
from memory_pool import MemoryPool, QuietDisplay
from mlflow import MlflowClient
from written_records import BASELINE, a_study, an_ablation, new_tracker, rate, record_ablation, start_ablation

from knobs import RunConfig
from knobs.errors import InterruptedBySignal
from knobs.launch.driver import Driver
from knobs.launch.plans.ablation_plan import AblationPlan
from knobs.launch.plans.trial_batches import Place, StudyBatches, TrialBatches
from knobs.launch.pools.messages import Train
from knobs.record.queries import runs_of_kind
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.runs import recorded_batch
from knobs.record.schema import Kind, Tag
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.search import Search

ABLATION = an_ablation(trials=12, seeds=3, sampler="tpe")


@pytest.fixture
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("batches"))


def handed_out(pool: MemoryPool) -> list[list[str]]:
    """Return the configs that workers got, by message."""
    jobs = (message.jobs for worker in pool.workers for message in worker.received if isinstance(message, Train))
    return [[job.config for job in some] for some in jobs]


def executions(recorded: RecordedAblation) -> list[list[str]]:
    """Return how each cell's trials were trained, in order."""
    return [[trial.row.tags[Tag.EXECUTION] for trial in cell.trials] for cell in recorded.cells]


def values(recorded: RecordedAblation) -> list[list[float | None]]:
    return [[trial.value("val/loss") for trial in cell.trials] for cell in recorded.cells]


def test_the_first_ten_trials_of_a_cell_train_together(tracker: Tracker) -> None:
    pool = MemoryPool()
    recorded = record_ablation(tracker, "ablation", ABLATION, pool=pool)
    assert sorted(map(len, handed_out(pool))) == [1, 1, 1, 1, 3, 3, 10, 10]  # trials 10 and 11 learn from the others
    for cell, ways in zip(recorded.cells, executions(recorded), strict=True):
        assert ways[10:] == ["solo", "solo"]
        assert len(set(ways[:10])) == 1
        members = [trial.config for trial in cell.trials[:10]]
        for trial, way in zip(cell.trials[:10], ways, strict=False):
            assert recorded_batch(trial.config, way) == tuple(members)


@pytest.mark.parametrize("deleted", [[0], [3, 4, 11], list(range(12))])
def test_deleted_trials_are_trained_in_their_batch(deleted: list[int], tracker: Tracker) -> None:
    whole = record_ablation(tracker, "ablation", ABLATION)
    client: MlflowClient = tracker.client
    for trial in whole.cells[0].trials:
        if trial.row.trial in deleted:
            client.delete_run(trial.row.id)
    pool = MemoryPool()
    again = record_ablation(tracker, "ablation", ABLATION, pool=pool)
    assert (values(again), executions(again)) == (values(whole), executions(whole))
    first = next(some for some in handed_out(pool))
    assert first == [trial.config.to_json() for trial in whole.cells[0].trials[:10] if trial.row.trial in deleted]
    study = optuna.load_study(
        study_name=f"ablation.{whole.cells[0].name.replace(' ', '.')}", storage=tracker.places.optuna_url
    )
    assert [trial.number for trial in study.trials] == list(range(12))
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)


def test_an_interrupted_batch_continues_as_one(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = record_ablation(new_tracker(tracker.places.folder.parent / "other"), "ablation", ABLATION)
    parent = start_ablation(tracker, "ablation", ABLATION)
    plan = AblationPlan("ablation", ABLATION, tracker, "cpu")
    plan.open(parent, fresh=False)
    plan.extend(1)
    checks = iter(range(4))

    def check() -> None:
        if next(checks, None) is None:
            raise InterruptedBySignal(signal.SIGINT)

    monkeypatch.setattr("knobs.signals.check", check)
    with pytest.raises(InterruptedBySignal):
        Driver(tracker, MemoryPool(), QuietDisplay(), fresh=False).run(plan)
    monkeypatch.undo()
    rows = runs_of_kind(tracker, Kind.TRIAL, tracker.experiment("ablation"))
    assert {(row.state, len(rows)) for row in rows} == {(StateName.INTERRUPTED, 10)}
    pool = MemoryPool()
    again = record_ablation(tracker, "ablation", ABLATION, pool=pool)
    assert len(handed_out(pool)[0]) == 10
    assert (values(again), executions(again)) == (values(whole), executions(whole))


def few(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Choose one of two rates."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_categorical("optimizer.lr", [0.1, 0.2])})


def test_an_equal_trial_reuses_the_values_of_the_first(tracker: Tracker) -> None:
    recorded = record_ablation(tracker, "ablation", an_ablation(trials=6, nuisance=few))
    for cell, ways in zip(recorded.cells, executions(recorded), strict=True):
        assert {way for way in ways if way != "solo"} == {'batch of {"optimizer.lr": [0.1, 0.2]}'}
        by_rate: dict[str, set[Any]] = {}
        for trial in cell.trials:
            by_rate.setdefault(trial.row.params["optimizer.lr"], set()).add(trial.value("val/loss"))
        assert all(len(seen) == 1 for seen in by_rate.values())


def test_trials_of_other_shapes_train_apart() -> None:
    search = Search(a_study(), "s")
    found = TrialBatches([search], range(10), "cpu")
    configs = [search.ask(number).config for number in range(10)]
    widths: dict[Any, list[Place]] = {}
    for number, config in enumerate(configs):
        widths.setdefault(config.knobs()["model.width"], []).append(Place(0, number, 0))
    assert len(widths) > 2
    for places in widths.values():
        wanted = {place: configs[place.number] for place in places} if len(places) > 1 else {}
        assert all(found.members(place, configs[place.number]) == wanted for place in places)
    assert TrialBatches([search], range(10), "").members(Place(0, 0, 0), configs[0]) == {}


def test_a_study_that_goes_on_changes_no_batch_of_the_earlier_trials() -> None:
    search = Search(a_study(rate, sampler="qmc"), "s")
    whole, part = StudyBatches(search, "cpu"), StudyBatches(search, "cpu")
    places = [Place(0, number, 0) for number in range(25)]
    found = [part.members(place, search.ask(place.number).config) for place in places[:12]]
    again = [whole.members(place, search.ask(place.number).config) for place in reversed(places)][::-1]
    assert found == again[:12]
    assert [[place.number for place in one] for one in again[::10]] == [
        list(range(10)), list(range(10, 20)), list(range(20, 30)),
    ]  # fmt: skip


def test_a_grid_has_no_batch_members_beyond_its_last_point() -> None:
    search = Search(a_study(few, baseline=BASELINE.with_knobs({"optimizer.lr": 0.1}), sampler="grid"), "s")
    members = StudyBatches(search, "cpu").members(Place(0, 0, 0), search.ask(0).config)
    assert [place.number for place in members] == [0, 1]
