"""The sections of a study's report that are tables, captions and lists."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from knobs.numbers import knob_text, metric_text
from knobs.record.knob_range import KnobRange
from knobs.record.recorded import StudyRecord
from knobs.report.common_sections import Data, picture
from knobs.report.figures.style import label
from knobs.report.formats.document import (
    Anchor,
    Block,
    Code,
    Fence,
    Folded,
    Link,
    Paragraph,
    Parts,
    Picture,
    Table,
    joined,
)
from knobs.report.receipts import Ledger
from knobs.search import Importance
from knobs.search.importance import FEWEST_TRIALS, RESAMPLES

BEST = 10
"""Trials that are listed."""


def best_table(record: StudyRecord, ledger: Ledger) -> Table:
    """The best trials: value, step, what the sampler chose."""
    knobs = [name for name in record.space if any(name in t.asked[0] for t in record.ranked[:BEST])]
    rows: list[Sequence[Parts]] = []
    for trial in record.ranked[:BEST]:
        value, group = trial.value(record.metric) or 0.0, f"trial {trial.key}"
        step = trial.row.metrics.get("best/step", 0.0)
        cells: list[Parts] = [
            [Link(trial.key, f"#receipt-{trial.key}")],
            [ledger.number(f"trial/{trial.key}/value", value, group, record.metric, metric_text(value))],
            [ledger.number(f"trial/{trial.key}/step", step, group, "step of the chosen checkpoint")],
        ]
        for name in knobs:
            chosen = trial.asked[0].get(name)
            if isinstance(chosen, bool) or not isinstance(chosen, int | float):
                cells.append(["-" if chosen is None else knob_text(chosen)])
            else:
                key, text = f"trial/{trial.key}/{name}", f"{chosen:.4g}"
                cells.append([ledger.number(key, float(chosen), group, f"{name} of the trial", text)])
        rows.append(cells)
    words = {3 + i for i, name in enumerate(knobs) if record.space[name].choices}
    return Table(["trial", label(record.metric), "at step", *knobs], rows, left=frozenset({0} | words))


def files_note() -> Block:
    """Where the rest of the numbers are."""
    more: Parts = [
        Link("table.csv", "table.csv"), " has every trial in full precision, ", Link("times.csv", "times.csv"),
        " the training times, which are outside of every comparison.",
    ]  # fmt: skip
    return Paragraph(more, quiet=True)


def curve_blocks(figures: Mapping[str, object]) -> list[Block]:
    """How the best trials learned."""
    if "curves" not in figures:
        return [Paragraph(["No trial finished."])]
    return [Picture("curves", "Learning curves of the best trials", ["The best trials and the baseline."])]


def importance_blocks(
    record: StudyRecord, shares: Mapping[str, Importance], figures: Mapping[str, object], ledger: Ledger
) -> list[Block]:
    """Which knobs mattered, with how sure that is."""
    if not shares:
        return [Paragraph([f"Fewer than {FEWEST_TRIALS} trials finished: too few to say which knobs mattered."])]
    about = (
        "How much a knob's choice sets the best trials apart from all (PED-ANOVA: the top tenth, at least 5); "
        f"the interval is over {RESAMPLES} resamples of the trials. Where intervals overlap, the order is open."
    )
    rows: list[Sequence[Parts]] = []
    for name, share in shares.items():
        numbers = [
            ledger.number(f"importance/{name}/{what}", value, "finished trials", f"PED-ANOVA, {what}", f"{value:.2f}")
            for what, value in (("value", share.value), ("low", share.low), ("high", share.high))
        ]
        rows.append([[Code(name)], [numbers[0]], ["[", numbers[1], ", ", numbers[2], "]"], [record.space[name].text]])
    table = Table(["knob", "importance", "95% interval", "space"], rows, left=frozenset({0, 3}))
    picture = Picture("importances", "Importance of each knob", [about])
    return [picture, Folded("The same as numbers", [table])] if "importances" in figures else [table]


def slice_blocks(figures: Mapping[str, object], top: Sequence[KnobRange]) -> list[Block]:
    """Where the good values lie."""
    if "slices" not in figures:
        return [Paragraph(["No trial finished."])]
    names = joined([[Code(knob.name)] for knob in top])
    caption: Parts = [
        "Every finished trial over ", *names, "; from green (first) to blue (last), the best is ringed. A sampler "
        "looks where it was good, so trials are not spread evenly.",
    ]  # fmt: skip
    blocks: list[Block] = [Picture("slices", "Every trial over each of the top knobs", caption)]
    if "interactions" in figures:
        ranked = "Pairs of the top knobs; the colour is a trial's rank, the best drawn last."
        blocks.append(picture("interactions", "Pairs of the top knobs", ranked))
    return blocks


def fixed_blocks(record: StudyRecord) -> list[Block]:
    """The space, the search, and every knob outside of it."""
    told = record.told
    rows: list[Sequence[Parts]] = [
        [[Code(name)], [knob.text], [knob_text(told["baseline"].get(name, "-"))]] for name, knob in record.space.items()
    ]
    fixed = joined(
        [[Code(k), f" {knob_text(v)}"] for k, v in sorted(told["baseline"].items()) if k not in record.space]
    )
    search = (
        f"Sampler {told['sampler']}, pruner {told['pruner']}, seed {told['seed']}; a trial is asked for once the "
        f"trials {told['lag']} and more before it are known; towards the {'highest' if record.maximize else 'lowest'}"
        f" {record.metric}."
    )
    return [
        Table(["knob", "space", "baseline"], rows, left=frozenset({0, 1, 2})),
        Paragraph([search]),
        Paragraph(["Not varied: ", *fixed, "."]),
    ]


def reproduce_blocks(record: StudyRecord) -> list[Block]:
    """The commands."""
    name, told = shlex.quote(record.name), record.told
    flags = f"--trials {told['trials']} --sampler {told['sampler']} --pruner {told['pruner']} --seed {told['seed']}"
    lines = [f"knobs study {name} {flags}", f"knobs report {name} --against DIR"]
    lines += [f"knobs reproduce --cell {trial.key} --report DIR" for trial in record.ranked[:1]]
    lines.append("knobs reproduce RUN_ID")
    about: Parts = [
        "All of it again, in any store, if the study's file is as it was; then compared with this report, number by "
        "number (DIR is this report's folder). Or the best trial, or one run of this store (ids are in ",
        Link("receipts.json", "receipts.json"), "), compared value by value.",
    ]  # fmt: skip
    return [Fence("\n".join(lines)), Paragraph(about)]


def receipt_blocks(record: StudyRecord) -> list[Block]:
    """The best trials' digests; the rest is in a file."""
    about: Parts = [
        Link("receipts.json", "receipts.json"), " has every number with its runs, and each run's id, digest (the hash "
        "of config and data), seed, code, commit, diff, data, packages, machine and values. The best trials:",
    ]  # fmt: skip
    rows: list[Sequence[Parts]] = [
        [[Anchor(f"receipt-{t.key}", t.key)], [Code(t.tag("digest")[:16])], [Code(t.tag("code"))]]
        for t in record.ranked[:BEST]
    ]
    return [Paragraph(about), Table(["trial", "digest", "code"], rows, left=frozenset({0, 1, 2}))]


def trial_data(record: StudyRecord) -> Data:
    """Every trial, full precision."""
    knobs = list(record.space)
    rows: list[Sequence[object]] = []
    for trial in record.trials:
        chosen = trial.asked[0]
        state = "finished" if trial.finished else trial.state
        step = trial.row.metrics.get("best/step")
        cells = [knob_text(v) if isinstance(v := chosen.get(k), list | tuple) else v for k in knobs]
        steps = None if step is None else int(step)
        rows.append([trial.key, state, trial.value(record.metric), steps, *cells, trial.tag("digest")])
    return Data(["trial", "state", record.metric, "best_step", *knobs, "digest"], rows)
