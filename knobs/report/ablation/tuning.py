"""The sections of an ablation's report on tuned knobs and on fixed knobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knobs.numbers import knob_text, metric_text
from knobs.record.knob_range import KnobRange
from knobs.record.recorded_ablation import RecordedAblation
from knobs.report.ablation.cells import trials_group
from knobs.report.common_sections import picture
from knobs.report.figures.style import metric_label
from knobs.report.formats.document import Block, Bullets, Code, Link, Paragraph, Parts, Picture, Table, joined, slug
from knobs.report.receipts import Ledger

EXPECTED = "The best value that n trials, drawn from those that ran, are expected to reach."
ADAPTIVE = " Trial 0 is the baseline, the others were proposed by the sampler."


def tuning_blocks(ablation: RecordedAblation, ledger: Ledger, figures: Mapping[str, object]) -> list[Block]:
    """Return the budget of every cell, its best values, and figures of all trials."""
    spaces = ablation.spaces
    if not spaces:
        return [Paragraph(["Nothing was tuned: every knob is a level of a factor, or fixed."])]
    untuned = [cell.name for cell in ablation.cells if not cell.space]
    except_for = f" but {' / '.join(untuned)} (nothing to tune)" if untuned else ""
    ranges = joined([[Code(name), f" ({_range_texts(found)})"] for name, found in spaces.items()])
    definition, metric = ablation.definition, metric_label(ablation.metric)
    budget = (
        f"{definition.trials} trials of {_steps(ablation)} steps, then {definition.seeds} fresh seeds with the best "
        "of them"
    )
    adaptive = ADAPTIVE if definition.trials > 1 else ""
    blocks: list[Block] = [
        Paragraph([f"Tuned anew in every cell{except_for}: ", *ranges, f". Budget of every cell: {budget}."]),
        _tuning_table(ablation, list(spaces), ledger),
        picture("tuning", f"Expected best {metric} of n trials", EXPECTED + adaptive),
    ]
    for i, name in enumerate(spaces, 1):
        if f"tuned-{i}" in figures:
            whole = "all of its spaces" if len(spaces[name]) > 1 else "its whole space"
            caption: Parts = ["Every trial over ", Code(name), f"; the axis is {whole}, the chosen value ringed."]
            blocks.append(Picture(f"tuned-{i}", f"{metric} over {name}", caption))
    return blocks


def _tuning_table(ablation: RecordedAblation, knobs: Sequence[str], ledger: Ledger) -> Table:
    rows: list[Sequence[Parts]] = []
    for cell in ablation.cells:
        key, group = f"tuning/{cell.name}", trials_group(cell)
        ended = sum(trial.ended for trial in cell.trials)
        best = cell.winner.value(ablation.metric) if cell.winner else None
        how = f"{ablation.metric} of the best trial"
        chosen = cell.winner.chosen if cell.winner else {}
        row: list[Parts] = [
            [Link(cell.name, f"#receipt-{slug(cell.name)}")],
            [ledger.number(f"{key}/trials", ended, group, "trials that ended")],
            ["-" if best is None else ledger.number(f"{key}/best", best, group, how, metric_text(best))],
            *(_chosen_parts(ledger, f"{key}/{name}", chosen.get(name), group) for name in knobs),
        ]
        rows.append(row)
    head = ["cell", "trials", f"best {metric_label(ablation.metric)}", *(f"best {name}" for name in knobs)]
    return Table(head, rows)


def _range_texts(found: Mapping[KnobRange, Sequence[str]]) -> str:
    """Return a knob's range: `0.001 to 0.3, log`. If there are several, name the cells of each."""
    if len(found) == 1:
        return next(iter(found)).text
    return "; ".join(f"{knob.text}: {' / '.join(names)}" for knob, names in found.items())


def _steps(ablation: RecordedAblation) -> str:
    """Return the steps of a run: `450`, or `1520 to 6000` if cells differ."""
    known = [run.row.params.get("training.max_steps") for run in ablation.runs]  # a run that was cut off early has none
    counts = {int(steps) for steps in known if steps} or {ablation.definition.steps}
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)}))


def _chosen_parts(ledger: Ledger, key: str, value: object, group: str) -> Parts:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ["-" if value is None else knob_text(value)]
    return [ledger.number(key, float(value), group, "value in the best trial", knob_text(float(value)))]


def fixed_blocks(ablation: RecordedAblation) -> list[Block]:
    """Return the caveats, and every knob that was not varied."""
    definition = ablation.definition
    items: list[Parts] = [[text] for text in definition.caveats]
    if match := definition.match:
        items.append([f"{match.knob} was solved for in every cell: {match.target} {match.what}."])
    knobs = joined([[Code(name), f" {knob_text(value)}"] for name, value in sorted(definition.fixed.items())])
    blocks: list[Block] = [Bullets(items)] if items else []
    return [*blocks, Paragraph(["The answer holds for these knobs, which were not varied: ", *knobs, "."])]
