"""A description of an ablation's work: runs, time and memory of each cell, and what effect its claims could find.

It trains nothing but a few steps, and writes nothing.
"""

from __future__ import annotations

import os
import pickle
import resource
import time
from dataclasses import dataclass

from knobs import stats
from knobs.ablation import Ablation, Cell, Computed, network_size
from knobs.discover import project_root
from knobs.errors import BadInputError
from knobs.numbers import metric_text
from knobs.record.reader import read_recorded
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.terminal.say import say
from knobs.terminal.tables import console, plain_table

TIMED_STEPS = 8


@dataclass(frozen=True)
class Cost:
    """The cost of one training of a cell."""

    seconds_per_step: float
    memory: int
    """Most bytes that its process had."""
    batched: bool
    """True if it was measured as one of ten that train together."""


def print_dry_run(name: str, ablation: Ablation, workers: int, *, effect: float | None = None) -> None:
    """Print the cells with their numbers of runs and steps, about how long they take, and their memory."""
    cells = ablation.cells()
    runs = sum(ablation.runs_of(cell) for cell in cells)
    say(f"{name}: {ablation.question}")
    nuisance = sorted({knob for cell in cells for knob in ablation.nuisance_knobs(cell)})
    say(f"tuned in every cell: {', '.join(nuisance)}" if nuisance else "nothing is tuned")
    table = plain_table()
    for title in ("cell", "parameters", "repetitions", "trials", "seeds", "steps", "about", "memory"):
        table.add_column(title, justify="left" if title == "cell" else "right")
    total = 0.0
    for cell in cells:
        cost, steps = measured_cost(cell), cell.config.training.max_steps
        seconds = cost.seconds_per_step * steps * ablation.runs_of(cell)
        total += seconds
        trials = f"{ablation.trials_of(cell)}{f' x {ablation.tuning_seeds}' if ablation.tuning_seeds > 1 else ''}"
        sizes = (network_size(cell.config, "parameters"), ablation.repetitions, trials)
        memory = f"{cost.memory / 2**20:.0f} MiB"
        table.add_row(cell.name, *map(str, (*sizes, ablation.seeds, steps)), _duration(seconds), memory)
    console().print(table)
    count = f"{workers} worker{'' if workers == 1 else 's'}"
    say(f"{len(cells)} cells, {runs} runs, about {_duration(total / workers)} on {count} (steps timed on this machine)")
    if ablation.looks:
        say(f"that is the most: it ends after {', '.join(map(str, ablation.looks[:-1]))} repetitions if all is decided")
    if effect is not None:
        _say_effect(name, ablation, effect)


def measured_cost(cell: Cell) -> Cost:
    """Return what a few steps of a cell cost on the CPU, in a process of its own. Raise `BadInputError` if it fails."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            cost = cost_here(cell)
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(cost, pipe)
            os._exit(0)
        except BaseException:  # the parent says so
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise BadInputError(f"cell {cell.name}: its steps cannot be timed; `knobs check` says more")
    made: Cost = pickle.loads(text)
    return made


def cost_here(cell: Cell) -> Cost:
    """Return the cost of one member of a batch, if the cell's runs train so, or of a run alone."""
    import torch

    from knobs.training.batch.rule import BATCH_SIZE, batch_key
    from knobs.training.batch.run_batch import RunBatch
    from knobs.training.learner import Learner
    from knobs.training.monitor import BatchMonitor
    from knobs.training.run import build_network

    config, device = cell.config, torch.device("cpu")
    spec = config.data.spec()
    torch.set_num_threads(config.training.threads)
    members = BATCH_SIZE if batch_key(config, "cpu") else 1
    monitor = BatchMonitor.__new__(BatchMonitor)  # no step asks it
    if members > 1:
        configs = [config.with_knobs({"seed": seed}) for seed in range(members)]
        learner: Learner = RunBatch(configs, monitor, device)
    else:
        learner = Learner(config, build_network(config, device), monitor, device)
    x = torch.randn(config.data.batch_size, *spec.shape, dtype=learner.floats) * (not spec.tokens)
    labels, steps = spec.task == "multiclass", spec.shape[: int(spec.per_step)]
    y = torch.zeros(len(x), *steps, dtype=torch.long) if labels else x.new_zeros(len(x), spec.outputs)
    x = x.long() if spec.tokens else x
    if members > 1:
        x, y = x.expand(members, *x.shape).contiguous(), y.expand(members, *y.shape).contiguous()
    learner.training_targets = lambda: y.flatten(0, 1) if members > 1 else y  # type: ignore[method-assign]
    times = []
    learner.train()
    for step in range(TIMED_STEPS):
        began = time.perf_counter()
        learner.set_rate(step)
        learner.take_step(x, y, last=False)
        times.append(time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(sorted(times)[len(times) // 2] / members, memory, members > 1)


def _say_effect(name: str, ablation: Ablation, effect: float) -> None:
    """Say how many repetitions each claim needs to find an effect of this size, with power 0.8."""
    claims = [claim for claim in ablation.claims if not isinstance(claim, Computed)]
    alpha = 0.05 / max(1, len(claims))  # the first of Holm's levels
    unit, rows = ablation.unit, ablation.repetitions if ablation.repetitions > 1 else ablation.seeds
    recorded = _recorded(name)
    known = [v for v in recorded.decide() if v.result is not None] if recorded else []
    say(f"to find an effect of {effect:g} with power 0.8, the other claims undecided:")
    if not known:
        sd = stats.largest_sd(effect, rows, alpha)
        twice = _count(stats.rows_to_find(effect, 2 * sd, alpha))
        say(f"  no {unit} is recorded, so the spread is not known. {rows} {unit}s are enough if the effect's standard")
        say(f"  deviation over {unit}s is at most {metric_text(sd)}; if it is twice that, {twice} are")
        return
    for verdict in known:
        result = verdict.result
        assert result is not None
        sd = result.se * result.n**0.5
        need = _count(stats.rows_to_find(effect, sd, alpha))
        say(f"  {need} {unit}s: {verdict.claim.text} (sd {metric_text(sd)} over {result.n} recorded ones)")


def _recorded(name: str) -> RecordedAblation | None:
    places = StoreLocations.of(project_root())
    if places.tracking_uri is None and not places.database.exists():
        return None
    try:
        found = read_recorded(Tracker(places), name)
    except BadInputError:
        return None
    return found if isinstance(found, RecordedAblation) else None


def _count(rows: int | None) -> str:
    return "more than 1000" if rows is None else str(rows)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
