"""The sections of an ablation's report on verdicts, results and receipts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from knobs.ablation import ClaimVerdict
from knobs.numbers import metric_text, p_text, signed_text
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.runs import RecordedRun
from knobs.record.schema import Artifact, Tag
from knobs.report.ablation.cells import cells_of_claim
from knobs.report.checks import Finding
from knobs.report.common_sections import picture, review_hint
from knobs.report.figures.panels import ordered_factor
from knobs.report.figures.style import metric_label
from knobs.report.formats.document import (
    Anchor,
    Block,
    Bullets,
    Code,
    Fence,
    Inline,
    Link,
    Paragraph,
    Parts,
    Section,
    Strong,
    Table,
    joined,
    slug,
)
from knobs.report.receipts import Ledger

MOST_DIGESTS = 20
"""Trials of a cell that are listed."""

TONES = {"supported": "good", "contradicted": "bad", "undecided": "open"}


def verdict_blocks(
    ablation: RecordedAblation, verdicts: Sequence[ClaimVerdict], findings: Sequence[Finding], ledger: Ledger
) -> list[Block]:
    """Return a line per claim. While something is missing every claim is undecided."""
    items = [_verdict_line(ablation, i, verdict, ledger) for i, verdict in enumerate(verdicts, 1)]
    blocks: list[Block] = [Bullets(items)] if items else [Paragraph(["It makes no claim."])]
    if any(verdict.result for verdict in verdicts) and not ablation.missing:
        unit = ablation.definition.unit
        remark = f"Effect with its 95% interval; p corrected for all claims together (Holm); n is {unit}s, paired."
        if unit == "seed" and ablation.spaces:
            remark += (
                " Every cell was tuned once: verdicts hold for this one tuning, and another may choose other values."
            )
        blocks.append(Paragraph([remark], quiet=True))
    return [*blocks, *review_hint(findings)]


def _verdict_line(ablation: RecordedAblation, i: int, verdict: ClaimVerdict, ledger: Ledger) -> Parts:
    word = "undecided" if ablation.missing else verdict.verdict
    parts: list[Inline] = [Strong(word, TONES[word]), f": {verdict.claim.text}"]
    result = verdict.result
    if ablation.missing or result is None:
        reason = "the ablation is not finished" if ablation.missing else verdict.note
        return [*parts, f" ({reason})"]
    group, metric = f"claim {i}", verdict.claim.metric
    how = f"effect on {metric}"

    def number(name: str, value: float, text: str, more: str = "") -> Inline:
        return ledger.number(f"claim/{i}/{name}", value, group, how + more, text)

    low, high = result.interval
    parts += [" — effect ", number("effect", result.effect, signed_text(result.effect))]
    parts += [" [", number("low", low, signed_text(low), ", lower end of its 95% interval"), ", "]
    parts += [number("high", high, signed_text(high), ", upper end of its 95% interval"), "]"]
    if new := ablation.new_samples_interval(verdict):
        parts += [" (for new samples [", number("new/low", new[0], signed_text(new[0]), ", for new test samples"), ", "]
        parts += [number("new/high", new[1], signed_text(new[1]), ", for new test samples"), "])"]
    parts.append(", p ")
    parts += [number("p", result.p, p_text(result.p), ", p corrected over all claims"), ", n "]
    parts.append(number("n", result.n, str(result.n), f", {ablation.definition.unit}s"))
    if result.look is not None:
        parts.append(f", decided after {result.look} repetitions")
    note = f" ({verdict.note})" if verdict.note else ""
    return [*parts, note, " · ", Link(f"runs of claim {i}", f"#receipt-claim-{i}")]


def result_blocks(ablation: RecordedAblation, figures: Mapping[str, object]) -> list[Block]:
    """Return the main figures, the references and the derived numbers."""
    over = ", ".join(ablation.factors)
    marks = "line and band" if ordered_factor(ablation) is not None else "dot and bar"
    shown = metric_label(ablation.shown)
    caption = f"Mean ({marks}) with its 95% interval; small marks are single {ablation.definition.unit}s."
    blocks: list[Block] = [picture("main", f"{shown} over {over}", caption)]
    if "heat" in figures:
        blocks.append(picture("heat", f"{shown} by {over}", "The same means at a glance."))
    drawn = [reference for reference in ablation.references if reference.metric == ablation.shown]
    others = [reference for reference in ablation.references if reference.metric != ablation.shown]
    for text, references in (("Dotted lines", drawn), ("References", others)):
        items: list[Parts] = [[f"{r.name}, {r.metric} {metric_text(r.value)}: {r.source}"] for r in references]
        blocks += [Paragraph([f"{text} were not trained here:"]), Bullets(items)] if items else []
    derived: list[Parts] = [[Code(one.name), f": {one.text}"] for one in ablation.definition.derived]
    blocks += [Paragraph(["Computed from every seed's records:"]), Bullets(derived)] if derived else []
    return blocks


def curve_sections(ablation: RecordedAblation, figures: Mapping[str, object]) -> list[Section]:
    """Return the section of learning curves; none if runs were validated only once."""
    if "curves" not in figures:
        return []
    caption = "Line: mean over the seeds that finished. Band: from the lowest to the highest seed."
    over = f"{metric_label(ablation.metric)} over optimizer steps"
    return [Section("Learning curves", [picture("curves", over, caption)])]


def sample_sections(ablation: RecordedAblation) -> list[Section]:
    """Return the section of texts that the networks wrote; none if the data set makes no samples."""
    texts = {cell.name: text for cell in ablation.cells if (text := _first_sample(ablation, cell.seeds))}
    if not texts:
        return []
    about = Paragraph(
        ["Made by the first seed of each cell; the rest are artifacts of their runs, ", Code(Artifact.SAMPLE), "."]
    )
    blocks: list[Block] = [block for name, text in texts.items() for block in (Paragraph([Strong(name)]), Fence(text))]
    return [Section("Samples", [about, *blocks])]


def _first_sample(ablation: RecordedAblation, seeds: Sequence[RecordedRun]) -> str:
    having = (seed for seed in seeds if seed.finished and seed.tag(Tag.SAMPLE))
    texts = (ablation.tracker.text(seed.row, Artifact.SAMPLE) for seed in having)
    return next((text for text in texts if text is not None), "")


def reproduce_blocks(ablation: RecordedAblation) -> list[Block]:
    """Return the commands that run it again, and what they compare."""
    definition = ablation.definition
    file = ablation.name.removesuffix("-quick") if definition.quick else ablation.name
    quick = " --quick" if definition.quick else ""
    cell = next((c.name for c in ablation.cells if c.seeds), ablation.cells[0].name)
    lines = [
        f"knobs ablate {shlex.quote(file)}{quick} --repetitions {definition.repetitions} --trials {definition.trials} "
        f"--seeds {definition.seeds}{' --until-decided' if definition.looks else ''}",
        f"knobs report {shlex.quote(ablation.name)} --against DIR",
        f"knobs reproduce --cell {shlex.quote(' '.join(cell.split()))} --report DIR",
        "knobs reproduce RUN_ID",
    ]
    about: Parts = [
        "The first two commands run all of it again, in any store, and compare it with this report number by number "
        "(DIR is the folder of this report). The other two train one cell's seeds, or one run of this store (ids are "
        "in ", Link("receipts.json", "receipts.json"), "), and compare every value.",
    ]  # fmt: skip
    return [Fence("\n".join(lines)), Paragraph(about)]


def receipt_blocks(ablation: RecordedAblation, verdicts: Sequence[ClaimVerdict]) -> list[Block]:
    """Return the runs behind each claim and each cell, with their digests."""
    about: Parts = [
        "A cell's numbers come from the runs in its row, each shown with the start of its digest, the hash of config "
        "and data. ", Link("receipts.json", "receipts.json"), " has every number with its runs, and each run's id, "
        "digest, seed, code, commit, diff, data, packages, machine and values.",
    ]  # fmt: skip
    rows: list[Sequence[Parts]] = [
        [
            [Anchor(f"receipt-{slug(cell.name)}", cell.name)],
            _digests(cell.seeds),
            _digests(cell.trials) if len(cell.trials) <= MOST_DIGESTS else _counted(cell.trials),
        ]
        for cell in ablation.cells
    ]
    claims: list[Parts] = [
        [Anchor(f"receipt-claim-{i}", f"claim {i}"), ": the seeds of ", *_cell_links(ablation, verdict)]
        for i, verdict in enumerate(verdicts, 1)
    ]
    blocks: list[Block] = [Paragraph(about), Bullets(claims)] if claims else [Paragraph(about)]
    return [*blocks, Table(["cell", "seeds", "trials"], rows, left=frozenset({0, 1, 2}))]


def _counted(runs: Sequence[RecordedRun]) -> Parts:
    return [f"{len(runs)}, in ", Link("receipts.json", "receipts.json")]


def _digests(runs: Sequence[RecordedRun]) -> Parts:
    return joined([[f"{run.key.rpartition('/')[2]} ", Code(run.tag(Tag.DIGEST)[:8])] for run in runs]) or ["none"]


def _cell_links(ablation: RecordedAblation, verdict: ClaimVerdict) -> Parts:
    found = cells_of_claim(verdict, ablation)
    return joined([[Link(cell.name, f"#receipt-{slug(cell.name)}")] for cell in found])
