"""Descriptions in Markdown, which MLflow's pages show beside experiments, studies and runs."""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knobs import discover, numerals
from knobs.job import Outcome
from knobs.launch.task import Task
from knobs.tracking import Row

NOTE = "mlflow.note.content"
"""The tag that MLflow's pages show as the description."""

WRITTEN = "mlflow.knobs.note"
"""Hash of the description that we wrote last: another text is somebody's own, and stays. The pages hide `mlflow.*`."""


@functools.cache
def question(name: str) -> str:
    """What the study or ablation of this name asks: its file's docstring; empty where there is no such file."""
    for folder in ("studies", "experiments"):
        path = discover.files(folder).get(name)
        if path is not None:
            return discover.docstring(path)
    return ""


def of_command(verb: str, name: str, options: Mapping[str, object], knobs: Mapping[str, str]) -> dict[str, str]:
    """Tags: what is asked, and the command that repeats it or goes on with it.

    Options that are None or False are left out; one that is True stands alone.
    """
    words = ["knobs", verb, name]
    for option, value in {**options, **knobs}.items():
        if value is not None and value is not False:
            words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return {"knobs.question": question(name), "knobs.command": shlex.join(words)}


def of_study(parent: Row, trials: int, pages: Mapping[str, str], report: Path | None = None) -> str:
    """A study's description: question, best so far, where to look, command, and its report if there is one."""
    verdict = f"Best so far: {_best(parent, trials)}." if _best(parent, trials) else f"{trials} trials, none finished."
    return _join(parent.tags.get("knobs.question", ""), verdict, *_further(parent, pages, report))


def of_ablation(
    parent: Row,
    progress: str,
    told: Mapping[str, Any],
    verdicts: Sequence[Mapping[str, Any]],
    pages: Mapping[str, str],
    report: Path | None = None,
) -> str:
    """An ablation's description: question, claim, verdicts so far, where to look, command, its report if there is one.

    A claim on which nothing was decided yet stands there as open.
    """
    decided = verdicts or [{"claim": claim["text"], "verdict": "open"} for claim in told.get("claims", ())]
    claims = "\n".join(f"- **{entry['verdict']}**: {_one_line(entry['claim'])}{_numbers(entry)}" for entry in decided)
    question = told.get("question", parent.tags.get("knobs.question", ""))
    claim = f"*{_one_line(told['claim'])}*" if told else ""
    return _join(question, claim, f"{standing(parent, progress)}.", claims, *_further(parent, pages, report))


def standing(parent: Row, progress: str) -> str:
    """An ablation in a line: its verdicts so far, cells and seeds."""
    return f"{parent.tags.get('knobs.verdicts') or 'Nothing decided yet'}; {progress}"


def _numbers(verdict: Mapping[str, Any]) -> str:
    if "effect" not in verdict:
        return ""
    low, high = verdict["interval"]
    effect = f"effect {numerals.signed(verdict['effect'])}, 95% [{numerals.signed(low)}, {numerals.signed(high)}]"
    return f" ({effect}, p {verdict['p']:.2g}, n {verdict['n']})"


def _further(parent: Row, pages: Mapping[str, str], report: Path | None) -> tuple[str, str, str]:
    """Where to look, how again, what was written."""
    look = " · ".join(f"[{title}]({address})" for title, address in pages.items())
    command = parent.tags.get("knobs.command", "")
    return look, command and f"`{command}`", f"Report: `{report}`" if report else ""


def headline(parent: Row, trials: int) -> dict[str, str]:
    """A tag that says the best so far, so that MLflow's page of experiments reads as a list of studies."""
    return {"knobs.best": best} if (best := _best(parent, trials)) else {}


def _best(parent: Row, trials: int) -> str:
    metric, number = parent.params["metric"], int(parent.tags.get("knobs.best_trial", "0"))
    value = parent.metrics.get(f"best/{metric}")
    return "" if value is None else f"{metric} {value:.4f}, t{number:03d} of {trials} trials"


def of_run(task: Task, outcome: Outcome, state: str) -> str:
    """A run's description: what it is part of, how it ended, the command that trains it again."""
    name = task.tags.get("knobs.ablation") or task.tags.get("knobs.study") or task.tags.get("knobs.name", "")
    part = {"trial": f"Trial {task.tags.get('knobs.trial')} of", "seed": "A fresh seed of", "run": "A single run of"}
    cell = f", cell *{task.tags['knobs.cell']}*" if "knobs.cell" in task.tags else ""
    what = f"{part.get(task.tags.get('knobs.kind', ''), 'A run of')} `{name}`{cell}: {_first_line(question(name))}"
    value = outcome.summary.get(f"best/{task.metric}")
    how = state.replace("_", " ").capitalize()
    if value is not None:
        how = f"{how}: **{task.metric} {value:.4f}** at step {outcome.best_step}."
    elif outcome.message:
        how = f"{how} at step {task.step}." if outcome.message == state else f"{how}: {outcome.message}."
    return _join(what.removesuffix(": "), how, f"`knobs run --from {task.run}`")


def unless_edited(tags: Mapping[str, str], text: str) -> dict[str, str]:
    """Tags that set a description; none where it is there already or somebody has written one by hand."""
    old = tags.get(NOTE, "")
    if not text or old == text or (old and tags.get(WRITTEN) != _hash(old)):
        return {}
    return signed(text)


def signed(text: str) -> dict[str, str]:
    """Tags that set a description and say that it is ours."""
    return {NOTE: text, WRITTEN: _hash(text)}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _join(*paragraphs: str) -> str:
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
