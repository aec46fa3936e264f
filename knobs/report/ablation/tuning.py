"""What an ablation's report says of tuning, and of what was not varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knobs.numbers import knob_text, metric_text
from knobs.record.knob_range import KnobRange
from knobs.record.recorded import AblationRecord
from knobs.report.ablation.review import trials_of
from knobs.report.common_sections import picture
from knobs.report.figures.style import label
from knobs.report.formats.document import Block, Bullets, Code, Link, Paragraph, Parts, Picture, Table, joined
from knobs.report.receipts import Ledger, slug


def tuning_blocks(record: AblationRecord, ledger: Ledger, figures: Mapping[str, object]) -> list[Block]:
    """The budget of every cell, what it found, and what more of it would find."""
    spaces = record.spaces
    if not spaces:
        return [Paragraph(["Nothing was tuned: every knob is a level of a factor, or fixed."])]
    untuned = [cell.name for cell in record.cells if not cell.space]
    where = f" but {' / '.join(untuned)} (nothing to tune)" if untuned else ""
    ranges = joined([[Code(name), f" ({_ranges(found)})"] for name, found in spaces.items()])
    told = record.told
    budget = (
        f"{told['trials']} trials of {_steps(record)} steps, then {told['seeds']} fresh seeds with the best of them"
    )
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
        for name in spaces:
            value = cell.winner.asked[0].get(name) if cell.winner else None
            row.append(_chosen(ledger, f"{key}/{name}", value, trials_of(cell)))
        rows.append(row)
    head = ["cell", "trials", f"best {label(record.metric)}", *(f"best {name}" for name in spaces)]
    adaptive = "" if told["trials"] <= 1 else " Trial 0 is the baseline, the others were proposed by the sampler."
    blocks: list[Block] = [
        Paragraph([f"Tuned anew in every cell{where}: ", *ranges, f". Budget of every cell: {budget}."]),
        Table(head, rows),
        picture("tuning", f"Expected best {label(record.metric)} of n trials", _EXPECTED + adaptive),
    ]
    for i, name in enumerate(spaces, 1):
        if f"tuned-{i}" in figures:
            whole = "all of its spaces" if len(spaces[name]) > 1 else "its whole space"
            caption: Parts = ["Every trial over ", Code(name), f"; the axis is {whole}, the chosen value ringed."]
            blocks.append(Picture(f"tuned-{i}", f"{label(record.metric)} over {name}", caption))
    return blocks


def _ranges(found: Mapping[KnobRange, Sequence[str]]) -> str:
    """`0.001 to 0.3, log`; with the cells of each where there are several."""
    if len(found) == 1:
        return next(iter(found)).text
    return "; ".join(f"{knob.text}: {' / '.join(names)}" for knob, names in found.items())


def _steps(record: AblationRecord) -> str:
    """`450`, or `1520 to 6000` where cells differ."""
    known = [run.row.params.get("training.max_steps") for run in record.runs]  # one that was cut off early has none
    counts = {int(steps) for steps in known if steps} or {record.told["steps"]}
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)}))


_EXPECTED = "What the best of n trials, drawn from those that ran, is expected to reach."


def _chosen(ledger: Ledger, key: str, value: object, group: str) -> Parts:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ["-" if value is None else knob_text(value)]
    return [ledger.number(key, float(value), group, "value in the best trial", f"{value:.4g}")]


def fixed_blocks(record: AblationRecord) -> list[Block]:
    """Caveats, and every knob that was held still."""
    items: list[Parts] = [[text] for text in record.told["caveats"]]
    if match := record.told["match"]:
        text = f"{match['knob']} was solved for in every cell: {match['target']} {match['what']}."
        items.append([text])
    knobs = joined([[Code(name), f" {knob_text(value)}"] for name, value in sorted(record.told["fixed"].items())])
    blocks: list[Block] = [Bullets(items)] if items else []
    return [*blocks, Paragraph(["The answer holds for these knobs, which were not varied: ", *knobs, "."])]
