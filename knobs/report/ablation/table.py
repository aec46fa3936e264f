"""The table of an ablation's cells: for readers and papers, and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from knobs.numbers import count_text, metric_text, p_text, signed_text
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.schema import is_test
from knobs.report.ablation.cells import CellNumbers, Spread, seeds_group, winning_value
from knobs.report.common_sections import files_note
from knobs.report.figures.style import metric_label
from knobs.report.formats.document import Block, Bullets, DataTable, Inline, Link, Paragraph, Parts, Table, slug
from knobs.report.receipts import Ledger


def cell_table(ablation: RecordedAblation, rows: Sequence[CellNumbers], ledger: Ledger) -> Table:
    """Return a row per cell: mean, difference to the baseline, p, seeds, parameters."""
    shown, baseline = ablation.shown, ablation.baseline
    unit, new = ablation.definition.unit, any(row.new_mean for row in rows)
    head = [
        "cell",
        f"{metric_label(shown)}, mean [95%]",
        *(["for new samples"] * new),
        f"difference to {baseline.name} [95%]",
        *(["for new samples"] * new),
        "p",
        f"{unit}s",
        "parameters",
    ]
    lines: list[Sequence[Parts]] = []
    for row in rows:
        name = row.cell.name
        group, key = seeds_group(row.cell), f"table/{name}"
        base: Inline = " (baseline)" if row.cell is baseline else ""
        none = "no seed finished" if row.cell.seeds else "nothing recorded"
        mean = _spread_parts(ledger, f"{key}/mean", row.mean, group, f"mean of {shown}", signs=False, none=none)
        how = f"mean of {shown} less {baseline.name}'s, paired by {unit}"
        gap = _spread_parts(ledger, f"{key}/difference", row.difference, group, how, signs=True)
        p: Parts = ["-"]
        if row.difference is not None and row.difference.p is not None:
            p_how = "p of the difference, corrected over all cells (Holm)"
            p = [ledger.number(f"{key}/p", row.difference.p, group, p_how, p_text(row.difference.p))]
        n = ledger.number(f"{key}/seeds", row.mean.n if row.mean else 0, group, f"{unit}s that finished")
        ended = ledger.number(f"{key}/ended", row.lost + (row.mean.n if row.mean else 0), group, f"{unit}s that ended")
        size: Parts = ["-"]
        if row.parameters is not None:
            text = count_text(row.parameters)
            size = [ledger.number(f"{key}/parameters", row.parameters, group, "trainable parameters", text)]
        seeds: Parts = [n, " of ", ended] if row.lost else [n]
        first: Parts = [Link(name, f"#receipt-{slug(name)}"), base]
        ends = [
            _ends_parts(ledger, f"{key}/{what}/new", found, group, f"{how} for new test samples", signs=signs)
            for what, found, signs in (("mean", row.new_mean, False), ("difference", row.new_difference, True))
        ]
        lines.append([first, mean, *ends[:new], gap, *ends[1 : 1 + new], p, seeds, size])
    return Table(head, lines)


def _spread_parts(
    ledger: Ledger, key: str, made: Spread | None, group: str, how: str, *, signs: bool, none: str = "-"
) -> Parts:
    if made is None:
        return [none]
    text = signed_text if signs else metric_text
    parts: list[Inline] = [ledger.number(key, made.value, group, how, text(made.value))]
    if made.low is None or made.high is None:
        return parts
    low = ledger.number(f"{key}/low", made.low, group, f"lower end of the 95% interval: {how}", text(made.low))
    high = ledger.number(f"{key}/high", made.high, group, f"upper end of the 95% interval: {how}", text(made.high))
    return [*parts, " [", low, ", ", high, "]", " !" if made.doubt else ""]


def _ends_parts(
    ledger: Ledger, key: str, ends: tuple[float, float] | None, group: str, how: str, *, signs: bool
) -> Parts:
    if ends is None:
        return ["-"]
    text, (low, high) = signed_text if signs else metric_text, ends
    first = ledger.number(f"{key}/low", low, group, f"lower end of the 95% interval: {how}", text(low))
    return ["[", first, ", ", ledger.number(f"{key}/high", high, group, f"upper end: {how}", text(high)), "]"]


def note_blocks(ablation: RecordedAblation, rows: Sequence[CellNumbers]) -> list[Block]:
    """Return the remarks under the table: how to read it, and the intervals not to rely on."""
    tuned = " with the best tuned values" if any(cell.space for cell in ablation.cells) else ""
    read = " and read on the test split once" if is_test(ablation.shown) else ""
    unit, seeds = ablation.definition.unit, ablation.definition.seeds
    if unit == "repetition":
        tuned = " with the best values of its own tuning" if tuned else ""
        fresh = f"{seeds} fresh seed{'s' * (seeds > 1)}"
        over = f"A repetition is the mean of {fresh}, trained{tuned}{read}. Means are over repetitions"
    else:
        once = " of one tuning" if tuned else ""
        over = f"Means are over fresh seeds, trained{tuned}{once}{read}"
    remark = (
        f"{over}; their intervals hold for skewed values too. Differences are paired by {unit}; their p is corrected "
        "for the number of cells (Holm). All intervals are 95%, each by itself."
    )
    if any(row.new_mean for row in rows):
        remark += (
            " They hold for these test samples; the wider ones are for new samples of the same kind too (a jackknife "
            "over groups of samples)."
        )
    blocks: list[Block] = [Paragraph([remark], quiet=True)]
    doubts: list[Parts] = [
        [f"{row.cell.name}, {kind}: {made.doubt}"]
        for row in rows
        for kind, made in (("mean", row.mean), ("difference", row.difference))
        if made is not None and made.doubt
    ]
    if doubts:
        blocks += [Paragraph(["Intervals marked ! should not be relied on:"], quiet=True), Bullets(doubts)]
    return [*blocks, files_note("has full precision")]


def cell_data(ablation: RecordedAblation, rows: Sequence[CellNumbers]) -> DataTable:
    """Return a row per cell in full precision, one value per column."""
    knobs, unit = sorted({name for row in rows for name in row.cell.space}), ablation.definition.unit
    gap_names = ("difference", "difference_low", "difference_high", "difference_low_new", "difference_high_new")
    head = [
        "cell", *ablation.factors, "metric", "mean", "mean_low", "mean_high", "mean_low_new", "mean_high_new",
        *gap_names, "p_corrected", f"{unit}s", f"{unit}s_lost", "seeds_sd", "tuning_sd", "parameters",
        *(f"best {name}" for name in knobs),
    ]  # fmt: skip
    lines: list[Sequence[object]] = []
    for row in rows:
        mean, gap = row.mean, row.difference
        lines.append(
            [
                row.cell.name,
                *(row.cell.levels[name] for name in ablation.factors),
                ablation.shown,
                *([mean.value, mean.low, mean.high] if mean else [None] * 3),
                *(row.new_mean or (None, None)),
                *([gap.value, gap.low, gap.high] if gap else [None] * 3),
                *(row.new_difference or (None, None)),
                gap.p if gap else None,
                mean.n if mean else 0,
                row.lost,
                row.seeds_sd,
                row.tuning_sd,
                row.parameters,
                *(winning_value(row.cell, name) for name in knobs),
            ]
        )
    return DataTable(head, lines)
