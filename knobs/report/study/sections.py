"""The sections of a study's report that are tables, captions and lists."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from knobs.numbers import knob_text, metric_text, share_text
from knobs.record.knob_range import KnobRange
from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import RecordedRun
from knobs.record.schema import Metric, Tag
from knobs.record.states import StateName
from knobs.report.checks import Finding
from knobs.report.common_sections import picture, review_hint
from knobs.report.figures.style import metric_label
from knobs.report.formats.document import (
    Anchor,
    Block,
    Bullets,
    Code,
    DataTable,
    Fence,
    Folded,
    Link,
    Paragraph,
    Parts,
    Picture,
    Strong,
    Table,
    joined,
)
from knobs.report.receipts import Ledger
from knobs.search import FEWEST_TRIALS, LEARNS_FROM, RESAMPLES, Importance

LISTED = 10
"""The best trials that are listed."""


FRESH = "fresh seeds of the winner"
"""Group of the ledger."""


def trial_group(trial: RecordedRun) -> str:
    """Return the name of the ledger's group of one trial."""
    return f"trial {trial.key}"


def result_blocks(study: RecordedStudy, findings: Sequence[Finding], ledger: Ledger) -> list[Block]:
    """Return the best trial's values, and the baseline's."""
    items: list[Parts] = []
    if study.ranked:
        best, metric = study.ranked[0], metric_label(study.metric)
        value = best.value(study.metric) or 0.0
        shown = ledger.number("best/value", value, trial_group(best), study.metric, metric_text(value))
        items.append([Strong(f"best: {best.key}", "good"), f", {metric} ", shown, *_tested_parts(best, ledger)])
        first = next((trial for trial in study.finished if trial.row.trial == 0), None)
        baseline = first if study.definition.baseline_first else None
        if baseline is not None and (start := baseline.value(study.metric)) is not None:
            ledger.add_group("the baseline", [baseline], "receipts")
            how = f"{study.metric} of trial 0"
            number = ledger.number("baseline/value", start, "the baseline", how, metric_text(start))
            items.append(["the baseline (trial 0) had ", number])
    blocks: list[Block] = [Bullets(items)] if items else [Paragraph(["No trial finished."])]
    return [*blocks, *review_hint(findings)]


def _tested_parts(best: RecordedRun, ledger: Ledger) -> Parts:
    parts: list[Parts] = [
        [
            f"{metric_label(name)} ",
            ledger.number(f"best/{name}", value, trial_group(best), name, metric_text(value)),
        ]
        for name, value in best.tested.items()
    ]
    return ["; on the test split, read once: ", *joined(parts)] if parts else []


def best_table(study: RecordedStudy, ledger: Ledger) -> Table:
    """Return a row per best trial: value, step, chosen knobs."""
    best = study.ranked[:LISTED]
    knobs = [name for name in study.space if any(name in trial.chosen for trial in best)]
    rows: list[Sequence[Parts]] = []
    replicated = any(trial.row.replicated for trial in best)
    for trial in best:
        value, group, key = trial.value(study.metric) or 0.0, trial_group(trial), f"trial/{trial.key}"
        step = trial.row.metrics.get(Metric.BEST_STEP, 0.0)
        cells: list[Parts] = [
            [Link(trial.key, f"#receipt-{trial.key}")],
            [ledger.number(f"{key}/value", value, group, study.metric, metric_text(value))],
            *([_error_parts(study, trial, ledger)] if replicated else []),
            [ledger.number(f"{key}/step", step, group, "step of the chosen checkpoint")],
        ]
        for name in knobs:
            chosen = trial.chosen.get(name)
            if isinstance(chosen, bool) or not isinstance(chosen, int | float):
                cells.append(["-" if chosen is None else knob_text(chosen)])
            else:
                text = knob_text(float(chosen))
                cells.append([ledger.number(f"{key}/{name}", float(chosen), group, f"{name} of the trial", text)])
        rows.append(cells)
    errors = ["standard error"] * replicated
    words = {3 + replicated + i for i, name in enumerate(knobs) if study.space[name].choices}
    titles = ["trial", metric_label(study.metric), *errors, "at step", *knobs]
    return Table(titles, rows, left=frozenset({0} | words))


def _error_parts(study: RecordedStudy, trial: RecordedRun, ledger: Ledger) -> Parts:
    error = study.error(trial)
    if error is None:
        return ["-"]
    how = f"standard error of {study.metric} over the trial's replicates"
    return [ledger.number(f"trial/{trial.key}/error", error, trial_group(trial), how, metric_text(error))]


