"""The report of a study: how the search went, what it found, which knobs mattered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from matplotlib.figure import Figure

from knobs.numbers import metric_text
from knobs.record.knob_range import KnobRange
from knobs.record.recorded import Ran, StudyRecord
from knobs.report.checks import Finding
from knobs.report.common_sections import Report, failures_section, provenance_section, review_section, times_table
from knobs.report.figures.study import TOP, draw_curves, draw_history, draw_importances, draw_interactions, draw_slices
from knobs.report.figures.style import label
from knobs.report.formats.document import (
    Block,
    Bullets,
    Code,
    Document,
    Link,
    Paragraph,
    Parts,
    Picture,
    Section,
    Strong,
    joined,
)
from knobs.report.receipts import Ledger
from knobs.report.study.review import study_findings as study_findings
from knobs.report.study.sections import (
    best_table,
    curve_blocks,
    files_note,
    fixed_blocks,
    importance_blocks,
    receipt_blocks,
    reproduce_blocks,
    slice_blocks,
    trial_data,
)
from knobs.search import Importance, importances

BEST = 10
ALL, WINNER = "all runs", "the best trial"


def study_report(record: StudyRecord) -> Report:
    """Everything that the report says, and the runs behind it."""
    ledger = Ledger()
    ledger.group(ALL, record.trials, "receipts")
    ledger.group("finished trials", record.finished, "receipts")
    for trial in record.ranked[:BEST]:
        ledger.group(f"trial {trial.key}", [trial], f"receipt-{trial.key}")
    asked = [(t.row.tags["knobs.optuna"], v) for t in record.finished if (v := t.value(record.metric)) is not None]
    shares = importances(asked, record.told["direction"])
    findings = study_findings(record, ledger)
    top = _top(record, shares)
    figures = _figures(record, shares, top, ledger)
    table = best_table(record, ledger)
    ends = [(ALL, record.trials)]
    sections = [
        Section("What it found", _found(record, findings, ledger)),
        Section("How the search went", [_history(record)]),
        Section(f"The best trials: {label(record.metric)}", [table, files_note()]),
        Section("Learning curves", curve_blocks(figures)),
        Section("Which knobs mattered", importance_blocks(record, shares, figures, ledger)),
        Section("Slices and interactions", slice_blocks(figures, top)),
        Section("The space, and what was fixed", fixed_blocks(record)),
        failures_section(ends, ledger),
        review_section(findings),
        Section("How to reproduce", reproduce_blocks(record)),
        provenance_section(record, record.runs),
        Section("Receipts", receipt_blocks(record)),
    ]
    trials = ledger.number("size/trials", len(record.trials), ALL, "recorded trials")
    done = "incomplete" if record.missing else "complete"
    banner: Parts = [f"Incomplete: {'; '.join(record.missing)}."] if record.missing else []
    subtitle: Parts = [Code(record.name), f" · study · {done} · ", trials, " trials"]
    about = record.told["about"].strip()
    title, _, rest = about.partition("\n")
    lead: list[Block] = [Paragraph([rest.strip()])] if rest.strip() else []
    document = Document(title or record.name, subtitle, lead, sections, banner)
    return Report(
        record,
        record.runs,
        ledger,
        document,
        figures,
        trial_data(record),
        table,
        times_table(ends),
        _config(record),
    )


def _config(record: StudyRecord) -> dict[str, str]:
    return {record.ranked[0].key: record.ranked[0].tag("config")} if record.ranked else {}


def _found(record: StudyRecord, findings: Sequence[Finding], ledger: Ledger) -> list[Block]:
    items: list[Parts] = []
    if record.ranked:
        best = record.ranked[0]
        group = f"trial {best.key}"
        value = best.value(record.metric) or 0.0
        shown = ledger.number("best/value", value, group, record.metric, metric_text(value))
        items.append([Strong(f"best: {best.key}", "good"), f", {label(record.metric)} ", shown, *_tested(best, ledger)])
        baseline = next((t for t in record.finished if t.tag("trial") == "0"), None)
        if baseline is not None and (start := baseline.value(record.metric)) is not None:
            ledger.group("the baseline", [baseline], "receipts")
            how = f"{record.metric} of trial 0"
            number = ledger.number("baseline/value", start, "the baseline", how, metric_text(start))
            items.append(["the baseline (trial 0) had ", number])
    blocks: list[Block] = [Bullets(items)] if items else [Paragraph(["No trial finished."])]
    if looks := sum(not finding.fine for finding in findings):
        many = "1 point" if looks == 1 else f"{looks} points"
        blocks.append(Paragraph([Strong(f"{many} to look at", "open"), " in the ", Link("review", "#review"), "."]))
    return blocks


def _tested(best: Ran, ledger: Ledger) -> Parts:
    tested = {name: value for name, value in sorted(best.row.metrics.items()) if name.startswith("test/")}
    parts: list[Parts] = [
        [f"{label(name)} ", ledger.number(f"best/{name}", value, f"trial {best.key}", name, metric_text(value))]
        for name, value in tested.items()
    ]
    return ["; on the test split, read once: ", *joined(parts)] if parts else []


def _top(record: StudyRecord, shares: Mapping[str, Importance]) -> list[KnobRange]:
    """The knobs that mattered most; in the space's order where too few trials finished to tell."""
    names = [name for name in shares if name in record.space] or list(record.space)
    return [record.space[name] for name in names[:TOP]]


def _figures(
    record: StudyRecord, shares: Mapping[str, Importance], top: Sequence[KnobRange], ledger: Ledger
) -> dict[str, Callable[[], Figure]]:
    made: dict[str, Callable[[], Figure]] = {"history": lambda: draw_history(record)}
    ledger.figure("history", ALL, f"{record.metric} by trial")
    if record.ranked:
        drawn = [(t.key, t) for t in record.ranked[:4]]
        drawn += [("baseline (t000)", t) for t in record.finished if t.key == "t000" and t not in record.ranked[:4]]
        made["curves"] = lambda: draw_curves(record, drawn)
        ledger.figure("curves", "finished trials", f"{record.metric} at every validation")
    if shares:
        made["importances"] = lambda: draw_importances(shares)
        ledger.figure("importances", "finished trials", "PED-ANOVA")
    if record.finished and top:
        made["slices"] = lambda: draw_slices(record, top)
        ledger.figure("slices", "finished trials", f"{record.metric} over one knob")
    pairs = list(combinations(top, 2))[:4]
    if record.finished and pairs:
        made["interactions"] = lambda: draw_interactions(record, pairs)
        ledger.figure("interactions", "finished trials", f"rank in {record.metric} over two knobs")
    return made


def _history(record: StudyRecord) -> Block:
    caption = "Each trial in the order in which it was asked for."
    return Picture("history", f"{label(record.metric)} of every trial", [caption])
