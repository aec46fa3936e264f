"""The report of an ablation, its sections in reading order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.figure import Figure

from knobs.ablation import ClaimVerdict
from knobs.record.knob_range import joint_range
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.schema import Artifact
from knobs.report.ablation.cells import CellNumbers, cell_numbers, cells_of_claim, seeds_group, trials_group
from knobs.report.ablation.registered import registered_when
from knobs.report.ablation.review import ablation_findings
from knobs.report.ablation.sections import (
    curve_sections,
    receipt_blocks,
    reproduce_blocks,
    result_blocks,
    sample_sections,
    verdict_blocks,
)
from knobs.report.ablation.table import cell_data, cell_table, note_blocks
from knobs.report.ablation.tuning import fixed_blocks, tuning_blocks
from knobs.report.common_sections import (
    Groups,
    Report,
    failures_section,
    provenance_section,
    review_section,
    times_table,
)
from knobs.report.figures.ablation import draw_heat, draw_main, heat_factors
from knobs.report.figures.ablation_curves import draw_learning_curves, draw_nuisance, draw_tuning
from knobs.report.figures.style import metric_label
from knobs.report.formats.document import Code, Document, Paragraph, Parts, Section, slug
from knobs.report.receipts import Ledger

MOST_MISSING = 6
"""Unfinished cells that the banner names."""


def ablation_report(ablation: RecordedAblation) -> Report:
    """Return the report of a recorded ablation. The claims are decided again from the recorded seeds."""
    ledger, verdicts = Ledger(), ablation.decide()
    groups = _add_groups(ablation, verdicts, ledger)
    rows = cell_numbers(ablation)
    findings = ablation_findings(ablation, rows, verdicts, ledger)
    figures = _figures(ablation, rows, ledger)
    table = cell_table(ablation, rows, ledger)
    sections = [
        Section("Verdicts", verdict_blocks(ablation, verdicts, findings, ledger)),
        Section("What it shows", result_blocks(ablation, figures)),
        Section(f"Cells: {metric_label(ablation.shown)}", [table, *note_blocks(ablation, rows)]),
        *sample_sections(ablation),
        *curve_sections(ablation, figures),
        Section("Tuning", tuning_blocks(ablation, ledger, figures)),
        Section("What was fixed", fixed_blocks(ablation)),
        failures_section(groups, ledger),
        review_section(findings),
        Section("How to reproduce", reproduce_blocks(ablation)),
        provenance_section(ablation),
        Section("Receipts", receipt_blocks(ablation, verdicts)),
    ]
    document = Document(
        title=ablation.definition.question,
        subtitle=_subtitle(ablation, ledger),
        lead=[Paragraph([f"Expected, {registered_when(ablation)}: {ablation.definition.claim}"])],
        sections=sections,
        banner=_banner(ablation),
    )
    return Report(
        recorded=ablation,
        ledger=ledger,
        document=document,
        figures=figures,
        table=cell_data(ablation, rows),
        printed=table,
        times=times_table(groups),
        configs=_configs(ablation),
    )


def _add_groups(ablation: RecordedAblation, verdicts: Sequence[ClaimVerdict], ledger: Ledger) -> Groups:
    """Add the groups of all cells and claims to the ledger, and return those of the cells."""
    groups: Groups = [
        group
        for cell in ablation.cells
        for group in ((trials_group(cell), cell.trials), (seeds_group(cell), cell.seeds))
    ]
    for cell in ablation.cells:
        ledger.add_group(trials_group(cell), cell.trials, f"receipt-{slug(cell.name)}")
        ledger.add_group(seeds_group(cell), cell.seeds, f"receipt-{slug(cell.name)}")
    ledger.add_group("all trials", [trial for cell in ablation.cells for trial in cell.trials], "receipts")
    ledger.add_group("all seeds", ablation.seeds, "receipts")
    ledger.add_group("all runs", ablation.runs, "receipts")
    for i, verdict in enumerate(verdicts, 1):
        seeds = [seed for cell in cells_of_claim(verdict, ablation) for seed in cell.seeds]
        ledger.add_group(f"claim {i}", seeds, f"receipt-claim-{i}")
    return groups


def _configs(ablation: RecordedAblation) -> dict[str, str]:
    """Return the config of each cell's first seed as JSON. The artifact is read as it is: no content is needed."""
    tracker, first = ablation.tracker, {cell.name: cell.seeds[0].row for cell in ablation.cells if cell.seeds}
    return {name: text for name, row in first.items() if (text := tracker.text(row, Artifact.CONFIG))}


def _subtitle(ablation: RecordedAblation, ledger: Ledger) -> Parts:
    kind = "ablation, quick preset" if ablation.definition.quick else "ablation"
    trials = sum(len(cell.trials) for cell in ablation.cells)
    return [
        Code(ablation.name),
        f" · {kind} · {'incomplete' if ablation.missing else 'complete'} · {len(ablation.cells)} cells, ",
        ledger.number("size/trials", trials, "all trials", "recorded trials"),
        " trials, ",
        ledger.number("size/seeds", len(ablation.seeds), "all seeds", "recorded seeds"),
        " seeds",
    ]


def _banner(ablation: RecordedAblation) -> Parts:
    warnings, missing = [], ablation.missing
    if missing:
        more = f" and {len(missing) - MOST_MISSING} more cells" if len(missing) > MOST_MISSING else ""
        warnings.append(f"Incomplete, so every claim is undecided: {'; '.join(missing[:MOST_MISSING])}{more}.")
    if ablation.definition.quick:
        warnings.append("Quick preset: fewer trials, seeds and steps than the whole; not for conclusions.")
    return [" ".join(warnings)] if warnings else []


def _figures(
    ablation: RecordedAblation, rows: Sequence[CellNumbers], ledger: Ledger
) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw the figures, by name."""
    shown, metric = ablation.shown, ablation.metric
    made: dict[str, Callable[[], Figure]] = {"main": lambda: draw_main(ablation, rows)}
    ledger.add_figure("main", "all seeds", f"{shown}: mean, 95% interval, every seed")
    if (crossed := heat_factors(ablation)) and any(row.mean for row in rows):
        made["heat"] = lambda: draw_heat(ablation, rows, *crossed)
        ledger.add_figure("heat", "all seeds", f"mean of {shown}")
    if any(len(seed.curve(metric)) > 1 for seed in ablation.seeds):
        made["curves"] = lambda: draw_learning_curves(ablation)
        ledger.add_figure("curves", "all seeds", f"{metric} at every validation: mean, lowest and highest seed")
    if ablation.spaces:
        made["tuning"] = lambda: draw_tuning(ablation)
        ledger.add_figure("tuning", "all trials", f"median best {metric} of n trials")
    for i, ranges in enumerate(ablation.spaces.values(), 1):
        knob = joint_range(list(ranges))
        made[f"tuned-{i}"] = partial(draw_nuisance, ablation, knob)
        ledger.add_figure(f"tuned-{i}", "all trials", f"{metric} over {knob.name}")
    return made
