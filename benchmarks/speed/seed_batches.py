"""Seeds as a batch: the cost of a step of one of five seeds against a run alone, by width; the basis of the rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.measuring import ROOT, SINGLE, spread

WIDTHS = (16, 32, 64, 100, 128, 181, 256, 512)
MEMBERS = 5
FEW, MANY = 70, 1120
REPEATS = 3


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


def seconds(config: Any, cache: Path, members: int) -> float:
    """Return the CPU seconds of training so many seeds of a config: one alone, several as one batch."""
    import torch

    from knobs.training import TrainJob
    from knobs.training.run import run_job
    from knobs.training.seed_batch import run_seed_batch

    seeds = tuple(range(members)) if members > 1 else ()
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            TrainJob(
                run=str(n),
                config=config.with_knobs({"seed": n}).to_json(),
                folder=Path(folder),
                cache=cache,
                batch_seeds=seeds,
            )
            for n in range(members)
        ]
        began, cpu = time.process_time(), torch.device("cpu")
        together = run_seed_batch(jobs, [Silent() for _ in jobs], cpu) if seeds else [run_job(jobs[0], Silent(), cpu)]
        spent = time.process_time() - began
    assert all(outcome.state == "finished" for outcome in together), together
    return spent


def main() -> None:
    """Measure every width on one thread, alone and together in turn; print JSON. This process does nothing else."""
    import torch

    from knobs import discover
    from knobs.training.stacked_layers import stacking_pays

    torch.set_num_threads(1)
    discover.activate(ROOT)
    from datamodules.mnist1d import MNIST1D
    from knobs import RunConfig, Training
    from models.mlp import MLP
    from optimizers.adamw import AdamW
    from schedules.cosine import Cosine

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS:
            config = RunConfig(
                model=MLP(width=width),
                data=MNIST1D(),
                optimizer=AdamW(lr=1e-3),
                schedule=Cosine(),
                training=Training(val_every=35),
            )
            short, long = (config.with_knobs({"training.max_steps": steps}) for steps in (FEW, MANY))
            seconds(short, Path(folder), 1)  # prepares the data set, makes the first calls
            repeats = []
            for _ in range(REPEATS):
                costs = [seconds(long, Path(folder), n) - seconds(short, Path(folder), n) for n in (1, MEMBERS)]
                repeats.append([cost / (MANY - FEW) * 1e6 / n for cost, n in zip(costs, (1, MEMBERS), strict=True)])
            rule = stacking_pays(config.model.build(config.data.spec()))
            found.append({"width": width, "repeats": repeats, "together": rule})
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    print(json.dumps(found))


def measure(_folder: Path) -> dict[str, Any]:
    """Measure every width."""
    command = [sys.executable, "-m", "benchmarks.speed.seed_batches"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **SINGLE}, check=True, stdout=subprocess.PIPE, text=True
    )
    return {"members": MEMBERS, "widths": json.loads(done.stdout)}


def tables(found: dict[str, Any]) -> list[str]:
    """Return the lines of this section."""
    rows = []
    for one in found["widths"]:
        alone, together = (sorted(r[k] for r in one["repeats"])[len(one["repeats"]) // 2] for k in (0, 1))
        ratio = spread([b / a for a, b in one["repeats"]])
        rows.append(
            f"| {one['width']} | {alone:.0f} | {together:.0f} | {ratio} | {'yes' if one['together'] else 'no'} |"
        )
    return [
        "## Seeds as a batch, by width",
        "",
        f"MLP 40-width-width-10, batch 100, AdamW, validation every 35 steps, one thread. CPU microseconds of a step of"
        f" one seed, alone and as one of {found['members']} in a batch (training only, no tracking). The rule is"
        " static: dense layers on a CPU, no weight matrix over 32,768 entries (`knobs/training/stacked_layers.py`).",
        "",
        "| width | alone | in a batch | ratio, median (range) | the rule batches |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]


if __name__ == "__main__":
    main()
