"""A description of an ablation's work, with an estimate of its time. It trains and writes nothing."""

from __future__ import annotations

import time

from knobs.ablation import Ablation, Cell, network_size
from knobs.terminal.say import say
from knobs.terminal.tables import console, plain_table

TIMED_STEPS = 8


def print_dry_run(name: str, ablation: Ablation, workers: int) -> None:
    """Print the cells with their numbers of trials, seeds and steps, and about how long they take."""
    cells = ablation.cells()
    runs = sum(ablation.runs_of(cell) for cell in cells)
    say(f"{name}: {ablation.question}")
    nuisance = sorted({knob for cell in cells for knob in ablation.nuisance_knobs(cell)})
    say(f"tuned in every cell: {', '.join(nuisance)}")
    table = plain_table()
    for title in ("cell", "parameters", "repetitions", "trials", "seeds", "steps", "about"):
        table.add_column(title, justify="left" if title == "cell" else "right")
    total = 0.0
    for cell in cells:
        seconds = seconds_per_step(cell) * cell.config.training.max_steps * ablation.runs_of(cell)
        total += seconds
        size = network_size(cell.config, "parameters")
        sizes = (ablation.repetitions, ablation.trials_of(cell), ablation.seeds, cell.config.training.max_steps)
        counts = tuple(map(str, sizes))
        table.add_row(cell.name, str(size), *counts, _duration(seconds))
    console().print(table)
    count = f"{workers} worker{'' if workers == 1 else 's'}"
    say(f"{len(cells)} cells, {runs} runs, about {_duration(total / workers)} on {count} (steps timed on this machine)")


def seconds_per_step(cell: Cell) -> float:
    """Return the median time of a few optimizer steps of this cell, on the CPU, in this process."""
    import torch

    from knobs.training.metrics import mean_loss

    config, spec = cell.config, cell.config.data.spec()
    torch.set_num_threads(config.training.threads)
    with torch.random.fork_rng(devices=[]):
        network = config.model.build(spec)
        x = torch.randn(config.data.batch_size, *spec.shape) * (not spec.tokens)
    labels, steps = spec.task == "multiclass", spec.shape[: int(spec.per_step)]
    y = torch.zeros(len(x), *steps, dtype=torch.long) if labels else torch.zeros(len(x), spec.outputs)
    optimizer = config.optimizer.build(list(network.named_parameters()))
    times = []
    for _ in range(TIMED_STEPS):
        began = time.perf_counter()
        mean_loss(spec, network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
