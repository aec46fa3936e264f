"""Trials with replicates: recorded below their trial, with means over them, whatever happens meanwhile."""

from __future__ import annotations

import random
import signal
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest
from memory_pool import ENVIRONMENT, MemoryPool, QuietDisplay, Training, train_in_memory
from written_records import (
    BASELINE,
    a_study,
    an_ablation,
    new_tracker,
    rate,
    record_ablation,
    record_study,
    start_ablation,
)

from knobs import Replicates, RunConfig, Study
from knobs.errors import BadInputError, InterruptedBySignal
from knobs.launch.ablation_parent import close_ablation
from knobs.launch.driver import Driver
from knobs.launch.plans.ablation_plan import AblationPlan
from knobs.launch.plans.study_plan import StudyPlan
from knobs.launch.plans.trial_batches import StudyBatches
from knobs.launch.pools.messages import NewPoint, RunEnded, Train
from knobs.launch.study_parent import close_study, open_study
from knobs.record.queries import counted_trials, runs_of_kind, runs_under
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Kind, MlflowTag, Tag
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.search import study_identity
from knobs.training import CurvePoint, Outcome, TrainJob

THREE = Replicates(seeds=3)


def study_of(replicates: Replicates = THREE, **changes: Any) -> Study:
    return a_study(rate, **{"sampler": "qmc", "replicates": replicates, **changes})


def table(study: RecordedStudy) -> list[tuple[object, ...]]:
    """Return what must not depend on how a study was run: knobs, values, errors, states, replicates' values."""
    return [
        (
            trial.config.to_json(),
            trial.value("val/loss"),
            study.error(trial),
            trial.state,
            [(run.key, run.config.to_json(), run.value("val/loss")) for run in study.replicates[trial.row.trial]],
            trial.curve("val/loss"),
        )
        for trial in study.trials
    ]


@pytest.mark.parametrize("device", ["", "cpu"])
def test_a_trial_has_the_mean_over_its_replicates(device: str, tmp_path: Path) -> None:
    tracker = new_tracker(tmp_path)
    study = record_study(tracker, "s", study_of(), trials=4, device=device)
    assert len(study.trials) == 4
    for trial in study.trials:
        runs = study.replicates[trial.row.trial]
        values = [run.row.metrics["best/val/loss"] for run in runs]
        assert [run.row.seed for run in runs] == [0, 1_000_000, 2_000_000]
        assert {run.row.tags[MlflowTag.PARENT] for run in runs} == {trial.row.id}
        assert {run.row.tags[Tag.EXECUTION].startswith("batch of ") for run in runs} == {device == "cpu"}
        assert trial.value("val/loss") == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert study.error(trial) == pytest.approx(statistics.stdev(values) / 3**0.5, rel=1e-9)
        assert [step for step, _ in trial.curve("val/loss")] == [10, 20]
        curves = [dict(run.curve("val/loss")) for run in runs]
        assert dict(trial.curve("val/loss"))[10] == pytest.approx(statistics.fmean(curve[10] for curve in curves))
        assert [value for _, value in trial.curve("replicates/val/loss")] == values
        assert trial.row.status == "FINISHED"
        assert trial.row.tags[Tag.CODE] == runs[0].row.tags[Tag.CODE]
    assert len({trial.tag(Tag.DIGEST) for trial in study.trials}) == 4


def test_the_search_sees_the_means(tmp_path: Path) -> None:
    tracker = new_tracker(tmp_path)
    study = record_study(tracker, "s", study_of(), trials=4)
    mirrored = optuna.load_study(study_name="s", storage=tracker.places.optuna_url).trials
    for trial, seen in zip(study.trials, mirrored, strict=True):
        assert seen.value == trial.value("val/loss")
        assert seen.intermediate_values == dict(trial.curve("replicates/val/loss"))
    best = min(study.trials, key=lambda trial: trial.value("val/loss") or 9.0)
    assert study.ranked[0].key == best.key
    assert tracker.get(study.parent.id).metrics["best/val/loss"] == best.value("val/loss")


