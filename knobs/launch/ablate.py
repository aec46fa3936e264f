"""`knobs ablate`: tune every cell, train fresh seeds, decide the claims."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from rich.table import Table

from knobs import definition, discover, signals, stats
from knobs.ablation import Ablation, Cell, measure
from knobs.claims import Ruling, rule
from knobs.data import BOUNDS
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch.ablation_plan import AblationPlan, CellWork
from knobs.launch.commands import check_buildable
from knobs.launch.session import Session, how_to_call, only_driver, say, warn
from knobs.launch.tables import console
from knobs.recorded import seed_values
from knobs.tracking import Row, Tracker

QUICK_SUFFIX = "-quick"
"""Quick results are recorded under a name of their own, so that nobody takes them for the whole."""


def load(name: str, *, seeds: int | None, trials: int | None, quick: bool) -> tuple[str, Ablation]:
    """The ablation in the file of this name, and the name under which it is recorded."""
    if name in discover.files("studies"):
        raise BadInputError(f"{name!r} is a study; run it with: knobs study {name}")
    ablation = discover.the_one(discover.load("experiments", name), Ablation)
    ablation = ablation.made_quick() if quick else ablation
    changes: dict[str, Any] = {"seeds": seeds, "trials": trials}
    ablation = replace(ablation, **{key: value for key, value in changes.items() if value is not None})
    return name + (QUICK_SUFFIX if quick else ""), ablation


def ablate(session: Session, name: str, ablation: Ablation) -> None:
    """Run an ablation to its verdicts, or go on with it."""
    for cell in ablation.cells():
        check_buildable(cell.config)
    tracker, driver, display = session.open(name, *(cell.config.data for cell in ablation.cells()))
    with signals.held(), only_driver(session.places, name):
        plan = AblationPlan(name, ablation, tracker, session.devices[0].kind)
        parent = _parent(tracker, name, ablation, fresh=session.fresh)
        told = definition.of_ablation(name, ablation, quick=name.endswith(QUICK_SUFFIX))
        tracker.upload_texts(parent, {definition.FILE: definition.to_json(told)})
        state = "interrupted"
        try:
            plan.open(parent, fresh=session.fresh)
            if plan.left < plan.total:
                say(f"{name}: goes on, {plan.total - plan.left} of {plan.total} runs are there")
            for how, number in sum((work.tuning.others for work in plan.cells), Counter[str]()).items():
                warn(f"{number} recorded runs were trained {how}; --fresh sets them aside")
            with display:
                driver.run(plan)
            state = "finished"
        finally:
            _close(tracker, plan, parent, state)
        _record_references(tracker, name, ablation, parent)
        rulings = conclude(tracker, plan, parent)
    show(tracker, plan, rulings)
    if not any(work.ended_seeds for work in plan.cells):
        raise AnswerNoError(f"{name}: no run of any cell finished")


def conclude(tracker: Tracker, plan: AblationPlan, parent: str) -> list[Ruling]:
    """Decide the claims on the recorded seeds and write the verdicts to the parent run."""
    ablation = plan.ablation
    rows = seed_rows(tracker, plan)
    metrics = {claim.metric: seed_values(rows, claim.metric) for claim in ablation.claims}
    rulings = rule(ablation.claims, metrics, {f.name: list(f.levels) for f in ablation.factors})
    verdicts = [
        {
            "claim": ruling.claim.text,
            "verdict": ruling.word,
            "note": ruling.note,
            **({} if ruling.verdict is None else {k: v for k, v in vars(ruling.verdict).items() if k != "verdict"}),
        }
        for ruling in rulings
    ]
    tracker.upload_texts(parent, {"verdicts.json": json.dumps(verdicts, indent=1)})
    counts = {word: sum(r.word == word for r in rulings) for word in ("supported", "contradicted", "undecided")}
    tracker.tag(parent, {"knobs.verdicts": ", ".join(f"{n} {word}" for word, n in counts.items() if n)})
    return rulings


def seed_rows(tracker: Tracker, plan: AblationPlan) -> list[Row]:
    """The seeds' runs of all current cells."""
    where = tracker.experiment(plan.experiment)
    return [
        row
        for work in plan.cells
        for row in tracker.search(f"tags.`mlflow.parentRunId` = '{work.run}' and tags.`knobs.kind` = 'seed'", where)
    ]


