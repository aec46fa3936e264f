"""The description of a run in MLflow's pages, and of the command that launched it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from knobs.discover import launch_docstring
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.plans.plan import parent_name
from knobs.numbers import metric_text
from knobs.pages.descriptions import paragraphs
from knobs.record.schema import Kind, Metric, Tag
from knobs.training import Outcome


def launch_command(verb: str, name: str, options: Mapping[str, object], knobs: Mapping[str, str]) -> str:
    """Return the command that repeats or continues a launch. Options that are None or False are left out."""
    words = ["knobs", verb, name]
    for option, value in {**options, **knobs}.items():
        if value is not None and value is not False:
            words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return shlex.join(words)


def run_note(run: OpenRun, outcome: Outcome, state: str) -> str:
    """Return a run's description: what it is part of, how it ended, the command that trains it again."""
    planned, tags = run.planned, run.planned.tags
    name = parent_name(tags)
    words = {
        Kind.TRIAL: f"Trial {tags.get(Tag.TRIAL)} of",
        Kind.REPLICATE: f"Replicate {tags.get(Tag.REPLICATE)} of trial {tags.get(Tag.TRIAL)} of",
        Kind.SEED: "A fresh seed of",
        Kind.RUN: "A single run of",
    }
    cell = f", cell *{planned.cell}*" if planned.cell else ""
    first = launch_docstring(name).partition("\n")[0]
    what = f"{words.get(planned.kind, 'A run of')} `{name}`{cell}: {first}"
    value = outcome.summary.get(Metric.BEST + planned.metric)
    how = state.replace("_", " ").capitalize()
    if value is not None:
        how = f"{how}: **{planned.metric} {metric_text(value)}** at step {outcome.best_step}."
    elif outcome.message:
        how = f"{how} at step {run.step}." if outcome.message == state else f"{how}: {outcome.message}."
    return paragraphs(what.removesuffix(": "), how, f"`knobs run --from {run.id}`")
