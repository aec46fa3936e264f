"""Steps of a run alone and of a member of a batch, against a hand-written loop, in one process by turns.

`python -m benchmarks.speed.run_batches cuda` measures the same on a GPU, and steps replayed as CUDA graphs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed.measuring import REPEATS, ROOT, SINGLE, spread

if TYPE_CHECKING:
    from knobs import RunConfig

MEMBERS = (5, 10)
FEW, MANY = 20, 120
"""Steps of a short and a long training; their difference excludes the start-up."""


class Silent:
    """A channel that drops everything and never stops a run."""

    stopping = False

    def saving(self, size: int) -> None:
        """Never called: nothing stops these trainings."""

    def record(self, point: Any) -> None:
        """Drop the values."""

    def should_continue(self, step: int, value: float) -> bool:
        """Return True."""
        del step, value
        return True


def configs() -> dict[str, RunConfig]:
    """Return what is measured: the networks of shipped experiments, and MLPs by width."""
    from knobs import Ablation, RunConfig, Training, discover

    discover.activate(ROOT)
    from datamodules.mnist1d import MNIST1D
    from models.mlp import MLP
    from optimizers.adamw import AdamW
    from schedules.cosine import Cosine

    def cell(name: str, **levels: str) -> RunConfig:
        ablation = discover.the_one(discover.load("experiments", name), Ablation)
        return next(one.config for one in ablation.cells() if dict(one.levels).items() >= levels.items())

    mlp = RunConfig(
        model=MLP(), data=MNIST1D(), optimizer=AdamW(lr=1e-3), schedule=Cosine(), training=Training(val_every=35)
    )
    nyse, memory = cell("nyse_volume", model="RNN"), cell("recurrent_memory")
    found = {f"mlp, width {width}": mlp.with_knobs({"model.width": width}) for width in (16, 100, 181, 256)}
    found["mlp, batch norm, dropout"] = mlp.with_knobs({"model.norm": "batch", "model.dropout": 0.1})
    found["nyse_volume, gru"] = nyse.with_knobs({"model.cell": "gru"})
    for kind in ("tanh", "gru", "lstm"):
        found[f"recurrent_memory, {kind}"] = memory.with_knobs({"model.cell": kind})
    found["architectures_mnist1d, resnet"] = mlp.with_knobs({"model.kind": "resnet"})
    found["architectures_mnist1d, cnn"] = mlp.with_knobs({"model.kind": "cnn"})
    found["residual_depth"] = cell("residual_depth")
    return found


def bare_loop(config: RunConfig, cache: Path, device: str, *, scheduled: bool = False) -> Callable[[int], None]:
    """Return a hand-written loop over in-memory tensors: no validation, nothing recorded."""
    import torch
    from torch.nn import functional as F

    from knobs.data.in_memory import InMemoryData

    data = InMemoryData(config, cache, torch.device(device))
    (x, y), size, spec = data.train, data.batch_size, config.data.spec()
    network = config.model.build(spec).to(device)
    optimizer = config.optimizer.build(list(network.named_parameters()))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100_000) if scheduled else None
    compute = F.mse_loss if spec.task == "regression" else F.cross_entropy
    clip, parameters = config.training.clip_norm, list(network.parameters())

    def run(steps: int) -> None:
        network.train()
        done = 0
        while done < steps:
            order = torch.randperm(len(x)).to(device)
            for chosen in order.split(size)[: min(len(x) // size, steps - done)]:
                loss = compute(network(x[chosen]), y[chosen])
                loss.backward()
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, clip)
                optimizer.step()
                optimizer.zero_grad()
                if scheduler is not None:
                    scheduler.step()
                done += 1

    return run


def trained(config: RunConfig, cache: Path, device: str, members: int, steps: int) -> None:
    """Train so many seeds of a config: one alone, several as one batch."""
    import torch

    from knobs.training import TrainJob
    from knobs.training.batch.run_batch import run_batch
    from knobs.training.run import run_job

    runs = [config.with_knobs({"seed": n, "training.max_steps": steps}).to_json() for n in range(members)]
    batch = tuple(runs) if members > 1 else ()
    with tempfile.TemporaryDirectory() as folder:
        jobs = [TrainJob(run=run, config=run, folder=Path(folder), cache=cache, batch=batch) for run in runs]
        channels, place = [Silent() for _ in jobs], torch.device(device)
        outcomes = run_batch(jobs, channels, place) if batch else [run_job(jobs[0], channels[0], place)]
    assert all(outcome.state == "finished" for outcome in outcomes), outcomes


def micros(run: Callable[[int], None], clock: Callable[[], float], members: int) -> float:
    """Return the microseconds of a member's step: a long run minus a short one."""
    taken = []
    for steps in (FEW, MANY):
        began = clock()
        run(steps)
        taken.append(clock() - began)
    return (taken[1] - taken[0]) / (MANY - FEW) * 1e6 / members


