"""What an ablation's report says of tuning, and of what was not varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knobs.numerals import metric_text
from knobs.report.ablation_review import trials_of
from knobs.report.content import picture, value_text
from knobs.report.document import Block, Bullets, Code, Link, Paragraph, Parts, Picture, Table, joined
from knobs.report.receipts import Ledger, slug
from knobs.report.record import AblationRecord
from knobs.report.style import label


def tuning(record: AblationRecord, ledger: Ledger, figures: Mapping[str, object]) -> list[Block]:
    """The budget of every cell, what it found, and what more of it would find."""
    knobs = {name: knob for cell in record.cells for name, knob in cell.space.items()}
    if not knobs:
        return [Paragraph(["Nothing was tuned: every knob is a level of a factor, or fixed."])]
    spaces = joined([[Code(name), f" ({knob.text})"] for name, knob in sorted(knobs.items())])
    told = record.told
    budget = f"{told['trials']} trials of {told['steps']} steps, then {told['seeds']} fresh seeds with the best of them"
    rows: list[Sequence[Parts]] = []
    for cell in record.cells:
        ended = sum(trial.ended for trial in cell.trials)
        row: list[Parts] = [
            [Link(cell.name, f"#receipt-{slug(cell.name)}")],
            [ledger.number(f"tuning/{cell.name}/trials", ended, trials_of(cell), "trials that ended")],
        ]
        best = cell.winner.value(record.metric) if cell.winner else None
        how = f"{record.metric} of the best trial"
        key = f"tuning/{cell.name}"
        row.append(
            ["-" if best is None else ledger.number(f"{key}/best", best, trials_of(cell), how, metric_text(best))]
        )
        for name in sorted(knobs):
            value = cell.winner.asked[0].get(name) if cell.winner else None
            row.append(_chosen(ledger, f"{key}/{name}", value, trials_of(cell)))
        rows.append(row)
    head = ["cell", "trials", f"best {label(record.metric)}", *(f"best {name}" for name in sorted(knobs))]
    adaptive = "" if told["trials"] <= 1 else " Trial 0 is the baseline, the others were proposed by the sampler."
    blocks: list[Block] = [
        Paragraph(["Tuned anew in every cell: ", *spaces, f". Budget of every cell: {budget}."]),
        Table(head, rows),
        picture("tuning", f"Expected best {label(record.metric)} of n trials", _EXPECTED + adaptive),
    ]
    for i, name in enumerate(knobs, 1):
        if f"tuned-{i}" in figures:
            caption: Parts = [
                "Every trial over ",
                Code(name),
                "; the axis is its whole space, the chosen value ringed.",
            ]
            blocks.append(Picture(f"tuned-{i}", f"{label(record.metric)} over {name}", caption))
    return blocks


_EXPECTED = "What the best of n trials, drawn from those that ran, is expected to reach."


def _chosen(ledger: Ledger, key: str, value: object, group: str) -> Parts:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ["-" if value is None else value_text(value)]
    return [ledger.number(key, float(value), group, "value in the best trial", f"{value:.4g}")]


def fixed(record: AblationRecord) -> list[Block]:
    """Caveats, and every knob that was held still."""
    items: list[Parts] = [[text] for text in record.told["caveats"]]
    if match := record.told["match"]:
        text = f"{match['knob']} was solved for in every cell: {match['target']} {match['what']}."
        items.append([text])
    knobs = joined([[Code(name), f" {value_text(value)}"] for name, value in sorted(record.told["fixed"].items())])
    blocks: list[Block] = [Bullets(items)] if items else []
    return [*blocks, Paragraph(["The answer holds for these knobs, which were not varied: ", *knobs, "."])]
