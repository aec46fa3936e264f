"""What every report is made of before it is written out, and the sections that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from knobs.report.document import Block, Bullets, Code, Document, Inline, Paragraph, Parts, Picture, Section, Strong
from knobs.report.document import Table as Shown
from knobs.report.receipts import Ledger
from knobs.report.record import AblationRecord, Ran, Record, StudyRecord
from knobs.report.review import Finding

NOTED = ("torch", "pytorch-lightning", "numpy", "optuna", "mlflow", "knobs-lab")
"""Packages whose versions are worth a line; receipts hold all of them."""


@dataclass(frozen=True)
class Data:
    """A table for programs: full precision, no words."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass
class Content:
    """A report in the making."""

    record: AblationRecord | StudyRecord
    runs: Sequence[Ran]
    ledger: Ledger
    document: Document
    figures: Mapping[str, Callable[[], Figure]]
    table: Data
    printed: Shown
    """The table that goes into a paper."""
    times: Data
    configs: Mapping[str, str] = field(default_factory=dict)
    """Config of each cell's seeds as JSON, so that they can be trained again from the report alone."""


def review_section(findings: Sequence[Finding]) -> Section:
    """What needs a look first, then what was fine."""
    items: list[Parts] = []
    for finding in findings:
        mark = Strong("fine", "good") if finding.fine else Strong("look", "bad")
        items.append([mark, f" {finding.name}: ", *finding.parts])
    return Section("Review", [Paragraph(["The report checks its own runs by the tuning playbook."]), Bullets(items)])


def failures_section(groups: Sequence[tuple[str, Sequence[Ran]]], ledger: Ledger) -> Section:
    """How every run ended, counted; `groups` are groups of the ledger."""
    counts = {name: _states(runs) for name, runs in groups}
    if all(set(found) <= {"finished"} for found in counts.values()):
        total = sum(found.get("finished", 0) for found in counts.values())
        shown = ledger.number("ends/finished", total, "all runs", "runs that finished")
        return Section("Failures and divergences", [Paragraph(["None: all ", shown, " runs finished."])])
    states = [s for s in ORDER if any(s in found for found in counts.values())]
    states += sorted({s for found in counts.values() for s in found} - set(ORDER))
    rows: list[Sequence[Parts]] = []
    well = [name for name in counts if set(counts[name]) <= {"finished"}]
    if len(well) > 1:
        rest = "all others"
        ledger.group(rest, [run for name, runs in groups if name in well for run in runs], "receipts")
        counts = {name: found for name, found in counts.items() if name not in well}
        counts[rest] = {"finished": sum(len(runs) for name, runs in groups if name in well)}
    for name in counts:
        numbers: list[Parts] = []
        for state in states:
            count = counts[name].get(state, 0)
            numbers.append([ledger.number(f"ends/{name}/{state}", count, name, f"runs that ended as {state}")])
        rows.append([[name], *numbers])
    table = Shown(["runs", *(state.replace("_", " ") for state in states)], rows)
    messages = sorted({(run.key, text) for _, runs in groups for run in runs if (text := _message(run))})
    blocks: list[Block] = [table]
    if messages:
        blocks.append(Bullets([[f"{key}: {text}"] for key, text in messages[:8]]))
        if len(messages) > 8:
            blocks.append(Paragraph([f"and {len(messages) - 8} more."], quiet=True))
    return Section("Failures and divergences", blocks)


ORDER = ("finished", "pruned", "diverged", "out_of_memory", "failed", "lost", "interrupted")


def _states(runs: Iterable[Ran]) -> dict[str, int]:
    """Counted by state; a run that was found in the store finished, whenever it did."""
    found: dict[str, int] = {}
    for run in runs:
        state = "finished" if run.finished else run.state if run.ended else "unfinished"
        found[state] = found.get(state, 0) + 1
    return found


def _message(run: Ran) -> str:
    return "" if run.finished or run.state == "pruned" else run.tag("message")


def provenance_section(record: Record, runs: Sequence[Ran]) -> Section:
    """Code, data, versions and machine of all runs; a line a value, since there should be one."""
    rows: list[Sequence[Parts]] = []

    def row(what: str, values: Iterable[str], more: Callable[[str], str] = lambda value: "") -> None:
        shown: list[Inline] = []
        for value in sorted(set(values)):
            said = more(value)
            shown += ["; "] if shown else []
            shown += [Code(value[:16]) if value else "unknown", f" ({said})" if said else ""]
        rows.append([[what], shown or ["none"]])

    kinds = {
        run.tag("code"): f"{run.row.params.get('model.kind')} on {run.row.params.get('data.kind')}" for run in runs
    }
    row("code of engine, model and data", kinds, lambda code: kinds[code])
    dirty = {run.tag("git_commit") for run in runs if run.tag("git_dirty") == "true"}
    row("commit", (run.tag("git_commit") for run in runs), lambda c: "and uncommitted changes" if c in dirty else "")
    row("uncommitted changes", (run.tag("diff") for run in runs if run.tag("diff")))
    row("data", (run.tag("data_fingerprint") for run in runs))
    row("packages", (run.tag("packages") for run in runs), lambda key: _versions(record.packages.get(key, {})))
    row("machine", (run.tag("machine") for run in runs), lambda key: _machine(record.machines.get(key, {})))
    row("device", (run.tag("device_name") or run.tag("device") for run in runs))
    row("instruction set", (run.tag("cpu_capability") for run in runs))
    row("threads a run", (run.tag("threads") for run in runs))
    return Section("Provenance", [Shown(["what", "of all runs"], rows, left=frozenset({0, 1}))])


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {packages[name]}" for name in NOTED if name in packages)


def _machine(facts: Mapping[str, str]) -> str:
    known = [facts.get("processor", ""), facts.get("platform", "")]
    if python := facts.get("python"):
        known.append(f"Python {python}")
    return ", ".join(text for text in known if text)


def times(groups: Sequence[tuple[str, Sequence[Ran]]]) -> Data:
    """Training time by group; the clock is outside of every comparison."""
    rows: list[Sequence[object]] = []
    for name, runs in groups:
        seconds = [run.row.metrics[s] for run in runs if (s := "system/seconds") in run.row.metrics]
        speed = [run.row.metrics[s] for run in runs if (s := "system/steps_per_second") in run.row.metrics]
        middle = [f"{np.median(values):.2f}" if values else "" for values in (seconds, speed)]
        rows.append([name, len(seconds), f"{sum(seconds):.1f}", *middle])
    return Data(["runs", "with a time", "seconds", "median seconds a run", "median steps a second"], rows)


def value_text(value: object) -> str:
    """A knob's value as a reader types it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(value_text(item) for item in value)
    return str(value)


def picture(name: str, alt: str, caption: str) -> Picture:
    """A figure whose caption is plain text."""
    return Picture(name, alt, [caption])
