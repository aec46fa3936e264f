"""The contract of a pool of workers, over every engine; and a driver over a pool that has only the protocol."""

import ast
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults.fixtures import alive
from memory_pool import MemoryPool, QuietDisplay, Training, train_in_memory
from support import ROOT
from trainings import toy_config
from written_records import BASELINE, a_study, new_tracker, record_study

from knobs import RunConfig
from knobs.devices import Device, parse_devices
from knobs.errors import DeviceError, InterruptedBySignal, StoreError
from knobs.launch.driver import Driver
from knobs.launch.driver.driver import RETRIES
from knobs.launch.plans import FixedPlan, PlannedRun
from knobs.launch.pools import LocalPool, Pool, WorkerHandle
from knobs.launch.pools.messages import (
    Beat,
    FromWorker,
    Leaving,
    Lost,
    NewPoint,
    PruningAnswer,
    PruningQuestion,
    Ready,
    RunEnded,
    Saving,
    Stop,
    Train,
)
from knobs.record.queries import runs_of_kind
from knobs.record.schema import Kind, Tag
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.training import Outcome, TrainJob, newest_checkpoints


@dataclass(frozen=True)
class Engine:
    """What the contract needs to know of an engine besides the protocol."""

    name: str
    start: Callable[[list[Device], Path], Pool]
    """Start a pool with one worker per device; its logs go to a folder."""
    pid: Callable[[Any], int]
    """Return the process of a worker."""
    silence: str
    """The dotted name of the seconds after which a silent worker counts as lost."""


ENGINES = [
    Engine(
        "local",
        lambda devices, logs: LocalPool(devices, ROOT, logs),
        lambda worker: int(worker.process.pid),
        "knobs.launch.pools.local_workers.SILENCE_SECONDS",
    ),
]

BROKEN = {"PYTHONHOME": "/nonexistent"}
"""An environment in which no interpreter starts."""

CONFIG = toy_config(training__max_steps=40)
LONG = toy_config(training__max_steps=1_000_000)
"""A run that does not end by itself before a test ends it."""


