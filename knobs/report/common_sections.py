"""The content of a report before it has a format, and the sections that all reports share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from knobs.record.recorded import Recorded
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import RecordedRun
from knobs.record.schema import Metric, Tag
from knobs.record.states import StateName
from knobs.report.checks import Finding
from knobs.report.formats.document import (
    Block,
    Bullets,
    Code,
    DataTable,
    Document,
    Inline,
    Link,
    Paragraph,
    Parts,
    Picture,
    Section,
    Strong,
    Table,
)
from knobs.report.receipts import Ledger

NOTED_PACKAGES = ("torch", "pytorch-lightning", "numpy", "optuna", "mlflow", "knobs-lab")
"""Packages whose versions the report shows; receipts hold all packages."""

MOST_MESSAGES = 8
"""Messages of failed runs that are shown."""

UNFINISHED = "unfinished"

ENDS = (
    StateName.FINISHED, StateName.PRUNED, StateName.DIVERGED, StateName.OUT_OF_MEMORY, StateName.FAILED,
    StateName.LOST, StateName.INTERRUPTED,
)  # fmt: skip
"""States in the order of the table's columns."""

Groups = Sequence[tuple[str, Sequence[RecordedRun]]]
"""Groups of the ledger with their runs."""


@dataclass
class Report:
    """A report before it has a format."""

    recorded: RecordedAblation | RecordedStudy
    ledger: Ledger
    document: Document
    figures: Mapping[str, Callable[[], Figure]]
    """By name, the functions that draw them."""
    table: DataTable
    printed: Table
    """The table for a paper."""
    times: DataTable
    configs: Mapping[str, str] = field(default_factory=dict)
    """Configs as JSON, of each cell's first seed or of the best trial, to train them again from the report alone."""


def review_section(findings: Sequence[Finding]) -> Section:
    """Return the section that lists the findings."""
    items: list[Parts] = []
    for finding in findings:
        mark = Strong("fine", "good") if finding.fine else Strong("look", "bad")
        items.append([mark, f" {finding.name}: ", *finding.parts])
    return Section("Review", [Paragraph(["The report checks its own runs by the tuning playbook."]), Bullets(items)])


def review_hint(findings: Sequence[Finding]) -> list[Block]:
    """Return the line that points to the review; empty if every finding is fine."""
    count = sum(not finding.fine for finding in findings)
    if not count:
        return []
    points = "1 point" if count == 1 else f"{count} points"
    return [Paragraph([Strong(f"{points} to look at", "open"), " in the ", Link("review", "#review"), "."])]


def failures_section(groups: Groups, ledger: Ledger) -> Section:
    """Return the section that counts how every run ended."""
    title = "Failures and divergences"
    counts = {name: _count_ends(runs) for name, runs in groups}
    states = {state for count in counts.values() for state in count}
    if states <= {StateName.FINISHED}:
        total = sum(count.total() for count in counts.values())
        shown = ledger.number("ends/finished", total, "all runs", "runs that finished")
        return Section(title, [Paragraph(["None: all ", shown, " runs finished."])])
    return Section(title, [_ends_table(groups, counts, ledger), *_message_blocks(groups)])


def _count_ends(runs: Iterable[RecordedRun]) -> Counter[str]:
    """Count runs by state. A reused run counts as finished."""
    return Counter(StateName.FINISHED if run.finished else run.state if run.ended else UNFINISHED for run in runs)


def _ends_table(groups: Groups, counts: Mapping[str, Counter[str]], ledger: Ledger) -> Table:
    """Return a row per group and a column per state. Groups whose runs all finished share the last row."""
    found = {state for count in counts.values() for state in count}
    states = [*(state for state in ENDS if state in found), *sorted(found - set(ENDS))]
    lines = dict(counts)
    finished = [name for name, count in counts.items() if set(count) <= {StateName.FINISHED}]
    if len(finished) > 1:
        rest = "all others"
        runs = [run for name, runs in groups if name in finished for run in runs]
        ledger.add_group(rest, runs, "receipts")
        lines = {name: count for name, count in counts.items() if name not in finished}
        lines[rest] = Counter({StateName.FINISHED: len(runs)})
    rows: list[Sequence[Parts]] = []
    for name, count in lines.items():
        numbers: list[Parts] = [
            [ledger.number(f"ends/{name}/{state}", count[state], name, f"runs that ended as {state}")]
            for state in states
        ]
        rows.append([[name], *numbers])
    return Table(["runs", *(state.replace("_", " ") for state in states)], rows)


