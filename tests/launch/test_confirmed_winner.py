"""`--confirm N`: the winner on fresh seeds, what is reported of it, and winners that only one lucky seed supports."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from memory_pool import ENVIRONMENT, MemoryPool, QuietDisplay, Training
from support import quick
from written_records import a_study, new_tracker, rate, record_study

from knobs import Replicates, RunConfig, Study
from knobs.launch.driver import Driver
from knobs.launch.plans.study_plan import StudyPlan
from knobs.launch.pools.messages import NewPoint, RunEnded, Train
from knobs.launch.study_winner import confirm_winner
from knobs.record.queries import counted_trials, runs_of_kind, runs_under
from knobs.record.reader import read_recorded
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Kind, Tag
from knobs.record.stores.mlflow_store import Tracker
from knobs.report.receipts import Ledger
from knobs.report.study.report import study_report
from knobs.report.study.review import study_findings
from knobs.training import CurvePoint, Outcome, TrainJob


def confirm(tracker: Tracker, study: Study, seeds: int, pool: MemoryPool | None = None) -> RecordedStudy:
    """Confirm the winner of a recorded study, as `knobs study --confirm` does."""
    recorded = read_recorded(tracker, "s")
    plan = StudyPlan("s", study, tracker, total=len(recorded.runs))
    plan.open(recorded.parent.id, counted_trials(runs_under(tracker, recorded.parent.id, recorded.parent.experiment)))
    confirm_winner(Driver(tracker, pool or MemoryPool(), QuietDisplay()), tracker, plan, seeds, "cpu")
    again = read_recorded(tracker, "s")
    assert isinstance(again, RecordedStudy)
    return again


def test_the_winner_is_trained_with_fresh_seeds(tmp_path: Path) -> None:
    tracker, study = new_tracker(tmp_path), a_study(rate)
    record_study(tracker, "s", study, trials=4)
    recorded = confirm(tracker, study, 3)
    best = recorded.ranked[0]
    assert [seed.row.seed for seed in recorded.fresh_seeds] == [1000, 1001, 1002]
    assert {seed.config.optimizer.lr for seed in recorded.fresh_seeds} == {best.config.optimizer.lr}
    loss, *tested = recorded.confirmations
    values = [seed.row.metrics["best/val/loss"] for seed in recorded.fresh_seeds]
    assert (loss.metric, loss.values, loss.searched) == ("val/loss", values, best.value("val/loss"))
    assert loss.mean is not None
    assert loss.mean.value == pytest.approx(statistics.fmean(values))
    better = (statistics.fmean(values) - (best.value("val/loss") or 0.0)) / statistics.stdev(values)
    assert loss.better_by == pytest.approx(better)  # a loss is better if it is lower
    assert {one.metric for one in tested} == {"test/accuracy", "test/loss"}


def test_more_seeds_keep_those_that_are_there(tmp_path: Path) -> None:
    study = a_study(rate)
    twice, once = new_tracker(tmp_path / "twice"), new_tracker(tmp_path / "once")
    pool = MemoryPool()
    record_study(twice, "s", study, trials=4)
    record_study(once, "s", study, trials=4)
    confirm(twice, study, 2)
    found, whole = confirm(twice, study, 7, pool), confirm(once, study, 7)

    def table(recorded: RecordedStudy) -> list[tuple[object, ...]]:
        return [(s.key, s.value("val/loss"), s.row.tags[Tag.EXECUTION]) for s in recorded.fresh_seeds]

    assert table(found) == table(whole)
    jobs = [len(m.jobs) for worker in pool.workers for m in worker.received if isinstance(m, Train)]
    assert jobs == [3, 2]  # blocks of five seeds train together, whichever of them are asked for


def test_seeds_of_an_earlier_winner_are_set_aside(tmp_path: Path) -> None:
    tracker, study = new_tracker(tmp_path), a_study(rate)
    winners: list[str] = []
    for trials in (1, 12):
        record_study(tracker, "s", study, trials=trials)
        recorded = confirm(tracker, study, 2)
        winners.append(recorded.ranked[0].key)
        assert {seed.tag(Tag.WINNER_TRIAL) for seed in recorded.fresh_seeds} == {str(recorded.ranked[0].row.trial)}
    assert winners[0] != winners[1]
    rows = runs_of_kind(tracker, Kind.SEED, tracker.experiment("s"))
    assert sorted((row.tags[Tag.WINNER_TRIAL] == "0", Tag.SUPERSEDED in row.tags) for row in rows) == [
        (False, False), (False, False), (True, True), (True, True),
    ]  # fmt: skip


def scripted(values: dict[int, float]) -> MemoryPool:
    """Return a pool whose runs end with the loss of their seed; others with 0.5."""

    def train(job: TrainJob) -> Training:
        config = RunConfig.from_json(job.config)
        loss = values.get(config.seed, 0.5) + (0.0 if config.optimizer.lr == 0.1 else 0.02)
        curve = {"val/loss": loss, "val/accuracy": 1 - loss, "train/loss": loss}
        yield NewPoint(job.run, CurvePoint(step=20, values=curve, time_ms=1))
        summary = {f"best/{name}": value for name, value in curve.items()} | {"best/step": 20.0, "parameters": 1.0}
        summary |= {"test/loss": loss, "test/accuracy": 1 - loss} if job.read_test else {}
        return RunEnded(job.run, Outcome(state="finished", best_step=20, summary=summary, environment=ENVIRONMENT))

    return MemoryPool(train=train)


def finding(recorded: RecordedStudy) -> tuple[bool, str]:
    """Return what the review says about the seeds behind the best value."""
    ledger = Ledger()
    study_report(recorded)
    for trial in recorded.ranked:
        ledger.add_group(f"trial {trial.key}", [trial])
    for group in ("all runs", "finished trials", "fresh seeds of the winner"):
        ledger.add_group(group, recorded.trials)
    found = next(f for f in study_findings(recorded, ledger) if f.name == "More than one seed supports the best value")
    return found.fine, "".join(str(getattr(part, "text", part)) for part in found.parts)


def test_the_review_wants_more_than_one_seed(tmp_path: Path) -> None:
    tracker, study = new_tracker(tmp_path), a_study(rate)
    recorded = record_study(tracker, "s", study, trials=3, pool=scripted({}))
    fine, text = finding(recorded)
    assert not fine
    assert "one seed" in text
    assert "--confirm 5" in text


@pytest.mark.parametrize(("searched", "fine"), [(0.47, True), (0.2, False)])
def test_the_review_finds_a_value_that_fresh_seeds_do_not_reach(searched: float, fine: bool, tmp_path: Path) -> None:
    tracker, study = new_tracker(tmp_path), a_study(rate)
    values = {0: searched, 1000: 0.45, 1001: 0.5, 1002: 0.55}
    record_study(tracker, "s", study, trials=3, pool=scripted(values))
    found, text = finding(confirm(tracker, study, 3, scripted(values)))
    assert found == fine
    assert "fresh seeds" in text


@pytest.mark.parametrize(("lucky", "fine"), [(0.3, False), (0.49, True)])
def test_the_review_finds_a_value_that_one_lucky_replicate_makes(lucky: float, fine: bool, tmp_path: Path) -> None:
    replicates = Replicates(seeds=3)
    values = {0: lucky, 1_000_000: 0.53 if not fine else 0.5, 2_000_000: 0.53 if not fine else 0.5}

    def train(job: TrainJob) -> Training:
        config = RunConfig.from_json(job.config)
        pool = scripted(values if config.optimizer.lr == 0.1 else {})
        return (yield from pool.train(job))

    study = a_study(rate, replicates=replicates)
    recorded = record_study(new_tracker(tmp_path), "s", study, trials=3, pool=MemoryPool(train=train))
    assert recorded.ranked[0].key == "t000"
    found, text = finding(recorded)
    assert found == fine
    assert ("t000.0" in text) != fine


STUDY = '''"""Which rate a toy needs."""

from datamodules.toy import Toy
from knobs import Replicates, RunConfig, Study, Training
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


def space(trial, baseline):
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 0.001, 1.0, log=True)})


study = Study(
    baseline=BASELINE, space=space, metric="val/loss", direction="minimize", replicates=Replicates(seeds=2), trials=3
)
'''


@pytest.mark.slow
def test_replicates_and_fresh_seeds_through_the_command(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "rates.py").write_text(STUDY)
    store = tmp_path / "store"
    done = quick("study", "rates", "--confirm", "3", "--devices", "cpu:1", store=store, cwd=tmp_path)
    assert done.code == 0, done
    assert "standard error" in done.out
    assert "on 3 fresh seeds, with 95% intervals:" in done.out
    assert "test/loss" in done.out
    status = quick("status", "rates", store=store, cwd=tmp_path)
    assert "standard." in status.out
    assert "on 3 fresh seeds" in status.out
    report = quick("report", "rates", store=store, cwd=tmp_path)
    assert report.code == 0, report
    text = (store / "reports" / "rates" / "report.md").read_text()
    assert "## The winner on fresh seeds" in text
    assert "mean over 2 replicates" in text
    best = next(line for line in done.out.splitlines() if line.startswith("best: ")).split()[1].strip(",")
    receipts = str(store / "reports" / "rates")
    again = quick("reproduce", "--cell", best, "--report", receipts, store=tmp_path / "other", cwd=tmp_path)
    assert again.code == 0, again
    assert again.out.count("identical: all") == 2 + 3
    trial = next(line for line in done.out.splitlines() if line.startswith("best: ")).split()[-1]
    once_more = quick("reproduce", trial, store=store, cwd=tmp_path)
    assert once_more.code == 0, once_more
    assert once_more.out.count("identical: all") == 2
    other = quick("study", "rates", "--confirm", "3", "--devices", "cpu:2", store=tmp_path / "again", cwd=tmp_path)
    assert other.code == 0
    against = quick("report", "rates", "--against", receipts, store=tmp_path / "again", cwd=tmp_path)
    assert against.code == 0, against
    refused = quick("study", "rates", "--pruner", "median", store=store, cwd=tmp_path)
    assert (refused.code, "use wilcoxon" in refused.err) == (2, True)
