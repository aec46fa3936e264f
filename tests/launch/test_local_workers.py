"""Workers that are processes of this machine: their logs, their ends, and what the kernel reports."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.fixtures import alive
from support import ROOT

from knobs.devices import Device
from knobs.launch.pools import LocalPool
from knobs.launch.pools.local_workers import kernel_kills
from knobs.launch.pools.messages import FromWorker, Lost, Quit, Stop

BROKEN = {"PYTHONHOME": "/nonexistent"}
"""An environment in which no interpreter starts; so these tests need not wait for torch."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LocalPool]]:
    """Return a function that starts a pool of one worker."""
    started: list[LocalPool] = []

    def start_one(label: str = "cpu:0", environment: dict[str, str] | None = None) -> LocalPool:
        started.append(LocalPool([Device(label, "cpu", environment or {})], ROOT, tmp_path / "logs"))
        return started[-1]

    yield start_one
    for pool in started:
        pool.close()


def until_lost(pool: LocalPool, seconds: float = 60) -> Lost:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        lost: list[FromWorker] = [message for _, message in pool.wait(0.5) if isinstance(message, Lost)]
        if lost:
            assert len(lost) == 1
            assert isinstance(lost[0], Lost)
            return lost[0]
    raise TimeoutError


def test_a_worker_that_ends_by_itself_is_lost_with_its_exit_code_and_its_log_stays(
    start: Callable[..., LocalPool], tmp_path: Path
) -> None:
    pool = start("cuda:1/0", BROKEN)
    assert until_lost(pool) == Lost("exit code 1")
    pool.close()
    (log,) = (tmp_path / "logs").iterdir()
    assert log.name == f"cuda1-0-{os.getpid()}.log"
    assert "encodings" in log.read_text()


def test_a_killed_worker_is_lost_with_its_signal_and_its_empty_log_is_removed(
    start: Callable[..., LocalPool], tmp_path: Path
) -> None:
    pool = start()
    (worker,) = pool.workers
    worker.process.send_signal(signal.SIGKILL)
    assert until_lost(pool) == Lost("signal 9")
    assert not worker.send(Stop())
    pool.close()
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_worker_that_is_told_to_quit_ends(start: Callable[..., LocalPool]) -> None:
    pool = start()
    (worker,) = pool.workers
    assert worker.send(Quit())
    assert until_lost(pool) == Lost("exit code 0")


def test_only_the_kernel_reports_a_kill_for_memory(
    start: Callable[..., LocalPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = start()
    (worker,) = pool.workers
    monkeypatch.setattr("knobs.launch.pools.local_workers.kernel_kills", lambda: worker.kills_before + 1)
    worker.process.send_signal(signal.SIGKILL)
    assert until_lost(pool) == Lost("killed by the kernel for memory", killed_for_memory=True)
    assert kernel_kills() >= 0


def test_a_worker_does_not_outlive_its_driver(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from knobs.devices import Device; from knobs.launch.pools import LocalPool\n"
        "from knobs.launch.pools.messages import Beat\n"
        "pool = LocalPool([Device('cpu:0', 'cpu', {'KNOBS_WORKER_SILENCE': '1'})], Path('.'), Path(sys.argv[1]))\n"
        "while not any(isinstance(message, Beat) for _, message in pool.wait(1)): pass\n"
        "print(pool.workers[0].process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        pid = int(driver.stdout.readline())
        assert alive(pid)
        os.kill(pid, signal.SIGSTOP)  # it cannot notice; the kernel ends it
        driver.kill()
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
