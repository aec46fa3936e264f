"""Time that a fork server would save: workers as fresh processes, and as forks of one that has imported everything.

`python -m benchmarks.speed.forked` prints one line of JSON. The parent forks before torch computes anything, so there
is no thread pool that a fork could lose, and it touches no device.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = 35


def imports() -> None:
    """Import everything that a worker imports before it reports that it is ready."""
    import torch

    from benchmarks.speed.measuring import ROOT
    from knobs import discover

    discover.activate(ROOT)
    discover.load("models", "mlp")
    discover.load("datamodules", "mnist1d")
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def train(cache: Path) -> tuple[float, list[float]]:
    """Train a few steps. Return the seconds and the losses."""
    import torch

    from knobs import RunConfig, Study, discover
    from knobs.training import CurvePoint, TrainJob
    from knobs.training.run import run_job

    study = discover.the_one(discover.load("studies", "mnist1d_mlp"), Study)
    config: RunConfig = study.baseline.with_knobs({"training.max_steps": STEPS})
    losses: list[float] = []

    class Channel:
        stopping = False

        def saving(self, size: int) -> None: ...

        def record(self, point: CurvePoint) -> None:
            losses.append(point.values["train/loss"])

        def should_continue(self, step: int, value: float) -> bool:
            del step, value
            return True

    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        job = TrainJob(run="r", config=config.to_json(), folder=Path(folder), cache=cache)
        outcome = run_job(job, Channel(), torch.device("cpu"))
    assert outcome.state == "finished", outcome
    return time.perf_counter() - began, losses


def fresh(cache: Path) -> dict[str, Any]:
    """Import and train in this process."""
    began = time.perf_counter()
    imports()
    ready, cpu = time.perf_counter() - began, time.process_time()
    first, losses = train(cache)
    return {"ready": ready, "cpu": cpu, "first": first, "losses": losses}


def fork(cache: Path) -> dict[str, Any]:
    """Train in a child of this process, which has imported everything."""
    inner, outer = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        ready = time.perf_counter() - began
        first, losses = train(cache)
        os.write(outer, json.dumps({"ready": ready, "first": first, "losses": losses}).encode())
        os._exit(0)
    os.close(outer)
    with os.fdopen(inner) as pipe:
        numbers: dict[str, Any] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return numbers


def timed(commands: list[list[str]]) -> tuple[float, list[str]]:
    """Run commands at the same time. Return the wall seconds and the last line of each."""
    began = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    lines = [process.communicate()[0].splitlines()[-1] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a process failed")
    return time.perf_counter() - began, lines


def server(cache: Path) -> dict[str, Any]:
    """Import, count the threads, fork one child, then two at once."""
    began = time.perf_counter()
    imports()
    ready, threads = time.perf_counter() - began, len(list(Path("/proc/self/task").iterdir()))
    one = fork(cache)
    began_two = time.perf_counter()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            train(cache)
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    assert codes == [0, 0]
    return {**one, "imports": ready, "threads": threads, "two": ready + time.perf_counter() - began_two}


def main() -> None:
    """Run one part as the command line says, or all parts in processes of their own."""
    if len(sys.argv) > 1:
        part, cache = sys.argv[1], Path(sys.argv[2])
        print(json.dumps({"fresh": fresh, "server": server}[part](cache)))
        return
    with tempfile.TemporaryDirectory() as folder:
        alone, serving = (
            [sys.executable, "-m", "benchmarks.speed.forked", part, folder] for part in ("fresh", "server")
        )
        timed([alone])  # prepares the data set and fills the system's file cache
        _, (served,) = timed([serving])
        _, (line,) = timed([alone])
        two, _ = timed([alone, alone])
    one, forks = json.loads(line), json.loads(served)
    found = {
        "fresh": one["ready"],
        "fresh cpu": one["cpu"],
        "first": one["first"],
        "fresh two": two,
        "fork": forks["ready"],
        "fork first": forks["first"],
        "server two": forks["two"],
        "threads": forks["threads"],
        "same": one["losses"] == forks["losses"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