def _parent(tracker: Tracker, name: str, ablation: Ablation, *, fresh: bool) -> str:
    """The ablation's run: the newest that is not set aside, or a new one."""
    where = tracker.experiment(name, f"{ablation.question}\n\n*{ablation.claim}*\n\n`knobs ablate {name}`")
    current = [r for r in tracker.search("tags.`knobs.kind` = 'ablation'", where) if "knobs.retired" not in r.tags]
    if current and not fresh:
        tracker.reopen(current[0].id, {"knobs.state": "running"})
        return current[0].id
    for row in current:
        tracker.tag(row.id, {"knobs.retired": "true"})
    tags = {"knobs.kind": "ablation", "knobs.ablation": name, "knobs.state": "running"}
    return tracker.create(where, name[:18], tags, {"metric": ablation.metric, "direction": ablation.direction})


def _close(tracker: Tracker, plan: AblationPlan, parent: str, state: str) -> None:
    """Every cell's run says what it got: the budget, equal in all, and how its runs ended."""
    steps = plan.ablation.baseline.training.max_steps
    for work in plan.cells:
        if not work.tuning.opened:
            if work.run:
                tracker.end(work.run, "KILLED", {"knobs.state": "interrupted"})
            continue
        ended = {f"trials/{name}": float(count) for name, count in work.tuning.counts.items()}
        seeds = {f"seeds/{s}": float(list(work.ended_seeds.values()).count(s)) for s in set(work.ended_seeds.values())}
        used = work.tuning.budget(plan.ablation.trials)
        budget = {
            "budget/trials": float(used),
            "budget/steps_a_trial": float(work.cell.config.training.max_steps or steps),
        }
        tracker.summary(work.run, {**ended, **seeds, **budget})
        complete = work.left == 0
        status = "FINISHED" if complete else "KILLED"
        tracker.end(work.run, status, {"knobs.state": _cell_state(work) if complete else "interrupted"})
    if all(work.tuning.opened for work in plan.cells):
        left = float(plan.left)
        tracker.summary(parent, {"runs/done": plan.total - left, "runs/left": left, "cells": float(len(plan.cells))})
    tracker.end(parent, "FINISHED" if state == "finished" else "KILLED", {"knobs.state": state})


def _cell_state(work: CellWork) -> str:
    states = set(work.ended_seeds.values())
    if work.hopeless or (states and not states & {"finished", "reused"}):
        return "no run finished"
    return "finished"


def _record_references(tracker: Tracker, name: str, ablation: Ablation, parent: str) -> None:
    """Numbers that are not trained here stand in the store like runs."""
    where = tracker.experiment(name)
    there = {row.tags["knobs.reference"]: row for row in tracker.search("tags.`knobs.kind` = 'reference'", where)}
    for reference in ablation.references:
        value = float(reference.value() if callable(reference.value) else reference.value)
        old = there.get(reference.name)
        if old is not None and old.metrics.get(reference.metric) == value:
            continue
        tags = {
            "knobs.kind": "reference",
            "knobs.reference": reference.name,
            "knobs.source": reference.source,
            "mlflow.parentRunId": parent,
        }
        run = tracker.create(where, reference.name[:18], tags, {})
        tracker.summary(run, {reference.metric: value})
        tracker.end(run, "FINISHED", {"knobs.state": "finished"})