def _message_blocks(groups: Groups) -> list[Block]:
    """Return the messages of runs that neither finished nor were pruned."""
    lost = [run for _, runs in groups for run in runs if not run.finished and run.state != StateName.PRUNED]
    messages = sorted({(run.key, text) for run in lost if (text := run.tag(Tag.MESSAGE))})
    if not messages:
        return []
    blocks: list[Block] = [Bullets([[f"{key}: {text}"] for key, text in messages[:MOST_MESSAGES]])]
    if len(messages) > MOST_MESSAGES:
        blocks.append(Paragraph([f"and {len(messages) - MOST_MESSAGES} more."], quiet=True))
    return blocks


def provenance_section(recorded: Recorded) -> Section:
    """Return the section of code, data, versions and machine: a row per fact, with every value that a run has."""
    runs = recorded.runs
    rows: list[Sequence[Parts]] = []

    def add_row(fact: str, values: Iterable[str], more: Callable[[str], str] = lambda value: "") -> None:
        shown: list[Inline] = []
        for value in sorted(set(values)):
            remark = more(value)
            shown += ["; "] if shown else []
            shown += [Code(value[:16]) if value else "unknown", f" ({remark})" if remark else ""]
        rows.append([[fact], shown or ["none"]])

    def add_tag(fact: str, tag: str, more: Callable[[str], str] = lambda value: "") -> None:
        add_row(fact, (run.tag(tag) for run in runs), more)

    kinds = {
        run.tag(Tag.CODE): f"{run.row.params.get('model.kind')} on {run.row.params.get('data.kind')}" for run in runs
    }
    dirty = {run.tag(Tag.COMMIT) for run in runs if run.tag(Tag.DIRTY) == "true"}
    add_row("code of engine, model and data", kinds, lambda code: kinds[code])
    add_tag("commit", Tag.COMMIT, lambda commit: "and uncommitted changes" if commit in dirty else "")
    add_row("uncommitted changes", (diff for run in runs if (diff := run.tag(Tag.DIFF))))
    add_tag("data", Tag.DATA)
    add_tag("packages", Tag.PACKAGES, lambda key: _versions(recorded.packages.get(key, {})))
    add_tag("machine", Tag.MACHINE, lambda key: _machine(recorded.machines.get(key, {})))
    add_row("device", (run.tag(Tag.DEVICE_NAME) or run.tag(Tag.DEVICE) for run in runs))
    add_tag("instruction set", Tag.CPU_CAPABILITY)
    add_tag("threads a run", Tag.THREADS)
    return Section("Provenance", [Table(["what", "of all runs"], rows, left=frozenset({0, 1}))])


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {packages[name]}" for name in NOTED_PACKAGES if name in packages)


def _machine(facts: Mapping[str, str]) -> str:
    known = [facts.get("processor", ""), facts.get("platform", "")]
    if python := facts.get("python"):
        known.append(f"Python {python}")
    return ", ".join(text for text in known if text)


def times_table(groups: Groups) -> DataTable:
    """Return the training times by group, in seconds. Comparisons leave them out."""
    rows: list[Sequence[object]] = []
    for name, runs in groups:
        found = [run.row.metrics for run in runs]
        seconds = [metrics[Metric.SECONDS] for metrics in found if Metric.SECONDS in metrics]
        speed = [metrics[Metric.STEPS_PER_SECOND] for metrics in found if Metric.STEPS_PER_SECOND in metrics]
        medians = [f"{np.median(values):.2f}" if values else "" for values in (seconds, speed)]
        rows.append([name, len(seconds), f"{sum(seconds):.1f}", *medians])
    return DataTable(["runs", "with a time", "seconds", "median seconds a run", "median steps a second"], rows)


def files_note(full_precision: str) -> Block:
    """Return the remark on the files with more numbers. `full_precision` starts with a verb: `has every trial ...`."""
    parts: Parts = [
        Link("table.csv", "table.csv"), f" {full_precision}, ", Link("times.csv", "times.csv"),
        " the training times, which are outside of every comparison.",
    ]  # fmt: skip
    return Paragraph(parts, quiet=True)


def picture(name: str, alt: str, caption: str) -> Picture:
    """Return a figure whose caption is plain text."""
    return Picture(name, alt, [caption])
