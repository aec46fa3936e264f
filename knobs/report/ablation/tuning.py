"""The sections of an ablation's report on tuned knobs and on fixed knobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knobs.numbers import knob_text, metric_text
from knobs.record.knob_range import KnobRange
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
from knobs.report.ablation.cells import cell_numbers, seeds_group, trials_group, winning_value
from knobs.report.common_sections import picture
from knobs.report.figures.style import metric_label
from knobs.report.formats.document import (
    Block,
    Bullets,
    Code,
    Inline,
    Link,
    Paragraph,
    Parts,
    Picture,
    Table,
    joined,
    slug,
)
from knobs.report.receipts import Ledger

BEST = (
    "The median of the best value that n trials reach, estimated from all that ran, with 95% bands for all n at once "
    "(Lourie, Cho and He 2024). A band that the trials do not bound ends at the best of them."
)


def tuning_blocks(ablation: RecordedAblation, ledger: Ledger, figures: Mapping[str, object]) -> list[Block]:
    """Return the budget of every cell, its best values, and figures of all trials."""
    spaces = ablation.spaces
    if not spaces:
        return [Paragraph(["Nothing was tuned: every knob is a level of a factor, or fixed."])]
    untuned = [cell.name for cell in ablation.cells if not cell.space]
    except_for = f" but {' / '.join(untuned)} (nothing to tune)" if untuned else ""
    ranges = joined([[Code(name), f" ({_range_texts(found)})"] for name, found in spaces.items()])
    definition, metric = ablation.definition, metric_label(ablation.metric)
    again = (
        "" if definition.unit == "seed" else f"{definition.repetitions} times, each with draws and seeds of its own, "
    )
    tuning_seeds = f", each with {definition.tuning_seeds} seeds" if definition.tuning_seeds > 1 else ""
    budget = (
        f"{again}{definition.trials} trials of {_steps(ablation)} steps{tuning_seeds}, then {definition.seeds} fresh "
        "seeds with the best of them"
    )
    blocks: list[Block] = [
        Paragraph([f"Tuned anew in every cell{except_for}: ", *ranges, f". Budget of every cell: {budget}."]),
        _tuning_table(ablation, list(spaces), ledger),
        picture("tuning", f"Median best {metric} of n trials", BEST),
    ]
    for i, name in enumerate(spaces, 1):
        if f"tuned-{i}" in figures:
            whole = "all of its spaces" if len(spaces[name]) > 1 else "its whole space"
            caption: Parts = ["Every trial over ", Code(name), f"; the axis is {whole}, the chosen value ringed."]
            blocks.append(Picture(f"tuned-{i}", f"{metric} over {name}", caption))
    return blocks


def _tuning_table(ablation: RecordedAblation, knobs: Sequence[str], ledger: Ledger) -> Table:
    repeated = ablation.definition.unit != "seed"
    rows: list[Sequence[Parts]] = []
    for numbers in cell_numbers(ablation):
        cell = numbers.cell
        key, group = f"tuning/{cell.name}", trials_group(cell)
        ended = sum(trial.ended for trial in cell.trials)
        found = [value for trial in cell.winners.values() if (value := trial.value(ablation.metric)) is not None]
        best = sum(found) / len(found) if found else None
        how = f"{ablation.metric} of the best trial" + (", mean over repetitions" if repeated else "")
        row: list[Parts] = [
            [Link(cell.name, f"#receipt-{slug(cell.name)}")],
            [ledger.number(f"{key}/trials", ended, group, "trials that ended")],
            ["-" if best is None else ledger.number(f"{key}/best", best, group, how, metric_text(best))],
            *(_chosen_parts(ledger, f"{key}/{name}", cell, name, group) for name in knobs),
        ]
        if repeated:
            row += [
                _sd_parts(ledger, f"{key}/tuning_sd", numbers.tuning_sd, seeds_group(cell), "tuning"),
                _sd_parts(ledger, f"{key}/seeds_sd", numbers.seeds_sd, seeds_group(cell), "seeds of one winner"),
            ]
        rows.append(row)
    head = ["cell", "trials", f"best {metric_label(ablation.metric)}", *(f"best {name}" for name in knobs)]
    return Table([*head, *(["sd, tuning", "sd, seeds"] if repeated else [])], rows)


def _sd_parts(ledger: Ledger, key: str, sd: float | None, group: str, what: str) -> Parts:
    how = f"standard deviation between repetitions that {what} explains"
    return ["-"] if sd is None else [ledger.number(key, sd, group, how, metric_text(sd))]


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


def _chosen_parts(ledger: Ledger, key: str, cell: RecordedCell, knob: str, group: str) -> Parts:
    """Return a tuned knob's value in the best trial, or over the winners of repetitions its median and range."""
    chosen = [winner.chosen[knob] for winner in cell.winners.values() if knob in winner.chosen]
    value = winning_value(cell, knob)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ["-" if value is None else ", ".join(sorted({knob_text(one) for one in chosen}))]

    def number(name: str, value: float, how: str) -> Inline:
        return ledger.number(f"{key}{name}", float(value), group, how, knob_text(float(value)))

    if len(chosen) == 1:
        return [number("", value, "value in the best trial")]
    low, high = min(chosen), max(chosen)
    return [
        number("", value, "median over the winners of all repetitions"),
        " (",
        number("/low", low, "lowest value of a winner"),
        " to ",
        number("/high", high, "highest value of a winner"),
        ")",
    ]


def fixed_blocks(ablation: RecordedAblation) -> list[Block]:
    """Return the caveats, and every knob that was not varied."""
    definition = ablation.definition
    items: list[Parts] = [[text] for text in definition.caveats]
    if match := definition.match:
        items.append([f"{match.knob} was solved for in every cell: {match.target} {match.what}."])
    knobs = joined([[Code(name), f" {knob_text(value)}"] for name, value in sorted(definition.fixed.items())])
    blocks: list[Block] = [Bullets(items)] if items else []
    return [*blocks, Paragraph(["The answer holds for these knobs, which were not varied: ", *knobs, "."])]