class Held:
    """A pool of one worker that several tests use, one after the other."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.pool = engine.start(parse_devices("cpu:1"), folder / "logs")
        self.environment: dict[str, str] = {}
        self.spoiled = False
        """True if the next test needs another worker."""

    @property
    def worker(self) -> WorkerHandle:
        """The worker."""
        (worker,) = self.pool.workers
        return worker

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self.engine.pid(self.worker)

    def get_ready(self) -> None:
        """Replace the worker if a test has spoiled it, and wait until it is ready."""
        if self.spoiled:
            self.pool.replace(self.worker)
            self.spoiled = False
        if not self.worker.ready:
            self.environment = self.until(Ready)[-1].environment

    def train(self, *jobs: TrainJob) -> None:
        """Give jobs to the worker."""
        assert self.worker.send(Train(jobs))

    def until(self, wanted: type[Any], count: int = 1, seconds: float = 90) -> list[Any]:
        """Return every message up to the `count`-th wanted one, without beats. Later messages may be among them."""
        messages: list[FromWorker] = []
        deadline = time.monotonic() + seconds
        while sum(isinstance(message, wanted) for message in messages) < count:
            assert time.monotonic() < deadline, f"no {wanted.__name__} within {seconds:.0f} s, only {messages}"
            messages += [message for _, message in self.pool.wait(0.5) if not isinstance(message, Beat)]
        return messages

    def job(self, config: RunConfig, name: str, **changes: Any) -> TrainJob:
        """Return a job."""
        folder = self.folder / name
        return TrainJob(run=name, config=config.to_json(), folder=folder, cache=self.folder / "cache", **changes)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture(scope="module")
def shared(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNOBS_WORKER_SILENCE", "4")  # workers then send a beat every second
        held = Held(engine, tmp_path_factory.mktemp(engine.name))
        yield held
        held.pool.close()


@pytest.fixture
def held(shared: Held) -> Held:
    shared.get_ready()
    return shared


slow = pytest.mark.slow


@slow
def test_a_worker_becomes_ready_and_reports_its_environment(held: Held) -> None:
    assert held.worker.ready
    assert held.worker.label == "cpu:0"
    assert (held.environment["device"], held.environment["threads"]) == ("cpu", "1")
    assert {"torch", "cpu_capability", "device_name", "deterministic_algorithms"} <= held.environment.keys()


@slow
def test_an_idle_worker_sends_beats_and_wait_ends_in_time(held: Held) -> None:
    beats: list[Any] = []
    deadline = time.monotonic() + 30
    while not beats and time.monotonic() < deadline:
        began = time.monotonic()
        beats = [message for _, message in held.pool.wait(0.2)]
        assert time.monotonic() - began < 5
    assert set(map(type, beats)) == {Beat}


@slow
def test_a_job_gives_points_in_order_and_then_its_outcome(held: Held) -> None:
    held.train(held.job(CONFIG, "whole", read_test=True))
    *points, end = held.until(RunEnded)
    assert {type(message) for message in points} == {NewPoint}
    assert [message.point.step for message in points] == list(range(5, 41, 5))
    assert {message.run for message in (*points, end)} == {"whole"}
    assert {"train/loss", "val/loss", "val/accuracy"} <= points[0].point.values.keys()
    assert end.outcome.state == "finished"
    assert {"best/val/accuracy", "best/step", "test/accuracy"} <= end.outcome.summary.keys()
    assert end.outcome.checkpoint.exists()
    assert held.worker.ready  # it takes the next job


@slow
def test_the_members_of_a_batch_end_one_by_one(held: Held) -> None:
    members = [CONFIG.with_knobs({"seed": seed}) for seed in (3, 4)]
    batch = tuple(member.to_json() for member in members)
    jobs = [held.job(member, f"seed {member.seed}", batch=batch) for member in members]
    held.train(*jobs)
    ends = [message for message in held.until(RunEnded, count=2) if isinstance(message, RunEnded)]
    assert [(end.run, end.outcome.state) for end in ends] == [("seed 3", "finished"), ("seed 4", "finished")]


@slow
def test_a_run_whose_code_fails_is_an_outcome_and_the_worker_lives(held: Held) -> None:
    held.train(held.job(CONFIG, "other data", fingerprint="f00d"))
    (end,) = held.until(RunEnded)
    assert end.outcome.state == "failed"
    assert end.outcome.message
    held.train(held.job(CONFIG, "after it"))
    assert held.until(RunEnded)[-1].outcome.state == "finished"


@slow
def test_pruning_questions_are_answered_and_a_no_ends_the_run_as_pruned(held: Held) -> None:
    held.train(held.job(CONFIG, "asks", pruning_metric="val/loss"))
    for step in (5, 10):
        point, question = held.until(PruningQuestion)
        assert isinstance(point, NewPoint)
        assert (question.run, question.step, question.value) == ("asks", step, point.point.values["val/loss"])
        assert not [message for _, message in held.pool.wait(0.2) if not isinstance(message, Beat)]  # it waits
        held.worker.send(PruningAnswer(step < 10))
    (end,) = held.until(RunEnded)
    assert (end.run, end.outcome.state) == ("asks", "pruned")


@slow
def test_stop_saves_a_checkpoint_from_which_another_worker_continues_to_the_same_bits(held: Held) -> None:
    config = CONFIG.with_knobs({"training.max_steps": 3000, "training.val_every": 500})
    held.train(held.job(config, "stopped"))
    held.until(NewPoint)
    held.worker.send(Stop())
    held.spoiled = True
    end = held.until(RunEnded)[-1]
    assert end.outcome.state == "interrupted"
    assert end.outcome.checkpoint.exists()
    resume = tuple(newest_checkpoints(held.folder / "stopped" / ".."))
    assert end.outcome.checkpoint.resolve() in [path.resolve() for path in resume]
    held.get_ready()
    held.train(held.job(config, "continued", resume=resume))
    continued = held.until(RunEnded)[-1].outcome
    held.train(held.job(config, "undisturbed"))
    undisturbed = held.until(RunEnded)[-1].outcome
    assert "continued from step" in continued.log
    for outcome in (continued, undisturbed):
        assert outcome.state == "finished"
    lasting = [{k: v for k, v in o.summary.items() if not k.startswith("system/")} for o in (continued, undisturbed)]
    assert lasting[0] == lasting[1]


@slow
def test_a_killed_worker_is_lost_with_its_signal_after_its_last_message(held: Held) -> None:
    held.train(held.job(LONG, "killed"))
    points = held.until(NewPoint)
    pid = held.pid
    os.kill(pid, signal.SIGKILL)
    held.spoiled = True
    *points_after, lost = held.until(Lost)
    assert lost == Lost("signal 9")
    assert {type(message) for message in (*points, *points_after)} == {NewPoint}
    assert not alive(pid)
    first = held.worker
    assert held.pool.replace(first) == ""
    second = held.worker
    assert second is not first
    assert not second.ready
    held.spoiled = False
    held.get_ready()
    assert second.ready


@slow
def test_a_worker_that_gets_a_signal_saves_its_run_and_takes_no_more_work(held: Held) -> None:
    held.train(held.job(LONG, "told to go"))
    held.until(NewPoint)
    os.kill(held.pid, signal.SIGTERM)
    held.spoiled = True
    messages = [message for message in held.until(Lost) if not isinstance(message, NewPoint)]
    assert [type(message) for message in messages] == [Saving, Leaving, RunEnded, Lost]
    assert messages[0].size > 0
    assert messages[2].outcome.state == "interrupted"
    assert messages[2].outcome.checkpoint.exists()
    assert not held.worker.ready


@slow
def test_a_silent_worker_is_lost(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held.engine.silence, 4.0)
    pid = held.pid
    os.kill(pid, signal.SIGSTOP)
    held.spoiled = True
    began = time.monotonic()
    lost = held.until(Lost)[-1]
    assert time.monotonic() - began > 2
    assert "silent for 4 s" in lost.reason
    monkeypatch.undo()
    held.get_ready()
    assert not alive(pid)  # a stopped process too is ended when it is replaced


@slow
def test_a_device_whose_workers_do_not_start_is_left_out_after_three_tries(held: Held, tmp_path: Path) -> None:
    good, broken = Device("cpu:0", "cpu", {"KNOBS_DEVICE": "cpu"}), Device("cpu:1", "cpu", BROKEN)
    pool = held.engine.start([good, broken], tmp_path)
    answers: list[str] = []
    try:
        deadline = time.monotonic() + 90
        while not any(answers) or not pool.workers[0].ready:
            assert time.monotonic() < deadline
            answers += [pool.replace(worker) for worker, message in pool.wait(1) if isinstance(message, Lost)]
        assert answers[:2] == ["", ""]
        assert re.match(r"workers on cpu:1 do not start: .+ \(log: .+cpu1.+\)$", answers[2])
        assert [worker.label for worker in pool.workers] == ["cpu:0"]
    finally:
        pool.close()


@slow
def test_the_last_device_whose_workers_do_not_start_is_an_error(held: Held, tmp_path: Path) -> None:
    pool = held.engine.start([Device("cpu:0", "cpu", BROKEN)], tmp_path)
    replaced = 0

    def replace_lost() -> None:
        nonlocal replaced
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            for worker, message in pool.wait(1):
                if isinstance(message, Lost):
                    pool.replace(worker)
                    replaced += 1

    try:
        with pytest.raises(DeviceError, match=r"workers on cpu:0 do not start: .+ \(log: .+cpu0"):
            replace_lost()
        assert replaced == 2
        assert not pool.workers
    finally:
        pool.close()


@slow
def test_a_dropped_worker_is_gone_and_close_leaves_no_process(held: Held, tmp_path: Path) -> None:
    pool = held.engine.start(parse_devices("cpu:3"), tmp_path)
    first, second, third = pool.workers
    pids = [held.engine.pid(worker) for worker in pool.workers]
    os.kill(pids[1], signal.SIGSTOP)
    pool.drop(first)
    assert list(pool.workers) == [second, third]
    assert not alive(pids[0])
    pool.close()
    assert not any(map(alive, pids))
    pool.close()  # closing again is harmless


# A driver that has only the protocol


def planned(number: int, **changes: Any) -> PlannedRun:
    config = BASELINE.with_knobs({"seed": number})
    given = {"kind": Kind.RUN, "label": f"r{number}", "name": f"r{number}", "metric": "val/loss", **changes}
    return PlannedRun(config=config, **given)


class Script:
    """Trains in memory, but ends the first attempts of some runs otherwise, after one point."""

    def __init__(self, ends: dict[int, list[Any]]) -> None:
        self.ends = ends

    def __call__(self, job: TrainJob) -> Training:
        """Send a job's messages."""
        left = self.ends.get(RunConfig.from_json(job.config).seed)
        if not left:
            return (yield from train_in_memory(job))
        yield next(train_in_memory(job))
        end = left.pop(0)
        return RunEnded(job.run, end) if isinstance(end, Outcome) else end


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("driven"))