def fresh_blocks(study: RecordedStudy, ledger: Ledger) -> list[Block]:
    """Return the means over the winner's fresh seeds, beside the search's own value."""
    found, best = study.confirmations, study.ranked[0]
    count = ledger.number("fresh/seeds", len(found[0].values), FRESH, "fresh seeds that finished")
    rows: list[Sequence[Parts]] = []
    for one in found:
        key, name = f"fresh/{one.metric}", metric_label(one.metric)
        cells: list[Parts] = [[name], ["-"], ["-"], ["-"], ["-"], ["-"]]
        if one.mean is None:
            value = one.values[0]
            cells[1] = [ledger.number(f"{key}/mean", value, FRESH, one.metric, metric_text(value))]
        else:
            shown = {
                "mean": float(one.mean.value), "low": float(one.mean.low), "high": float(one.mean.high),
                "sd": float(one.mean.se) * len(one.values) ** 0.5,
            }  # fmt: skip
            numbers = {
                part: ledger.number(f"{key}/{part}", value, FRESH, f"{part} of {one.metric}", metric_text(value))
                for part, value in shown.items()
            }
            cells[1:4] = [[numbers["mean"]], ["[", numbers["low"], ", ", numbers["high"], "]"], [numbers["sd"]]]
        if one.searched is not None:
            value = one.searched
            cells[4] = [ledger.number(f"{key}/searched", value, trial_group(best), one.metric, metric_text(value))]
        if one.better_by is not None:
            how = f"{one.metric} of the search less the mean of the fresh seeds, in their standard deviations"
            text = f"{one.better_by:+.1f}"
            cells[5] = [ledger.number(f"{key}/better_by", one.better_by, FRESH, how, text)]
        rows.append(cells)
    titles = ["metric", "mean", "95% interval", "sd, seeds", "in the search", "better by (sd)"]
    about: Parts = [
        f"{best.key} trained again with ", count, " seeds that the search did not have. The search's own value is the "
        "best of many, so luck favours it: the last column says by how much.",
    ]  # fmt: skip
    return [Paragraph(about), Table(titles, rows)]


def curve_blocks(figures: Mapping[str, object]) -> list[Block]:
    """Return the figure of learning curves."""
    if "curves" not in figures:
        return [Paragraph(["No trial finished."])]
    return [picture("curves", "Learning curves of the best trials", "The best trials and the baseline.")]


def importance_blocks(study: RecordedStudy, shares: Mapping[str, Importance], ledger: Ledger) -> list[Block]:
    """Return the importance of each knob, with intervals."""
    if not shares:
        return [Paragraph([f"Fewer than {FEWEST_TRIALS} trials finished: too few to compare the knobs."])]
    caption = (
        "How much a knob's choice sets the best trials apart from all (PED-ANOVA: the top tenth, at least 5); "
        f"the interval is over {RESAMPLES} resamples of the trials. If intervals overlap, the order is open."
    )
    rows: list[Sequence[Parts]] = []
    for name, share in shares.items():
        numbers = [
            ledger.number(
                f"importance/{name}/{part}", value, "finished trials", f"PED-ANOVA, {part}", share_text(value)
            )
            for part, value in (("value", share.value), ("low", share.low), ("high", share.high))
        ]
        rows.append([[Code(name)], [numbers[0]], ["[", numbers[1], ", ", numbers[2], "]"], [study.space[name].text]])
    table = Table(["knob", "importance", "95% interval", "space"], rows, left=frozenset({0, 3}))
    drawn = picture("importances", "Importance of each knob", caption)
    return [drawn, Folded("The same as numbers", [table])]


def slice_blocks(figures: Mapping[str, object], top: Sequence[KnobRange]) -> list[Block]:
    """Return the figures of trials over the most important knobs."""
    if "slices" not in figures:
        return [Paragraph(["No trial finished."])]
    names = joined([[Code(knob.name)] for knob in top])
    caption: Parts = [
        "Every finished trial over ", *names, "; from green (first) to blue (last), the best is ringed. A sampler "
        "prefers regions with good values, so trials are not spread evenly.",
    ]  # fmt: skip
    blocks: list[Block] = [Picture("slices", "Every trial over each of the top knobs", caption)]
    if "interactions" in figures:
        ranked = "Pairs of the top knobs; the colour is a trial's rank, the best drawn last."
        blocks.append(picture("interactions", "Pairs of the top knobs", ranked))
    return blocks