def test_values_of_a_knob_are_replicates_too(tmp_path: Path) -> None:
    folds = Replicates(seeds=2, knob="data.label_noise", values=(0.0, 0.1, 0.2))
    study = record_study(new_tracker(tmp_path), "s", study_of(folds), trials=2)
    runs = study.replicates[0]
    assert [run.config.knobs()["data.label_noise"] for run in runs] == [0.0, 0.0, 0.1, 0.1, 0.2, 0.2]
    assert [run.row.seed for run in runs] == [0, 1_000_000] * 3
    assert [study.replicate_knobs(run)["data.label_noise"] for run in runs] == [0.0, 0.0, 0.1, 0.1, 0.2, 0.2]


@pytest.mark.parametrize("sampler", ["qmc", "tpe"])
@pytest.mark.parametrize("checks", [2, 5, 9, 14, 22])
def test_an_interruption_changes_nothing(sampler: str, checks: int, tmp_path: Path) -> None:
    made = study_of(sampler=sampler, feedback_lag=2, trials=5)
    whole = record_study(new_tracker(tmp_path / "whole"), "s", made, trials=5)
    tracker = new_tracker(tmp_path / "interrupted")
    interrupt(tracker, made, checks)
    assert {row.status for row in runs_of_kind(tracker, Kind.TRIAL, tracker.experiment("s"))} <= {"FINISHED", "KILLED"}
    again = record_study(tracker, "s", made, trials=5)
    assert table(again) == table(whole)
    assert len(runs_of_kind(tracker, Kind.REPLICATE, tracker.experiment("s"))) == 15