def drive(tracker: Tracker, name: str, pool: MemoryPool, count: int) -> dict[str, Row]:
    """Drive a plan of single runs to its end. Return their rows by name."""
    plan = FixedPlan(name, [planned(number) for number in range(count)])
    Driver(tracker, pool, QuietDisplay(), fresh=True).run(plan)
    assert plan.left == 0
    return recorded(tracker, name)


def recorded(tracker: Tracker, name: str) -> dict[str, Row]:
    return {row.name: row for row in runs_of_kind(tracker, Kind.RUN, tracker.experiment(name))}


def steps(tracker: Tracker, row: Row) -> list[int]:
    return [step for step, _ in tracker.curve(row.id, "val/loss")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_driver_finishes_a_plan_whose_workers_are_lost_and_interrupted(workers: int, tracker: Tracker) -> None:
    ends = {1: [Lost("signal 9")], 2: [Outcome(state="interrupted")]}
    pool = MemoryPool(workers, Script(ends))
    rows = drive(tracker, f"three on {workers}", pool, 3)
    assert {name: row.state for name, row in rows.items()} == dict.fromkeys(("r0", "r1", "r2"), StateName.FINISHED)
    assert [rows[name].tags[Tag.ATTEMPT] for name in ("r0", "r1", "r2")] == ["1", "2", "2"]
    assert [rows[name].tags.get(Tag.LOST_WORKERS, "0") for name in ("r0", "r1", "r2")] == ["0", "1", "0"]
    assert pool.replaced == 2
    for row in rows.values():
        assert steps(tracker, row) == [10, 20]  # what was sent again is stored once


def test_a_run_that_loses_too_many_workers_is_given_up(tracker: Tracker) -> None:
    rows = drive(tracker, "given up", MemoryPool(1, Script({0: [Lost("signal 9")] * (RETRIES + 1)})), 2)
    assert (rows["r0"].state, rows["r0"].status) == (StateName.LOST, "FAILED")
    assert rows["r0"].tags[Tag.MESSAGE] == f"lost {RETRIES + 1} workers, the last to signal 9"
    assert rows["r1"].state == StateName.FINISHED


def test_a_worker_that_was_killed_for_memory_ends_its_run(tracker: Tracker) -> None:
    lost = Lost("killed by the kernel for memory", killed_for_memory=True)
    rows = drive(tracker, "memory", MemoryPool(1, Script({0: [lost]})), 1)
    assert (rows["r0"].state, rows["r0"].tags[Tag.ATTEMPT]) == (StateName.OUT_OF_MEMORY, "1")


def test_a_run_without_memory_on_a_shared_card_is_tried_again_alone(tracker: Tracker) -> None:
    """Its neighbours on the card may have taken the memory; once they are done it has the card for itself."""
    attempts: Counter[int] = Counter()
    active: set[int] = set()
    beside: list[set[int]] = []

    def train(job: TrainJob) -> Training:
        seed = RunConfig.from_json(job.config).seed
        attempts[seed] += 1
        active.add(seed)
        try:
            if seed == 0 and attempts[seed] == 1:
                yield next(train_in_memory(job))
                return RunEnded(job.run, Outcome(state="out_of_memory", message="CUDA out of memory"))
            inner = train_in_memory(job)
            while True:
                if seed == 0:
                    beside.append(active - {0})
                try:
                    yield next(inner)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
        finally:
            active.discard(seed)

    rows = drive(tracker, "card", MemoryPool(3, train, card="0"), 6)
    assert {row.state for row in rows.values()} == {StateName.FINISHED}
    assert attempts == {0: 2} | dict.fromkeys(range(1, 6), 1)
    assert beside
    assert not any(beside)


def test_a_run_without_memory_on_a_card_of_its_own_ends(tracker: Tracker) -> None:
    ends = [Outcome(state="out_of_memory", message="CUDA out of memory")] * 2
    rows = drive(tracker, "card alone", MemoryPool(1, Script({0: ends}), card="0"), 2)
    assert [rows[name].state for name in ("r0", "r1")] == [StateName.OUT_OF_MEMORY, StateName.FINISHED]
    assert rows["r0"].tags[Tag.ATTEMPT] == "2"


def test_an_interrupted_driver_leaves_its_runs_to_be_continued(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([None] * 4)

    def check() -> None:
        if next(left, "over") == "over":
            raise InterruptedBySignal(signal.SIGINT)

    monkeypatch.setattr("knobs.signals.check", check)
    with pytest.raises(InterruptedBySignal):
        drive(tracker, "interrupted", MemoryPool(2), 3)
    monkeypatch.undo()
    rows = recorded(tracker, "interrupted")
    assert {(row.state, row.status) for row in rows.values()} == {(StateName.INTERRUPTED, "KILLED")}
    assert len(rows) == 2


def test_a_disk_that_is_full_stops_the_driver_and_spares_the_runs(tracker: Tracker) -> None:
    unsaved = Outcome(state="unsaved", message="no space left")
    with pytest.raises(StoreError, match="no space left; recorded values are safe"):
        drive(tracker, "full", MemoryPool(2, Script({0: [unsaved]})), 2)
    assert {row.state for row in recorded(tracker, "full").values()} == {StateName.INTERRUPTED}


def test_a_study_over_such_a_pool_is_the_same_at_any_number_of_workers(tracker: Tracker) -> None:
    tables = []
    for workers in (1, 3):
        study = a_study(pruner="median", feedback_lag=3)
        done = record_study(tracker, f"workers {workers}", study, trials=6, pool=MemoryPool(workers), fresh=True)
        tables.append([(t.key, t.state, t.config, t.value("val/loss")) for t in done.trials])
    assert tables[0] == tables[1]


def test_the_driver_knows_of_pools_only_messages_and_protocol() -> None:
    for path in sorted((ROOT / "knobs" / "launch" / "driver").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("knobs.launch.pools"):
                names = {alias.name for alias in node.names}
                protocol = node.module in ("knobs.launch.pools.messages", "knobs.launch.pools.pool")
                assert protocol or names <= {"Pool", "WorkerHandle"}, f"{path.name} imports {names} of {node.module}"


def test_a_pool_in_memory_has_the_protocol() -> None:
    pool: Pool = MemoryPool(2)
    worker: WorkerHandle = pool.workers[0]
    assert not worker.ready
    assert [type(message) for _, message in pool.wait(0)] == [Ready, Ready]
    assert worker.ready
    pool.close()
    assert not worker.send(Stop())
