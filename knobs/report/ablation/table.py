"""The table of an ablation's cells: for readers, for papers, for programs."""

from __future__ import annotations

from collections.abc import Sequence

from knobs.numbers import metric_text, p_text, signed_text
from knobs.record.recorded import AblationRecord
from knobs.report.ablation.cells import CellNumbers, Spread
from knobs.report.ablation.review import seeds_of
from knobs.report.common_sections import Data
from knobs.report.figures.style import label
from knobs.report.formats.document import Block, Bullets, Inline, Link, Paragraph, Parts, Table
from knobs.report.receipts import Ledger, slug


def cell_table(record: AblationRecord, rows: Sequence[CellNumbers], ledger: Ledger) -> Table:
    """A line a cell: mean, difference to the baseline, p, seeds, parameters."""
    head = [
        "cell",
        f"{label(record.shown)}, mean [95%]",
        f"difference to {record.baseline.name} [95%]",
        "p",
        "seeds",
        "parameters",
    ]
    lines: list[Sequence[Parts]] = []
    for row in rows:
        name = row.cell.name
        group, key = seeds_of(row.cell), f"table/{name}"
        base: Inline = " (baseline)" if row.cell is record.baseline else ""
        mean = "no seed finished" if row.cell.seeds else "nothing recorded"
        spread = _spread(ledger, f"{key}/mean", row.mean, group, f"mean of {record.shown}", signs=False, none=mean)
        how = f"mean of {record.shown} less {record.baseline.name}'s, paired by seed"
        gap = _spread(ledger, f"{key}/difference", row.difference, group, how, signs=True)
        p: Parts = ["-"]
        if row.difference is not None and row.difference.p is not None:
            p_how = "p of the difference, corrected over all cells (Holm)"
            p = [ledger.number(f"{key}/p", row.difference.p, group, p_how, p_text(row.difference.p))]
        n = ledger.number(f"{key}/seeds", row.mean.n if row.mean else 0, group, "seeds that finished")
        ended = ledger.number(f"{key}/ended", row.lost + (row.mean.n if row.mean else 0), group, "seeds that ended")
        size: Parts = ["-"]
        if row.parameters is not None:
            text = f"{row.parameters:,}"
            size = [ledger.number(f"{key}/parameters", row.parameters, group, "trainable parameters", text)]
        seeds: Parts = [n, " of ", ended] if row.lost else [n]
        first: Parts = [Link(name, f"#receipt-{slug(name)}"), base]
        lines.append([first, spread, gap, p, seeds, size])
    return Table(head, lines)


def _spread(
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


def note_blocks(record: AblationRecord, rows: Sequence[CellNumbers]) -> list[Block]:
    """How to read the table, and which intervals not to rely on."""
    tuned = " with the best tuned values" if any(cell.space for cell in record.cells) else ""
    read = " and read on the test split once" if record.shown.startswith("test/") else ""
    remark = (
        f"Means are over fresh seeds, trained{tuned}{read}; their intervals hold for skewed values too. Differences "
        "are paired by seed; their p is corrected for the cells being several (Holm). All intervals are 95%, each by "
        "itself."
    )
    blocks: list[Block] = [Paragraph([remark], quiet=True)]
    doubts: list[Parts] = []
    for row in rows:
        for what, made in (("mean", row.mean), ("difference", row.difference)):
            if made is not None and made.doubt:
                doubts.append([f"{row.cell.name}, {what}: {made.doubt}"])
    if doubts:
        blocks += [Paragraph(["Intervals marked ! should not be relied on:"], quiet=True), Bullets(doubts)]
    more: Parts = [
        Link("table.csv", "table.csv"), " has full precision, ", Link("times.csv", "times.csv"),
        " the training times, which are outside of every comparison.",
    ]  # fmt: skip
    del record
    return [*blocks, Paragraph(more, quiet=True)]


def cell_data(record: AblationRecord, rows: Sequence[CellNumbers]) -> Data:
    """Full precision, a column a thing."""
    knobs = sorted({name for row in rows for name in row.cell.space})
    head = [
        "cell", *record.factors, "metric", "mean", "mean_low", "mean_high", "difference", "difference_low",
        "difference_high", "p_corrected", "seeds", "seeds_lost", "parameters", *(f"best {name}" for name in knobs),
    ]  # fmt: skip
    lines: list[Sequence[object]] = []
    for row in rows:
        mean, gap = row.mean, row.difference
        chosen = row.cell.winner.asked[0] if row.cell.winner else {}
        lines.append(
            [
                row.cell.name,
                *(row.cell.levels[name] for name in record.factors),
                record.shown,
                *([mean.value, mean.low, mean.high] if mean else [None] * 3),
                *([gap.value, gap.low, gap.high, gap.p] if gap else [None] * 4),
                mean.n if mean else 0,
                row.lost,
                row.parameters,
                *(chosen.get(name) for name in knobs),
            ]
        )
    return Data(head, lines)
