"""The report of a study, its sections in reading order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from matplotlib.figure import Figure

from knobs.record.knob_range import KnobRange
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Artifact
from knobs.report.common_sections import (
    Report,
    failures_section,
    files_note,
    picture,
    provenance_section,
    review_section,
    times_table,
)
from knobs.report.figures.study import TOP, draw_curves, draw_history, draw_importances, draw_interactions, draw_slices
from knobs.report.figures.style import metric_label
from knobs.report.formats.document import Block, Code, Document, Paragraph, Parts, Section
from knobs.report.receipts import Ledger
from knobs.report.study.review import study_findings
from knobs.report.study.sections import (
    FRESH,
    LISTED,
    best_table,
    curve_blocks,
    fixed_blocks,
    fresh_blocks,
    importance_blocks,
    receipt_blocks,
    reproduce_blocks,
    result_blocks,
    slice_blocks,
    trial_data,
    trial_group,
)
from knobs.search import Importance, importances

ALL, FINISHED = "all runs", "finished trials"
"""Groups of the ledger."""

MOST_PAIRS = 4
"""Pairs of knobs that have a panel."""


def study_report(study: RecordedStudy) -> Report:
    """Return the report of a recorded study."""
    ledger, metric = Ledger(), metric_label(study.metric)
    ledger.add_group(ALL, study.trials, "receipts")
    ledger.add_group(FINISHED, study.finished, "receipts")
    for trial in study.ranked[:LISTED]:
        runs = [trial, *study.replicates.get(trial.row.trial, [])]
        ledger.add_group(trial_group(trial), runs, f"receipt-{trial.key}")
    ledger.add_group(FRESH, study.fresh_seeds, "receipts")
    shares = _importances(study)
    findings = study_findings(study, ledger)
    top = _top_knobs(study, shares)
    figures = _figures(study, shares, top, ledger)
    table = best_table(study, ledger)
    groups = [(ALL, study.trials)]
    history = picture("history", f"{metric} of every trial", "The trials in the order in which they were proposed.")
    sections = [
        Section("What it found", result_blocks(study, findings, ledger)),
        *([Section("The winner on fresh seeds", fresh_blocks(study, ledger))] if study.confirmations else []),
        Section("How the search went", [history]),
        Section(f"The best trials: {metric}", [table, files_note("has every trial in full precision")]),
        Section("Learning curves", curve_blocks(figures)),
        Section("Which knobs mattered", importance_blocks(study, shares, ledger)),
        Section("Slices and interactions", slice_blocks(figures, top)),
        Section("The space, and what was fixed", fixed_blocks(study)),
        failures_section(groups, ledger),
        review_section(findings),
        Section("How to reproduce", reproduce_blocks(study)),
        provenance_section(study),
        Section("Receipts", receipt_blocks(study)),
    ]
    trials = ledger.number("size/trials", len(study.trials), ALL, "recorded trials")
    done = "incomplete" if study.missing else "complete"
    subtitle: Parts = [Code(study.name), f" · study · {done} · ", trials, " trials"]
    title, _, rest = study.definition.about.strip().partition("\n")
    lead: list[Block] = [Paragraph([rest.strip()])] if rest.strip() else []
    banner: Parts = [f"Incomplete: {'; '.join(study.missing)}."] if study.missing else []
    return Report(
        recorded=study,
        ledger=ledger,
        document=Document(title or study.name, subtitle, lead, sections, banner),
        figures=figures,
        table=trial_data(study),
        printed=table,
        times=times_table(groups),
        configs=_configs(study),
    )


def _importances(study: RecordedStudy) -> dict[str, Importance]:
    valued = [(t.chosen, t.distributions, v) for t in study.finished if (v := t.value(study.metric)) is not None]
    return importances(valued, study.direction)


def _configs(study: RecordedStudy) -> dict[str, str]:
    """Return the config of the best trial as JSON."""
    best = study.ranked[:1]
    return {t.key: text for t in best if (text := study.tracker.text(t.row, Artifact.CONFIG))}


def _top_knobs(study: RecordedStudy, shares: Mapping[str, Importance]) -> list[KnobRange]:
    """Return the most important knobs; the first ones of the space if too few trials finished to compare knobs."""
    names = [name for name in shares if name in study.space] or list(study.space)
    return [study.space[name] for name in names[:TOP]]


def _figures(
    study: RecordedStudy, shares: Mapping[str, Importance], top: Sequence[KnobRange], ledger: Ledger
) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw the figures, by name."""
    made: dict[str, Callable[[], Figure]] = {"history": lambda: draw_history(study)}
    ledger.add_figure("history", ALL, f"{study.metric} by trial")
    if study.ranked:
        best = study.ranked[:4]
        drawn = [(t.key, t) for t in best]
        drawn += [(f"baseline ({t.key})", t) for t in study.finished if t.row.trial == 0 and t not in best]
        made["curves"] = lambda: draw_curves(study, drawn)
        ledger.add_figure("curves", FINISHED, f"{study.metric} at every validation")
    if shares:
        made["importances"] = lambda: draw_importances(shares)
        ledger.add_figure("importances", FINISHED, "PED-ANOVA")
    if study.finished and top:
        made["slices"] = lambda: draw_slices(study, top)
        ledger.add_figure("slices", FINISHED, f"{study.metric} over one knob")
    pairs = list(combinations(top, 2))[:MOST_PAIRS]
    if study.finished and pairs:
        made["interactions"] = lambda: draw_interactions(study, pairs)
        ledger.add_figure("interactions", FINISHED, f"rank in {study.metric} over two knobs")
    return made
