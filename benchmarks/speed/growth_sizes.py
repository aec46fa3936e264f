"""Cost of runs of growing size, beside the hand-written loop: `python -m benchmarks.speed.growth_sizes FOLDER FILE`.

One launch of the real driver with one worker does all runs, one after another. After each run this process trains the
same network by hand for as many steps. Only CPU time counts: the worker's own, and that of this process, which does
only the driver's work while the run trains.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed.measuring import ROOT, SINGLE, cpu_seconds

SCALE = float(os.environ.get("BENCH_GROWTH_SCALE", "1"))
"""A factor on all steps; less than 1 for a quick look."""
EPOCH = 35

SIZES: dict[str, tuple[int, ...]] = {
    "steps": (100, 300, 1000, 3000, 10000),
    "depth": (1, 2, 4, 8, 16, 32, 64),
    "width": (16, 32, 64, 128, 256, 512, 1024),
    "sequence length": (10, 20, 40, 80, 160, 320),
}


def steps_of(axis: str, size: int) -> int:
    """Return the steps of a run: fewer if a step is expensive, at least an epoch so that each run validates."""
    if axis == "steps":
        return max(EPOCH, round(size * SCALE))
    few = {"depth": 2800 // size, "width": 16000 // size, "sequence length": 5600 // size}[axis]
    return max(EPOCH, round(min(700, max(105, few)) * SCALE) // EPOCH * EPOCH)


def configs() -> list[tuple[str, int, Any]]:
    """Return axis, size and config of every run."""
    from datamodules.mnist1d import MNIST1D
    from knobs import RunConfig, Training
    from models.mlp import MLP
    from models.rnn import RNN
    from optimizers.adamw import AdamW
    from schedules.cosine import Cosine

    def config(model: Any, data: Any, steps: int) -> RunConfig:
        return RunConfig(
            model=model,
            data=data,
            optimizer=AdamW(lr=1e-3, weight_decay=0.01),
            schedule=Cosine(),
            training=Training(max_steps=steps, val_every=EPOCH),
        )

    made: dict[str, Callable[[int], tuple[Any, Any]]] = {
        "steps": lambda _: (MLP(depth=2, width=100), MNIST1D()),
        "depth": lambda size: (MLP(depth=size, width=64), MNIST1D()),
        "width": lambda size: (MLP(depth=2, width=size), MNIST1D()),
        "sequence length": lambda size: (RNN(cell="gru", width=16), MNIST1D(final_seq_length=size)),
    }
    return [(a, n, config(*made[a](n), steps_of(a, n))) for a, sizes in SIZES.items() for n in sizes]


def by_hand(config: Any, cache: Path) -> float:
    """Return the CPU seconds of the hand-written loop on a config's network and data."""
    import torch

    from benchmarks.speed.arms.run import loop
    from knobs.data import open_prepared

    splits = open_prepared(config.data, cache)
    arrays = [torch.from_numpy(a) for a in (splits.train.x, splits.train.y, splits.val.x, splits.val.y)]
    torch.manual_seed(0)
    network = config.model.build(config.data.spec())
    began = time.process_time()
    loop(network, arrays, config.training.max_steps, 1e-3)
    return time.process_time() - began


def main() -> None:
    """Measure all runs, each beside its loop, and write the numbers to the file."""
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    os.environ.update(SINGLE, KNOBS_MLRUNS=str(folder))
    import torch

    from knobs import discover, signals
    from knobs.launch.plans.fixed_plan import FixedPlan
    from knobs.launch.plans.plan import PlannedRun
    from knobs.launch.session import session
    from knobs.record.schema import Kind

    torch.set_num_threads(1)
    os.chdir(ROOT)
    with session("cpu:1", 1, fresh=True) as opened:
        discover.activate(ROOT)
        every = configs()
        tracker, driver, _ = opened.open("growth")
        found: list[dict[str, Any]] = []
        warm = ("warm-up", 0, every[0][2])
        for axis, size, config in [warm, *every]:
            short = config.with_knobs({"training.max_steps": EPOCH})
            by_hand(short, tracker.places.cache)  # prepares the data set, makes the first calls
            label = f"{axis} {size}"
            planned = PlannedRun(kind=Kind.RUN, label=label, name=label[:18], config=config)
            plan, worker = FixedPlan("growth", [planned]), opened.pool.workers[0].process.pid
            before, worked = time.process_time(), cpu_seconds(worker)
            with signals.held():
                driver.run(plan)
            costs = {
                "axis": axis,
                "size": size,
                "steps": config.training.max_steps,
                "driver": time.process_time() - before,
                "worker": cpu_seconds(worker) - worked,
                "training": plan.outcomes[label].summary["system/cpu_seconds"],
            }
            found.append(costs | {"loop": by_hand(config, tracker.places.cache)})
            print(json.dumps(found[-1]), flush=True)
    file.write_text(json.dumps(found[1:]))


if __name__ == "__main__":
    main()
