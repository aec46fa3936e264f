"""Random kills and random signals on a seeded schedule, over studies of short trials."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from faults import reading
from faults.audit import Expected, audit, audit_quiet, expected
from faults.processes import Launch, launch, until, workers_of

Say = Callable[[str], None]

CLEAN = {130, 143}
"""Exit codes of a command that received a signal after it installed its handlers."""


@dataclass
class Counts:
    """Counts of the faults and of their results."""

    kills: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    launches: int = 0
    studies: int = 0
    trials: int = 0
    values: int = 0
    """Number of values acknowledged before a kill and still stored afterwards."""
    continuations: int = 0
    slowest: float = 0.0
    """Longest time from the first signal to the end, in seconds."""


class Torture:
    """Disturbs the study `quick` in one new store after another."""

    def __init__(
        self,
        project: Path,
        folder: Path,
        *,
        arguments: tuple[str, ...],
        start: Callable[..., Launch] = launch,
        start_seconds: float = 8.0,
        slow: str = "0.004",
        want: Expected | None = None,
        say: Say = print,
    ) -> None:
        self.project, self.folder, self.say = project, folder, say
        self.arguments = arguments
        self.start_command, self.start_seconds, self.slow = start, start_seconds, slow
        self._want = want

    def start(self, store: Path) -> Launch:
        """Start the study."""
        return self.start_command(*self.arguments, project=self.project, store=store, KNOBS_SLOW=self.slow)

    def undisturbed(self) -> Expected:
        """Return the results of the undisturbed study; it is trained once."""
        if self._want is None:
            store = self.folder / "undisturbed"
            alone = self.start(store)
            assert alone.wait() == 0, alone.text
            self._want = expected("quick", project=self.project, store=store)
        return self._want

    def kill(self, wanted: int, seed: int) -> Counts:
        """Kill the driver or a worker `wanted` times with SIGKILL. Start the study again until it ends."""
        counts, rng = Counts(), random.Random(seed)
        while (left := wanted - counts.kills.total()) > 0:
            store = self.folder / f"killed{seed}-{counts.studies}"
            self._conclude(store, self._one_killed(store, rng, counts, left), counts)
        return counts

    def _one_killed(self, store: Path, rng: random.Random, counts: Counts, left: int) -> reading.Rows:
        rows: reading.Rows = frozenset()
        while True:
            current = self.start(store)
            counts.launches += 1
            try:
                while left and self.wait(current, rng):
                    victims = [(pid, "worker") for pid in current.workers()] if not _hurt(store) else []
                    pid, kind = rng.choice([(current.process.pid, "driver"), *victims])
                    rows, phase = rows | reading.acknowledged(store), current.phase
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        counts.kills[f"{kind}, {phase}"] += 1
                        left -= 1
                        self.say(f"  kill -9 of a {kind}, {phase}; {len(rows)} values acknowledged")
                code = current.wait()
            except BaseException:
                current.end()
                raise
            counts.exits[str(code)] += 1
            if code == 0:
                return rows
            refused = "do not start" in current.text  # three workers in a row died before they were up
            until(lambda: not any(workers_of(store)), 5, "workers of a killed driver to end by themselves")
            assert code == -signal.SIGKILL or (code == 3 and refused), f"exit code {code}: {current.text}"

    def signal(self, wanted: int, seed: int) -> Counts:
        """Send SIGINT or SIGTERM twice, `wanted` times, to the driver or to all processes; then continue the study."""
        counts, rng = Counts(), random.Random(seed)
        while (left := wanted - counts.signals.total()) > 0:
            store, before = self.folder / f"signalled{seed}-{counts.studies}", counts.signals.total()
            self._conclude(store, self._one_signalled(store, rng, counts, left), counts)
            counts.continuations += counts.signals.total() - before
        return counts

    def _one_signalled(self, store: Path, rng: random.Random, counts: Counts, left: int) -> reading.Rows:
        rows: reading.Rows = frozenset()
        while True:
            current = self.start(store)
            counts.launches += 1
            try:
                until(lambda current=current: current.handles_signals() or not current.alive, what="handlers")
                if not left or not self.wait(current, rng):
                    code = current.wait()
                    assert code == 0, f"exit code {code}: {current.text}"
                    return rows
                phase = current.phase
                seconds, code, name = self._doubled(current, rng)
            finally:
                current.end()
            counts.exits[str(code)] += 1
            if code == 0:  # the signal came when everything was done
                return rows
            left -= 1
            counts.signals[name] += 1
            counts.slowest = max(counts.slowest, seconds)
            assert code in CLEAN, f"{name}: exit code {code}: {current.text}"
            assert seconds < 10, f"{name}: {seconds:.1f} s to end: {current.text}"
            audit_quiet(store, "quick", rows)
            if (store / "mlflow.db").exists():
                rows |= reading.acknowledged(store)
            self.say(f"  {name}, {phase}: exit {code} after {seconds:.1f} s; {len(rows)} values acknowledged")

    def wait(self, current: Launch, rng: random.Random) -> bool:
        """Wait for a random time: one in three from the start, else while trials train. Return False if it ended."""
        if rng.random() < 1 / 3:
            return _sleep(current, rng.uniform(0, self.start_seconds))
        seconds = rng.uniform(0, 3)
        while not current.trains():
            if not _sleep(current, 0.05):
                return False
        return _sleep(current, seconds)

    def _doubled(self, current: Launch, rng: random.Random) -> tuple[float, int, str]:
        signum = rng.choice((signal.SIGINT, signal.SIGTERM))
        everyone, pause = rng.random() < 0.3, rng.choice((0.0, rng.uniform(0, 0.2), rng.uniform(0, 2)))
        began = time.monotonic()
        for _ in range(2):
            pids = [current.process.pid, *(current.workers() if everyone else [])]
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)
            time.sleep(pause)
        code = current.wait(60)
        name = f"2 x {signum.name} to {'every process' if everyone else 'the driver'}"
        return time.monotonic() - began, code, name

    def _conclude(self, store: Path, rows: reading.Rows, counts: Counts) -> None:
        want = self.undisturbed()
        audit("quick", project=self.project, store=store, want=want, acknowledged=rows)
        counts.studies += 1
        counts.trials += len(want.curves)
        counts.values += len(rows)
        self.say(f"  the study is equal to the undisturbed study, {len(rows)} acknowledged values there")


def _sleep(current: Launch, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while current.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    return current.alive


def _hurt(store: Path) -> bool:
    """Return whether an unfinished trial has lost as many workers as it may."""
    if not (store / "mlflow.db").exists():
        return False
    unfinished = [run for run in reading.runs(store) if run.status == "RUNNING" or run.state == "interrupted"]
    return any(int(run.tags.get("knobs.lost_workers", "0")) >= 3 for run in unfinished)