def arms(config: RunConfig, cache: Path, device: str) -> dict[str, tuple[Callable[[int], None], int]]:
    """Return what is compared, by name, and the runs that each trains at once."""
    learned = partial(trained, config, cache, device)
    found: dict[str, tuple[Callable[[int], None], int]] = {
        "bare": (bare_loop(config, cache, device), 1),
        "bare, scheduler": (bare_loop(config, cache, device, scheduled=True), 1),
        "alone": (partial(learned, 1), 1),
        **{f"batch of {n}": (partial(learned, n), n) for n in MEMBERS},
    }
    if device != "cpu":
        graphed = config.with_knobs({"training.cuda_graph": True})
        found["alone, graph"] = (partial(trained, graphed, cache, device, 1), 1)
    return found


def main() -> None:
    """Measure every config on one thread; print JSON. This process does nothing else."""
    from knobs.devices import device_kind

    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    kind, clock = device_kind(device), time.process_time if device == "cpu" else time.perf_counter
    os.environ.update(kind.device(0, "0").environment)  # as a worker's: cuBLAS must be deterministic

    import torch

    from knobs.training.batch.rule import batch_key

    torch.set_num_threads(1)
    kind.make_deterministic()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, config in configs().items():
            compared = arms(config, Path(folder), device)
            for run, _ in compared.values():
                run(FEW)  # prepares the data set, makes the first calls
            repeats = [
                {arm: micros(run, clock, members) for arm, (run, members) in compared.items()} for _ in range(REPEATS)
            ]
            rule = bool(batch_key(config, device))
            found.append({"name": name, "repeats": repeats, "batched": rule})
            print(name, {arm: round(spread_of(repeats, arm)) for arm in compared}, file=sys.stderr, flush=True)
    print(json.dumps({"device": kind.facts(torch.device(device))["device_name"], "runs": found}))


def spread_of(repeats: list[dict[str, float]], arm: str) -> float:
    """Return the median of an arm."""
    return sorted(one[arm] for one in repeats)[len(repeats) // 2]


def measure(_folder: Path, device: str = "cpu") -> dict[str, Any]:
    """Measure every config in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed.run_batches", device]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **SINGLE}, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tables(found: dict[str, Any]) -> list[str]:
    """Return the lines of this section."""
    names = list(found["runs"][0]["repeats"][0])
    rows = []
    for one in found["runs"]:
        ratios = [spread([r[arm] / r["bare"] for r in one["repeats"]]) for arm in names[1:]]
        cells = [one["name"], f"{spread_of(one['repeats'], 'bare'):.0f}", *ratios, "yes" if one["batched"] else "no"]
        rows.append("| " + " | ".join(cells) + " |")
    return [
        f"## Runs as a batch ({found['device']})",
        "",
        "Microseconds of a hand-written loop's step (no scheduler, no validation, nothing recorded), and what a step of"
        " one run costs against it: median and range of the ratios within a repeat. A run's step holds its share of"
        " validations, metrics, norms and curve points. The rule (`knobs/training/batch/rule.py`) is static.",
        "",
        "| run | bare, us | " + " | ".join(names[1:]) + " | the rule batches |",
        "|" + " --- |" * (len(names) + 2),
        *rows,
    ]


if __name__ == "__main__":
    main()