def interrupt(tracker: Tracker, made: Study, checks: int) -> None:
    """Run a study of five trials, and interrupt it after so many turns of the driver."""
    parent = open_study(tracker, "s", made, fresh=False)
    plan = StudyPlan("s", made, tracker, total=5)
    plan.open(parent.id, counted_trials(runs_under(tracker, parent.id, parent.experiment)))
    left = iter(range(checks))

    def check() -> None:
        if next(left, None) is None:
            raise InterruptedBySignal(signal.SIGINT)

    driver = Driver(tracker, MemoryPool(), QuietDisplay(), fresh=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("knobs.signals.check", check)
        with pytest.raises(InterruptedBySignal):
            driver.run(plan)
    close_study(tracker, plan, parent.id, StateName.INTERRUPTED)


def test_a_driver_killed_before_the_end_of_a_trial_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study_of(trials=3)
    whole = record_study(new_tracker(tmp_path / "whole"), "s", made, trials=3)
    tracker = new_tracker(tmp_path / "killed")

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("knobs.launch.plans.study_plan.end_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            record_study(tracker, "s", made, trials=3)
    before = {row.id for row in runs_of_kind(tracker, Kind.REPLICATE, tracker.experiment("s")) if row.ended}
    assert len(before) == 3
    again = record_study(tracker, "s", made, trials=3)
    assert table(again) == table(whole)
    assert before <= {run.row.id for found in again.replicates.values() for run in found}


def test_a_deleted_trial_is_trained_again_with_its_replicates(tmp_path: Path) -> None:
    tracker, made = new_tracker(tmp_path), study_of(trials=4)
    whole = record_study(tracker, "s", made, trials=4)
    tracker.client.delete_run(whole.trials[1].row.id)
    again = record_study(tracker, "s", made, trials=4)
    assert table(again) == table(whole)
    assert again.trials[1].row.id != whole.trials[1].row.id


def diverging(seeds: set[int]) -> Any:
    """Return a worker's script: runs with one of these seeds diverge."""

    def train(job: TrainJob) -> Training:
        config = RunConfig.from_json(job.config)
        if config.seed in seeds and config.optimizer.lr > 0.05:
            yield NewPoint(job.run, CurvePoint(step=10, values={"val/loss": 1.0, "train/loss": 1.0}, time_ms=1))
            return RunEnded(job.run, Outcome(state="diverged", message="train/loss is nan", environment=ENVIRONMENT))
        return (yield from train_in_memory(job))

    return train


def test_a_trial_diverges_with_any_of_its_replicates(tmp_path: Path) -> None:
    pool = MemoryPool(train=diverging({1_000_000}))
    study = record_study(new_tracker(tmp_path), "s", study_of(), trials=6, pool=pool)
    fast = [trial for trial in study.trials if trial.config.optimizer.lr > 0.05]
    assert 0 < len(fast) < 6
    for trial in study.trials:
        assert (trial.state == "diverged") == (trial in fast)
        assert (trial.value("val/loss") is None) == (trial in fast)
        assert len(study.replicates[trial.row.trial]) == 3
    assert {trial.tag(Tag.MESSAGE) for trial in fast} == {"replicate 1: train/loss is nan"}


def noisy(job: TrainJob) -> Training:
    """Train with a loss that is the rate's, plus noise that all trials share."""
    config = RunConfig.from_json(job.config)
    loss = config.optimizer.lr + 1e-4 * random.Random(config.seed).random()
    for step in (10, 20):
        curve = {"val/loss": loss, "val/accuracy": 1 - loss, "train/loss": loss}
        yield NewPoint(job.run, CurvePoint(step=step, values=curve, time_ms=step))
    summary = {f"best/{name}": value for name, value in curve.items()} | {"best/step": 20.0, "parameters": 1.0}
    return RunEnded(job.run, Outcome(state="finished", best_step=20, summary=summary, environment=ENVIRONMENT))


def test_wilcoxon_ends_worse_trials_after_some_replicates(tmp_path: Path) -> None:
    made = study_of(Replicates(seeds=8), pruner="wilcoxon", feedback_lag=1, sampler="random")
    study = record_study(new_tracker(tmp_path / "a"), "s", made, trials=12, pool=MemoryPool(train=noisy))
    counts = {trial.row.trial: len(study.replicates[trial.row.trial]) for trial in study.trials}
    best = 0.1  # of the baseline
    for trial in study.trials:
        lr = trial.config.optimizer.lr
        assert trial.state == ("pruned" if lr > best else "finished")
        assert counts[trial.row.trial] == (4 if lr > best else 8)  # one-sided p = 1/16 after four
        best = min(best, lr)
    assert {trial.state for trial in study.trials} == {"pruned", "finished"}
    assert next(t for t in study.trials if t.state == "pruned").tag(Tag.MESSAGE) == "pruned after 4 of 8 replicates"
    several = record_study(new_tracker(tmp_path / "b"), "s", made, trials=12, pool=MemoryPool(4, train=noisy))
    assert table(several) == table(study)


@pytest.mark.parametrize("checks", [7, 20, 41, 60])
def test_wilcoxon_after_an_interruption(checks: int, tmp_path: Path) -> None:
    made = study_of(Replicates(seeds=6), pruner="wilcoxon", feedback_lag=2, trials=5)
    whole = record_study(new_tracker(tmp_path / "whole"), "s", made, trials=5)
    tracker = new_tracker(tmp_path / "interrupted")
    interrupt(tracker, made, checks)
    assert table(record_study(tracker, "s", made, trials=5)) == table(whole)


def test_an_ablation_tunes_with_several_seeds(tmp_path: Path) -> None:
    pool = MemoryPool()
    made = an_ablation(tuning_seeds=3, trials=4, repetitions=2, seeds=1)
    recorded = record_ablation(new_tracker(tmp_path), "a", made, pool=pool)
    assert made.runs_of(made.cells()[0]) == 2 * (4 * 3 + 1)
    for cell in recorded.cells:
        assert len(cell.trials) == 8
        for trial in cell.trials:
            seeds = [trial.row.repetition + 1_000_000 * k for k in range(3)]
            below = runs_under(recorded.tracker, trial.row.id, trial.row.experiment)
            assert sorted(row.seed for row in below) == seeds
            mean = statistics.fmean(row.metrics["best/val/accuracy"] for row in below)
            assert trial.value("val/accuracy") == pytest.approx(mean, rel=1e-12)
        for number, winner in cell.winners.items():
            rivals = [t.value("val/accuracy") for t in cell.trials if t.row.repetition == number]
            assert winner.value("val/accuracy") == max(v for v in rivals if v is not None)
    trained = [job for worker in pool.workers for m in worker.received if isinstance(m, Train) for job in m.jobs]
    assert len(trained) == sum(map(made.runs_of, made.cells()))
    sizes = [len(m.jobs) for worker in pool.workers for m in worker.received if isinstance(m, Train)]
    assert max(sizes) == 10  # trials, replicates and repetitions train together
    assert recorded.missing == []


@pytest.mark.parametrize("checks", [3, 11, 40])
def test_an_interrupted_ablation_with_tuning_seeds(checks: int, tmp_path: Path) -> None:
    made = an_ablation(tuning_seeds=2, trials=3, repetitions=2, seeds=1)
    whole = record_ablation(new_tracker(tmp_path / "whole"), "a", made)
    tracker = new_tracker(tmp_path / "interrupted")
    parent = start_ablation(tracker, "a", made)
    plan = AblationPlan("a", made, tracker, "cpu")
    plan.open(parent, fresh=False)
    plan.extend(2)
    driver, left = Driver(tracker, MemoryPool(), QuietDisplay(), fresh=False), iter(range(checks))

    def check() -> None:
        if next(left, None) is None:
            raise InterruptedBySignal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("knobs.signals.check", check)
        with pytest.raises(InterruptedBySignal):
            driver.run(plan)
    close_ablation(tracker, plan, parent, StateName.INTERRUPTED)
    again = record_ablation(tracker, "a", made)
    for one, other in zip(again.cells, whole.cells, strict=True):
        for runs, others in ((one.trials, other.trials), (one.seeds, other.seeds)):
            assert [(r.key, r.state, r.value("val/accuracy")) for r in runs] == [
                (r.key, r.state, r.value("val/accuracy")) for r in others
            ]
    replicates = runs_of_kind(tracker, Kind.REPLICATE, tracker.experiment("a"))
    assert len(replicates) == 2 * 2 * 3 * 2
    assert {row.status for row in replicates} == {"FINISHED"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replicates": Replicates(seeds=3), "pruner": "median"}, "use wilcoxon, which compares replicates, or none"),
        ({"replicates": Replicates(seeds=4), "pruner": "wilcoxon"}, "needs at least 5, not 4"),
        ({"pruner": "wilcoxn"}, "did you mean wilcoxon"),
        ({"replicates": Replicates(knob="data.fold", values=(1, 2))}, "data.fold is no knob of this study"),
        ({"replicates": Replicates(knob="optimizer.lr", values=(0.1, 0.2))}, "is searched"),
        ({"replicates": Replicates(knob="data.label_noise", values=(0.0, 2.0))}, "data.label_noise = 2.0"),
    ],
)
def test_replicates_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        a_study(rate, **changes)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "at least 1"),
        ({"knob": "seed", "values": (1, 2)}, r"Replicates\(seeds=3\)"),
        ({"knob": "data.fold"}, "needs values"),
        ({"values": (1, 2)}, "need a knob"),
        ({"knob": "data.fold", "values": (1, 1)}, "given twice"),
    ],
)
def test_wrong_replicates_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Replicates(**wrong)


