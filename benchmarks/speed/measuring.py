"""Measure processes: their processor time, wall time and memory."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "speed" / "results"
KNOBS = [str(Path(sys.executable).with_name("knobs"))]
REPEATS = int(os.environ.get("BENCH_REPEATS", "7"))
STUDY_REPEATS = int(os.environ.get("BENCH_STUDY_REPEATS", "3"))
START_REPEATS = int(os.environ.get("BENCH_START_REPEATS", "3"))
SINGLE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
TICKS = os.sysconf("SC_CLK_TCK")


def spread(values: Sequence[float]) -> str:
    """Return median and range as text."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def time_command(command: list[str], folder: Path, *, cwd: Path = ROOT, **more: str) -> tuple[float, float]:
    """Run a command. Return the user + system seconds of its process tree, and its wall seconds."""
    environment = {**os.environ, **SINGLE, "KNOBS_MLRUNS": str(folder / "mlruns"), **more}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def run_together(commands: list[list[str]], *, cwd: Path = ROOT, **more: str) -> tuple[list[str], float]:
    """Run commands at the same time. Return the output of each, and the wall seconds until the last one ended."""
    environment: Mapping[str, str] = {**os.environ, **SINGLE, **more}
    began = time.perf_counter()
    running = [
        subprocess.Popen(c, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    outputs = [process.communicate() for process in running]
    for process, (_, error) in zip(running, outputs, strict=True):
        if process.returncode:
            raise SystemExit(f"{process.args} failed:\n{error}")
    return [output for output, _ in outputs], time.perf_counter() - began


def children(pid: int) -> list[int]:
    """Return the processes that a process started itself (Linux)."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in text.split()]
    return []


def cpu_seconds(pid: int) -> float:
    """Return the user + system seconds of a process so far, in ticks of 10 ms (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int, field: str = "VmRSS") -> float:
    """Return the memory of a process in MiB: the current one, or its peak (`VmHWM`) (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


class MemoryPeaks:
    """Peak memory of a process and of each of its children in MiB, read about three times a second (Linux)."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peaks = pid, dict[int, float]()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while Path(f"/proc/{self.pid}").exists():
            for pid in [self.pid, *children(self.pid)]:
                with suppress(OSError, StopIteration, ValueError):
                    self.peaks[pid] = resident_mib(pid, "VmHWM")
            time.sleep(0.3)
