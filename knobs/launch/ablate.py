"""`knobs ablate`: tune every cell, train fresh seeds, decide the claims."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from knobs import definition, discover, histories, signals
from knobs.ablation import Ablation, Cell, Recorded
from knobs.config import RunConfig
from knobs.design import measure
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch import ablation_tables, links, notes
from knobs.launch.ablation_plan import AblationPlan, CellWork
from knobs.launch.commands import check_buildable
from knobs.launch.recorded_ablation import VERDICTS, RecordedAblation
from knobs.launch.session import Session, how_to_call, only_driver, say, warn
from knobs.launch.tables import console
from knobs.recorded import ENDED, FINISHED, seed_values
from knobs.rulings import rule
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


def ablate(session: Session, file: str, *, seeds: int | None, trials: int | None, quick: bool) -> None:
    """Run an ablation to its verdicts, or go on with it."""
    name, ablation = load(file, seeds=seeds, trials=trials, quick=quick)
    described = notes.of_command("ablate", file, {"quick": quick, "seeds": seeds, "trials": trials}, {})
    for cell in ablation.cells():
        check_buildable(cell.config)
    tracker, driver, display = session.open(name, *(cell.config.data for cell in ablation.cells()))
    with signals.held(), only_driver(session.places, name):
        plan = AblationPlan(name, ablation, tracker, session.devices[0].kind)
        parent = _parent(tracker, name, ablation, fresh=session.fresh)
        told = definition.of_ablation(name, ablation, quick=quick)
        tracker.upload_texts(parent, {definition.FILE: definition.to_json(told)})
        tracker.tag(parent, described)
        state = "interrupted"
        try:
            plan.open(parent, fresh=session.fresh)
            links.links(tracker, name, publish=True)
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
        conclude(tracker, name, ablation, parent)
        links.links(tracker, name, publish=True)
    ablation_tables.show(RecordedAblation.read(tracker, name, tracker.get(parent)))
    if quick:
        say("quick: fewer trials, seeds and steps than the whole; not for conclusions")
    say("look further:")
    for words in (f"status {name}", f"report {name}"):
        say(f"  {how_to_call('knobs')} {words}")
    say(f"  {how_to_call('knobs')} ui, then")
    links.say_links(tracker, name)
    if not any(work.ended_seeds for work in plan.cells):
        raise AnswerNoError(f"{name}: no run of any cell finished")


def conclude(tracker: Tracker, name: str, ablation: Ablation, parent: str) -> None:
    """Decide the claims on the recorded seeds and write the verdicts to the parent run."""
    derive(tracker, ablation, RecordedAblation.read(tracker, name, tracker.get(parent)).seeds)
    rows = RecordedAblation.read(tracker, name, tracker.get(parent)).seeds
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
    tracker.upload_texts(parent, {VERDICTS: json.dumps(verdicts, indent=1)})
    counts = {word: sum(r.word == word for r in rulings) for word in ("supported", "contradicted", "undecided")}
    tracker.tag(parent, {"knobs.verdicts": ", ".join(f"{n} {word}" for word, n in counts.items() if n)})


def derive(tracker: Tracker, ablation: Ablation, seeds: Sequence[Row]) -> None:
    """Read what the ablation derives off every finished seed, and record what is new."""
    finished = [row for row in seeds if row.state in FINISHED]
    past = histories.read(tracker, finished) if ablation.derived else {}
    for row in finished if ablation.derived else ():
        config, run = RunConfig.from_json(row.tags["knobs.config"]), Recorded(past[row.id], row.metrics)
        found = {derived.metric: float(derived.of(config, run)) for derived in ablation.derived}
        new = {k: v for k, v in found.items() if math.isfinite(v) and row.metrics.get(k) != v}
        if new:
            tracker.summary(row.id, new)


def _parent(tracker: Tracker, name: str, ablation: Ablation, *, fresh: bool) -> str:
    """The ablation's run: the newest that is not set aside, or a new one."""
    where = tracker.experiment(name)
    current = [r for r in tracker.search("tags.`knobs.kind` = 'ablation'", where) if "knobs.retired" not in r.tags]
    if current and not fresh:
        tracker.reopen(current[0].id, {"knobs.state": "running"})
        return current[0].id
    for row in current:
        tracker.tag(row.id, {"knobs.retired": "true"})
    tags = {"knobs.kind": "ablation", "knobs.ablation": name, "knobs.state": "running"}
    return tracker.create(where, name[:18], tags, {"metric": ablation.metric, "direction": ablation.direction})


def _close(tracker: Tracker, plan: AblationPlan, parent: str, state: str) -> None:
    """Every cell's run says what it got: the budget, equal in all, and how its runs ended; the parent sums up."""
    steps = plan.ablation.baseline.training.max_steps
    for work in plan.cells:
        if not work.tuning.opened:
            if work.run:
                tracker.end(work.run, "KILLED", {"knobs.state": "interrupted"})
            continue
        budget = {
            "budget/trials": float(work.tuning.budget(plan.ablation.trials)),
            "budget/steps_a_trial": float(work.cell.config.training.max_steps or steps),
        }
        tracker.summary(work.run, {**_ends([work]), **budget})
        complete = work.left == 0
        status = "FINISHED" if complete else "KILLED"
        tracker.end(work.run, status, {"knobs.state": _cell_state(work) if complete else "interrupted"})
    if all(work.tuning.opened for work in plan.cells):
        runs = {"runs/done": float(plan.total - plan.left), "runs/left": float(plan.left)}
        done = float(sum(work.left == 0 for work in plan.cells))
        tracker.summary(parent, {**runs, "cells": float(len(plan.cells)), "cells/done": done, **_ends(plan.cells)})
    tracker.end(parent, "FINISHED" if state == "finished" else "KILLED", {"knobs.state": state})


def _ends(cells: Sequence[CellWork]) -> dict[str, float]:
    """How many trials and seeds have ended, and how; a state that was counted before and is no more is 0."""
    trials: Counter[str] = Counter()
    seeds: Counter[str] = Counter()
    for work in cells:
        trials.update(work.tuning.counts)
        seeds.update(work.ended_seeds.values())
    found = {f"{kind}/done": float(counts.total()) for kind, counts in (("trials", trials), ("seeds", seeds))}
    for kind, counts in (("trials", trials), ("seeds", seeds)):
        found |= {f"{kind}/{state}": float(counts[state]) for state in sorted(ENDED)}
    return found


def _cell_state(work: CellWork) -> str:
    states = set(work.ended_seeds.values())
    if work.hopeless or (states and not states & {"finished", "reused"}):
        return "no run finished"
    return "finished"


def _record_references(tracker: Tracker, name: str, ablation: Ablation, parent: str) -> None:
    """Numbers that are not trained here stand in the store like runs."""
    where = tracker.experiment(name)
    rows = tracker.search("tags.`knobs.kind` = 'reference'", where)
    there = {(row.tags["knobs.reference"], metric): row for row in rows for metric in row.metrics}
    for reference in ablation.references:
        value = float(reference.value() if callable(reference.value) else reference.value)
        old = there.get((reference.name, reference.metric))
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
        x = torch.randn(config.data.batch_size, *spec.shape) * (not spec.tokens)
    labels, steps = spec.task == "multiclass", spec.shape[: int(spec.per_step)]
    y = torch.zeros(len(x), *steps, dtype=torch.long) if labels else torch.zeros(len(x), spec.outputs)
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