def show(tracker: Tracker, plan: AblationPlan, rulings: list[Ruling]) -> None:
    """The cells with intervals, and every verdict in a line."""
    ablation, metric = plan.ablation, plan.ablation.metric.replace("val/", "test/")
    values = seed_values(seed_rows(tracker, plan), metric)
    tuned = list(dict.fromkeys(n for work in plan.cells for n in sorted(ablation.nuisance_knobs(work.cell))))
    table = Table(
        title=f"{plan.experiment}: {metric}, mean and 95% interval", title_justify="left", box=None, pad_edge=False
    )
    for title in (*(f.name for f in ablation.factors), "mean", "95% interval", "seeds", *tuned):
        table.add_column(title, justify="left" if title in {f.name for f in ablation.factors} else "right")
    for work in plan.cells:
        runs = list(values.get(tuple(sorted(work.cell.levels.items())), {}).values())
        winner = work.winner().knobs() if work.tuning.objectives else {}
        knobs = [f"{v:.4g}" if isinstance(v := winner.get(n, "-"), float) else str(v) for n in tuned]
        table.add_row(*work.cell.levels.values(), *_interval(runs, metric), _count(work, len(runs)), *knobs)
    console().print(table)
    for ruling in rulings:
        say(f"{ruling.word}: {ruling.claim.text}{_numbers(ruling)}")
    if plan.experiment.endswith(QUICK_SUFFIX):
        say("quick: fewer trials, seeds and steps than the whole; not for conclusions")
    say("look further:")
    say(f"  {how_to_call('knobs')} ui")


def _interval(runs: list[float], metric: str) -> tuple[str, str]:
    if not runs:
        return "-", "no run finished"
    if len(runs) < 2:
        return f"{runs[0]:.4f}", "-"
    estimate = stats.mean_interval(runs, bounds=BOUNDS.get(metric.rpartition("/")[2]))
    doubt = " !" if str(estimate.doubt) else ""
    return f"{float(estimate.value):.4f}", f"[{float(estimate.low):.4f}, {float(estimate.high):.4f}]{doubt}"


def _count(work: CellWork, finished: int) -> str:
    lost = len(work.ended_seeds) - finished
    return f"{finished}" + (f" ({lost} not finished)" if lost else "")


def _numbers(ruling: Ruling) -> str:
    note = f" ({ruling.note})" if ruling.note else ""
    if ruling.verdict is None:
        return note
    v = ruling.verdict
    more = f"; about {v.needed_more_seeds} more seeds would decide it" if v.needed_more_seeds else ""
    interval = f"[{v.interval[0]:+.4f}, {v.interval[1]:+.4f}]"
    return f"\n    effect {v.effect:+.4f} {interval}, p {v.p:.2g} (corrected), n {v.n}{more}{note}"


def dry_run(name: str, ablation: Ablation, workers: int) -> None:
    """Print cells, trials, seeds and an estimate of the time; nothing is written."""
    cells = ablation.cells()
    runs = len(cells) * (ablation.trials + ablation.seeds)
    say(f"{name}: {ablation.question}")
    nuisance = sorted({knob for cell in cells for knob in ablation.nuisance_knobs(cell)})
    say(f"tuned in every cell: {', '.join(nuisance)}")
    table = Table(box=None, pad_edge=False)
    for title in ("cell", "parameters", "trials", "seeds", "steps", "about"):
        table.add_column(title, justify="left" if title == "cell" else "right")
    total = 0.0
    for cell in cells:
        seconds = seconds_a_step(cell) * cell.config.training.max_steps * (ablation.trials + ablation.seeds)
        total += seconds
        size = measure(cell.config, "parameters")
        counts = (str(ablation.trials), str(ablation.seeds), str(cell.config.training.max_steps))
        table.add_row(cell.name, str(size), *counts, _duration(seconds))
    console().print(table)
    say(f"{len(cells)} cells, {runs} runs, about {_duration(total / workers)} on {workers} workers (steps timed here)")


def seconds_a_step(cell: Cell) -> float:
    """Time of one optimizer step of this cell, in this process, from a few of them."""
    import torch

    from knobs import metrics, optimizers

    config, spec = cell.config, cell.config.data.spec()
    torch.set_num_threads(config.training.threads)
    with torch.random.fork_rng():
        network = config.model.build(spec)
        x = torch.randn(config.data.batch_size, *spec.shape)
    labels = spec.task == "multiclass"
    y = torch.zeros(len(x), dtype=torch.long) if labels else torch.zeros(len(x), spec.outputs)
    optimizer = optimizers.build(config.optimizer, network.parameters())
    times = []
    for _ in range(8):
        began = time.perf_counter()
        metrics.loss(spec, network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