def test_other_replicates_make_another_study() -> None:
    assert study_identity(study_of()) != study_identity(study_of(Replicates(seeds=4)))
    assert Study(baseline=BASELINE, space=rate, metric="val/loss", direction="minimize").pruner == "median"
    assert a_study(rate, replicates=THREE, pruner="").pruner == "none"


def test_replicates_train_together_with_those_of_other_trials(tmp_path: Path) -> None:
    pool = MemoryPool(1)
    record_study(new_tracker(tmp_path), "s", study_of(), trials=4, pool=pool, device="cpu")
    sizes = [len(m.jobs) for worker in pool.workers for m in worker.received if isinstance(m, Train)]
    assert sizes == [10, 2]  # 12 replicates, of which ten fill a batch


def test_a_trial_that_learns_trains_its_own_replicates_together(tmp_path: Path) -> None:
    pool, made = MemoryPool(1), study_of(sampler="tpe", pruner="none")
    tracker = new_tracker(tmp_path)
    parent = open_study(tracker, "s", made, fresh=False)
    plan = StudyPlan("s", made, tracker, total=12)
    plan.train_together(StudyBatches(plan.search, "cpu"), [plan], 0)
    plan.open(parent.id, [])
    Driver(tracker, pool, QuietDisplay(), fresh=False).run(plan)
    sizes = [len(m.jobs) for worker in pool.workers for m in worker.received if isinstance(m, Train)]
    assert sizes == [10, 10, 10, 3, 3]
