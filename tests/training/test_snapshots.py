"""Checkpoints of a running training are written in the background, one at a time, and are whole before it ends."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import Listener, lasting, of_seeds, together, toy_config, train

from knobs.devices.cpu import CpuKind
from knobs.errors import StoreError
from knobs.training import newest_checkpoints, snapshots
from knobs.training.checkpoint import copy_to_host, load_checkpoint, tensor_bytes, write_checkpoint
from knobs.training.snapshots import SnapshotWriter

Write = Callable[[dict[str, Any], Path], None]


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a checkpoint be due as soon as the last one is written."""
    monkeypatch.setattr(snapshots, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(snapshots, "COST_FACTOR", 0.0)


class AtOnce(SnapshotWriter):
    """A writer whose files are on disk before the next step."""

    def start(self, *args: Any) -> None:
        super().start(*args)
        assert self._thread is not None
        self._thread.join()


@pytest.mark.usefixtures("always_due")
def test_two_files_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knobs.training.monitor.SnapshotWriter", AtOnce)
    config = toy_config(model__dropout=0.2)
    whole = Listener()
    expected = train(config, tmp_path / "whole", whole)
    cut = train(config, tmp_path / "run" / "r", Listener(stop_at=17))
    assert cut.state == "interrupted"
    found = newest_checkpoints(tmp_path / "run" / "r")
    assert [path.name for path in found] == ["step-000000000017.ckpt", "step-000000000016.ckpt"]
    found[0].write_bytes(found[0].read_bytes()[:1000])
    after = Listener()
    ended = train(config, tmp_path / "after", after, resume=tuple(found))
    assert "skipped checkpoint" in ended.log
    assert "continued from step 16" in ended.log
    assert after.curves() == whole.curves()
    assert lasting(ended) == lasting(expected)
    found[1].write_bytes(b"")
    again = Listener()
    assert "continued" not in train(config, tmp_path / "again", again, resume=tuple(found)).log
    assert again.curves() == whole.curves()


class Gate:
    """A write that waits until `steps` more steps are taken; it notes how many writes ran at once."""

    def __init__(self, listener: Listener, steps: int) -> None:
        self.listener, self.steps = listener, steps
        self.running = self.most = 0
        self.begun: list[int] = []

    def __call__(self, state: dict[str, Any], path: Path) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        begun = self.listener.steps
        self.begun.append(begun)
        for _ in range(2000):
            if self.listener.steps >= min(begun + self.steps, 30):
                break
            time.sleep(0.001)
        write_checkpoint(state, path)
        self.running -= 1


class Patient(Listener):
    """A listener that takes a step only if a write has begun, or if it need not wait for one."""

    gate: Gate | None = None

    @property
    def stopping(self) -> bool:
        if self.gate is not None:
            time.sleep(0.002)
        return super().stopping


@pytest.mark.usefixtures("always_due")
@pytest.mark.parametrize("members", [1, 3])
def test_the_steps_go_on_while_a_checkpoint_is_written(
    members: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(model__dropout=0.2, training__averaging=True, optimizer__momentum=0.9)
    listener = Patient()
    gate = listener.gate = Gate(listener, 6)
    monkeypatch.setattr(snapshots, "write_checkpoint", gate)
    monkeypatch.setattr("trainings.Listener", lambda **_: listener)
    if members == 1:
        expected = train(config, tmp_path / "run", listener)
        assert expected.state == "finished", expected.log
    else:
        assert together(of_seeds(config), tmp_path / "run")[0][0].state == "finished"
    assert gate.most == 1
    assert 3 <= len(gate.begun) <= 6, "the steps waited for the disk, or no checkpoint was due"
    monkeypatch.undo()
    found = newest_checkpoints(*(tmp_path / "run").glob("*"), tmp_path / "run")
    assert len(found) == 2
    for path in found:  # each file holds the state of its own step, although the steps went on
        after = Listener()
        if members == 1:
            ended = train(config, tmp_path / path.stem, after, resume=(path,))
            assert f"continued from step {int(path.stem.removeprefix('step-'))}" in ended.log
            assert lasting(ended) == lasting(expected)
            assert after.curves() == listener.curves()
        else:
            ((ended, resumed), *_) = together(of_seeds(config), tmp_path / path.stem, resume=(path,))
            ((_, undisturbed), *_) = together(of_seeds(config), tmp_path / "undisturbed")
            assert "continued" in ended.log
            assert resumed.curves() == undisturbed.curves()


def test_a_copy_shares_no_memory_with_the_state() -> None:
    weight = torch.ones(3)
    state = {"a": [weight, (weight[:2], 7)], "n": None, "name": "x"}
    copied = copy_to_host(state, CpuKind())
    weight.zero_()
    assert copied["a"][0].tolist() == [1, 1, 1]
    assert copied["a"][1][0].tolist() == [1, 1]
    assert (copied["a"][1][1], copied["n"], copied["name"]) == (7, None, "x")
    assert tensor_bytes(state) == 20


def test_between_checkpoints_lies_twenty_times_their_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    def slow_copy(state: dict[str, Any], _kind: Any) -> dict[str, Any]:
        now[0] += 1.0
        return state

    def slow_write(_state: dict[str, Any], _path: Path) -> None:
        now[0] += 3.0

    monkeypatch.setattr(snapshots.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(snapshots, "copy_to_host", slow_copy)
    monkeypatch.setattr(snapshots, "write_checkpoint", slow_write)
    writer = SnapshotWriter([])
    assert writer.due == 100.0 + snapshots.CHECKPOINT_SECONDS
    writer.start({}, tmp_path / "a", CpuKind())
    writer.finish()
    assert writer.due == 104.0 + 20 * 4.0
    monkeypatch.setattr(snapshots, "write_checkpoint", lambda state, path: None)
    monkeypatch.setattr(snapshots, "copy_to_host", lambda state, kind: state)
    writer.start({}, tmp_path / "b", CpuKind())
    writer.finish()
    assert writer.due == 104.0 + snapshots.CHECKPOINT_SECONDS


FAULTS = [
    (StoreError("a.ckpt cannot be written: no space left"), "unsaved", "no space left"),
    (ValueError("odd"), "failed", "ValueError: odd"),
]


@pytest.mark.usefixtures("always_due")
@pytest.mark.parametrize(("error", "state", "message"), FAULTS)
def test_an_error_of_the_writing_thread_ends_the_run(
    error: Exception, state: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_state: dict[str, Any], _path: Path) -> None:
        raise error

    monkeypatch.setattr(snapshots, "write_checkpoint", fail)
    listener = Listener()
    outcome = train(toy_config(training__max_steps=100_000), tmp_path / "run", listener)
    assert outcome.state == state
    assert message in outcome.message
    assert listener.steps < 100_000


@pytest.mark.usefixtures("always_due")
def test_an_error_of_the_device_during_the_copy_is_none_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_kind: CpuKind, _tensors: Any) -> list[torch.Tensor]:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(CpuKind, "to_host", fail)
    outcome = train(toy_config(), tmp_path / "run")
    assert outcome.state == "failed"
    assert outcome.message.endswith("AcceleratorError: CUDA error: device-side assert triggered")


def once_due(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    """Let the first checkpoint be due at once, and no other; write it with `write`."""
    monkeypatch.setattr(snapshots, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(snapshots, "COST_FACTOR", 1e9)
    monkeypatch.setattr(snapshots, "write_checkpoint", write)


@pytest.mark.parametrize("lr", [0.1, 1e30])
def test_no_outcome_is_reported_while_a_checkpoint_is_written(
    lr: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def slow(state: dict[str, Any], path: Path) -> None:
        time.sleep(0.3)
        write_checkpoint(state, path)
        ended.append(path.name)

    once_due(monkeypatch, slow)
    outcome = train(toy_config(optimizer__lr=lr, model__activation="identity"), tmp_path / "run")
    assert outcome.state == ("finished" if lr < 1 else "diverged")
    assert ended == ["step-000000000000.ckpt"]
    assert f"wrote {ended[0]}" in outcome.log


def test_a_file_that_cannot_be_written_counts_even_after_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_state: dict[str, Any], _path: Path) -> None:
        time.sleep(0.3)
        raise StoreError("no space left")

    once_due(monkeypatch, fail)
    assert train(toy_config(), tmp_path / "run").state == "unsaved"
    diverged = train(toy_config(optimizer__lr=1e30, model__activation="identity"), tmp_path / "diverged")
    assert diverged.state == "diverged"
    assert "checkpoint not written: no space left" in diverged.log


def test_an_interrupted_run_finishes_the_file_before_its_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    threads: list[threading.Thread] = []

    def slow(state: dict[str, Any], path: Path) -> None:
        threads.append(threading.current_thread())
        time.sleep(0.3 if not written else 0.0)
        write_checkpoint(state, path)
        written.append(path.name)

    once_due(monkeypatch, slow)
    listener = Listener(stop_at=8)
    outcome = train(toy_config(), tmp_path / "run", listener)
    assert (outcome.state, written) == ("interrupted", ["step-000000000000.ckpt", "step-000000000008.ckpt"])
    assert not any(thread.is_alive() for thread in threads)
    assert outcome.checkpoint is not None
    size = tensor_bytes(load_checkpoint(outcome.checkpoint))
    assert listener.saved_bytes == 2 * size > 0
    once_due(monkeypatch, write_checkpoint)
    monkeypatch.setattr(snapshots, "CHECKPOINT_SECONDS", 1e9)
    listener = Listener(stop_at=8)
    train(toy_config(), tmp_path / "alone", listener)
    assert listener.saved_bytes == size