def fixed_blocks(study: RecordedStudy) -> list[Block]:
    """Return the space, the search, and every knob outside of the space."""
    definition = study.definition
    baseline = definition.baseline
    rows: list[Sequence[Parts]] = [
        [[Code(name)], [knob.text], [knob_text(baseline.get(name, "-"))]] for name, knob in study.space.items()
    ]
    fixed = joined([[Code(k), f" {knob_text(v)}"] for k, v in sorted(baseline.items()) if k not in study.space])
    sees = (
        f"each trial is proposed from the trials that lie {definition.feedback_lag} or more before it"
        if definition.sampler in LEARNS_FROM
        else "no trial is proposed from others"
    )
    search = (
        f"Sampler {definition.sampler}, pruner {definition.pruner}, seed {definition.seed}; {sees}; towards the "
        f"{'highest' if study.direction == 'maximize' else 'lowest'} {study.metric}."
    )
    made = definition.replicates
    per_trial = made["seeds"] * max(1, len(made["values"]))
    if per_trial > 1:
        over = f" and the values of {made['knob']}: {', '.join(map(str, made['values']))}" if made["knob"] else ""
        seeds = f"{made['seeds']} seed{'s' * (made['seeds'] > 1)}"
        search += f" A trial's value is the mean over {per_trial} replicates: {seeds}{over}."
    return [
        Table(["knob", "space", "baseline"], rows, left=frozenset({0, 1, 2})),
        Paragraph([search]),
        Paragraph(["Not varied: ", *fixed, "."]),
    ]


def reproduce_blocks(study: RecordedStudy) -> list[Block]:
    """Return the commands that run it again, and what they compare."""
    name, made = shlex.quote(study.name), study.definition
    flags = f"--trials {made.trials} --sampler {made.sampler} --pruner {made.pruner} --seed {made.seed}"
    flags += f" --confirm {len(study.fresh_seeds)}" if study.fresh_seeds else ""
    lines = [f"knobs study {name} {flags}", f"knobs report {name} --against DIR"]
    lines += [f"knobs reproduce --cell {trial.key} --report DIR" for trial in study.ranked[:1]]
    lines.append("knobs reproduce RUN_ID")
    about: Parts = [
        "The first two commands run all of it again, in any store, if the study's file is as it was, and compare it "
        "with this report number by number (DIR is this report's folder). The others train the best trial, or one run "
        "of this store (ids are in ", Link("receipts.json", "receipts.json"), "), and compare every value.",
    ]  # fmt: skip
    return [Fence("\n".join(lines)), Paragraph(about)]


def receipt_blocks(study: RecordedStudy) -> list[Block]:
    """Return the digests of the best trials; `receipts.json` holds the rest."""
    about: Parts = [
        Link("receipts.json", "receipts.json"), " has every number with its runs, and each run's id, digest (the hash "
        "of config and data), seed, code, commit, diff, data, packages, machine and values. The best trials:",
    ]  # fmt: skip
    rows: list[Sequence[Parts]] = [
        [[Anchor(f"receipt-{t.key}", t.key)], [Code(t.tag(Tag.DIGEST)[:16])], [Code(t.tag(Tag.CODE))]]
        for t in study.ranked[:LISTED]
    ]
    return [Paragraph(about), Table(["trial", "digest", "code"], rows, left=frozenset({0, 1, 2}))]


def trial_data(study: RecordedStudy) -> DataTable:
    """Return a row per trial in full precision."""
    knobs = list(study.space)
    rows: list[Sequence[object]] = []
    for trial in study.trials:
        state = StateName.FINISHED if trial.finished else trial.state
        step = trial.row.metrics.get(Metric.BEST_STEP)
        errors = [study.error(trial)] if study.replicates else []
        cells = [knob_text(v) if isinstance(v := trial.chosen.get(k), list | tuple) else v for k in knobs]
        steps = None if step is None else int(step)
        rows.append([trial.key, state, trial.value(study.metric), *errors, steps, *cells, trial.tag(Tag.DIGEST)])
    error = ["standard_error"] if study.replicates else []
    return DataTable(["trial", "state", study.metric, *error, "best_step", *knobs, "digest"], rows)
