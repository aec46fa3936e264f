"""Workers that have imported other code than the driver records, and what a run reads besides its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from memory_pool import MemoryPool, QuietDisplay, Training, train_in_memory
from written_records import BASELINE, new_tracker

from knobs import RunConfig
from knobs.code import Reads
from knobs.launch.driver import Driver
from knobs.launch.driver import current_code as current
from knobs.launch.driver.driver import RETRIES
from knobs.launch.plans import FixedPlan, PlannedRun
from knobs.launch.pools.messages import Lost, Outdated, ReadsFound
from knobs.record.queries import runs_of_kind
from knobs.record.schema import Kind, Tag
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.training import TrainJob


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("outdated"))


class Answers:
    """Answers the first jobs with these messages, before or after their first point, and trains the others."""

    def __init__(self, *answers: Any, after_a_point: bool = False) -> None:
        self.answers, self.after_a_point = list(answers), after_a_point
        self.jobs: list[TrainJob] = []

    def __call__(self, job: TrainJob) -> Training:
        self.jobs.append(job)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Reads):
            yield ReadsFound(job.run, answer)
        elif answer is not None:
            if self.after_a_point:
                yield next(train_in_memory(job))
            return answer
        return (yield from train_in_memory(job))


def drive(tracker: Tracker, name: str, train: Answers, config: RunConfig = BASELINE, *, fresh: bool = True) -> Row:
    planned = PlannedRun(config=config, kind=Kind.RUN, label="r", name="r", metric="val/loss", tags={Tag.NAME: name})
    Driver(tracker, MemoryPool(1, train), QuietDisplay(), fresh=fresh).run(FixedPlan(name, [planned]))
    return runs_of_kind(tracker, Kind.RUN, tracker.experiment(name))[0]


def edited_at(monkeypatch: pytest.MonkeyPatch, *hashes: str) -> None:
    """Let the code have these hashes, one for each time that the run is handed to a worker; the last one stays."""
    left = list(hashes)
    monkeypatch.setattr(current, "training_code_hash", lambda _: left.pop(0) if len(left) > 1 else left[0])


def test_an_outdated_worker_is_replaced_and_its_run_loses_nothing(tracker: Tracker) -> None:
    train = Answers(Outdated())
    row = drive(tracker, "replaced", train)
    assert row.state == StateName.FINISHED
    assert [job.code for job in train.jobs] == [row.tags[Tag.CODE]] * 2
    assert Tag.LOST_WORKERS not in row.tags


def test_a_run_that_has_not_begun_is_recorded_under_the_new_code(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited_at(monkeypatch, "old", "new")
    train = Answers(Outdated())
    row = drive(tracker, "not begun", train)
    assert (row.state, row.tags[Tag.CODE]) == (StateName.FINISHED, "new")
    assert [job.code for job in train.jobs] == ["old", "new"]
    same = drive(tracker, "not begun", Answers(), fresh=False)
    assert same.state == StateName.REUSED


def test_a_run_whose_code_was_edited_while_it_trained_does_not_go_on_under_the_new_code(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited_at(monkeypatch, "old", "new")
    train = Answers(Lost("signal 9"), after_a_point=True)
    row = drive(tracker, "half", train)
    assert (row.state, row.tags[Tag.CODE]) == (StateName.LOST, "old")
    assert "edited" in row.tags[Tag.MESSAGE]
    assert [job.code for job in train.jobs] == ["old"]


def test_workers_that_never_have_the_code_end_the_run(tracker: Tracker) -> None:
    row = drive(tracker, "never", Answers(*[Outdated()] * (RETRIES + 2)))
    assert row.state == StateName.FAILED
    assert "other code" in row.tags[Tag.MESSAGE]


def test_a_finished_run_is_reused_only_if_what_it_read_is_as_it_was(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BASELINE.with_knobs({"seed": 4})
    file = tmp_path / "weights"
    file.write_text("one")
    monkeypatch.setenv("SCALE", "1")
    from knobs.code.reads import _content, _value

    def reads() -> Reads:
        return Reads({str(file): _content(file, folder=False)}, {"SCALE": _value("1")})

    first = drive(tracker, "reads", Answers(reads()), config)
    assert Tag.READS in first.tags
    assert drive(tracker, "reads", Answers(), config, fresh=False).state == StateName.REUSED
    file.write_text("two")
    assert drive(tracker, "reads", Answers(reads()), config, fresh=False).state == StateName.FINISHED
    again = drive(tracker, "reads", Answers(), config, fresh=False)  # its twin is one of several of the same identity
    assert again.state == StateName.REUSED
    monkeypatch.setenv("SCALE", "2")
    assert drive(tracker, "reads", Answers(), config, fresh=False).state == StateName.FINISHED


def test_a_run_whose_reads_are_not_known_is_never_reused(tracker: Tracker) -> None:
    config = BASELINE.with_knobs({"seed": 5})
    row = drive(tracker, "unproven", Answers(Reads(unproven=("it starts another process",))), config)
    assert row.tags[Tag.UNPROVEN] == "it starts another process"
    assert drive(tracker, "unproven", Answers(), config, fresh=False).state == StateName.FINISHED
