"""The report of an ablation, in the order a reader wants."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from matplotlib.figure import Figure

from knobs.ablation import ClaimVerdict
from knobs.numbers import metric_text, p_text, signed_text
from knobs.record.knob_range import union
from knobs.record.recorded import AblationRecord, Ran
from knobs.report.ablation.cells import CellNumbers, cell_numbers, cells_of, claim_verdicts
from knobs.report.ablation.review import ablation_findings, seeds_of, trials_of
from knobs.report.ablation.table import cell_data, cell_table, note_blocks
from knobs.report.ablation.tuning import fixed_blocks, tuning_blocks
from knobs.report.checks import Finding
from knobs.report.common_sections import (
    Report,
    failures_section,
    picture,
    provenance_section,
    review_section,
    times_table,
)
from knobs.report.figures.ablation import draw_heat, draw_main, heat_factors
from knobs.report.figures.ablation_curves import draw_learning_curves, draw_nuisance, draw_tuning
from knobs.report.figures.panels import ordered_factor
from knobs.report.figures.style import label
from knobs.report.formats.document import (
    Anchor,
    Block,
    Bullets,
    Code,
    Document,
    Fence,
    Inline,
    Link,
    Paragraph,
    Parts,
    Section,
    Strong,
    Table,
    joined,
)
from knobs.report.receipts import Ledger, slug

TONES = {"supported": "good", "contradicted": "bad", "undecided": "open"}


def ablation_report(record: AblationRecord) -> Report:
    """Everything that the report says, and the runs behind it."""
    ledger = Ledger()
    ends: list[tuple[str, Sequence[Ran]]] = []
    for cell in record.cells:
        ends += [(trials_of(cell), cell.trials), (seeds_of(cell), cell.seeds)]
        ledger.group(trials_of(cell), cell.trials, f"receipt-{slug(cell.name)}")
        ledger.group(seeds_of(cell), cell.seeds, f"receipt-{slug(cell.name)}")
    ledger.group("all trials", [t for cell in record.cells for t in cell.trials], "receipts")
    ledger.group("all seeds", [s for cell in record.cells for s in cell.seeds], "receipts")
    ledger.group("all runs", record.runs, "receipts")
    rows, rulings = cell_numbers(record), claim_verdicts(record)
    for i, ruling in enumerate(rulings, 1):
        ledger.group(f"claim {i}", [s for c in cells_of(ruling, record) for s in c.seeds], f"receipt-claim-{i}")
    findings = ablation_findings(record, rows, rulings, ledger)
    figures = _figures(record, rows, ledger)
    table = cell_table(record, rows, ledger)
    sections = [
        Section("Verdicts", _verdicts(record, rulings, findings, ledger)),
        Section("What it shows", _main(record, figures)),
        Section(f"Cells: {label(record.shown)}", [table, *note_blocks(record, rows)]),
        *_samples(record),
        *_curves(record, figures),
        Section("Tuning", tuning_blocks(record, ledger, figures)),
        Section("What was fixed", fixed_blocks(record)),
        failures_section(ends, ledger),
        review_section(findings),
        Section("How to reproduce", _reproduce(record)),
        provenance_section(record, record.runs),
        Section("Receipts", _receipts(record, rulings)),
    ]
    document = Document(
        title=record.told["question"],
        subtitle=_subtitle(record, ledger),
        lead=[Paragraph([f"Expected, written before it ran: {record.told['claim']}"])],
        sections=sections,
        banner=_banner(record),
    )
    configs = {c.name: c.seeds[0].tag("config") for c in record.cells if c.seeds}
    return Report(
        record, record.runs, ledger, document, figures, cell_data(record, rows), table, times_table(ends), configs
    )


def _subtitle(record: AblationRecord, ledger: Ledger) -> Parts:
    kind = "ablation, quick preset" if record.told["quick"] else "ablation"
    trials = sum(len(cell.trials) for cell in record.cells)
    seeds = sum(len(cell.seeds) for cell in record.cells)
    return [
        Code(record.name),
        f" · {kind} · {'incomplete' if record.missing else 'complete'} · {len(record.cells)} cells, ",
        ledger.number("size/trials", trials, "all trials", "recorded trials"),
        " trials, ",
        ledger.number("size/seeds", seeds, "all seeds", "recorded seeds"),
        " seeds",
    ]


def _banner(record: AblationRecord) -> Parts:
    said = []
    if record.missing:
        more = f" and {len(record.missing) - 6} more cells" if len(record.missing) > 6 else ""
        said.append(f"Incomplete, so every claim is undecided: {'; '.join(record.missing[:6])}{more}.")
    if record.told["quick"]:
        said.append("Quick preset: fewer trials, seeds and steps than the whole; not for conclusions.")
    return [" ".join(said)] if said else []


def _verdicts(
    record: AblationRecord, rulings: Sequence[ClaimVerdict], findings: Sequence[Finding], ledger: Ledger
) -> list[Block]:
    items = [_verdict(record, i, ruling, ledger) for i, ruling in enumerate(rulings, 1)]
    blocks: list[Block] = [Bullets(items)] if items else [Paragraph(["It makes no claim."])]
    if any(ruling.verdict for ruling in rulings) and not record.missing:
        remark = "Effect with its 95% interval; p corrected for all claims together (Holm); n is seeds, paired."
        blocks.append(Paragraph([remark], quiet=True))
    if looks := sum(not finding.fine for finding in findings):
        many = "1 point" if looks == 1 else f"{looks} points"
        blocks.append(Paragraph([Strong(f"{many} to look at", "open"), " in the ", Link("review", "#review"), "."]))
    return blocks


def _verdict(record: AblationRecord, i: int, ruling: ClaimVerdict, ledger: Ledger) -> Parts:
    word = "undecided" if record.missing else ruling.word
    parts: list[Inline] = [Strong(word, TONES[word]), f": {ruling.claim.text}"]
    made = ruling.verdict
    if record.missing or made is None:
        why = "the ablation is not finished" if record.missing else ruling.note
        return [*parts, f" ({why})"]
    group, metric = f"claim {i}", ruling.claim.metric
    how = f"effect on {metric}"

    def number(what: str, value: float, text: str, more: str = "") -> Inline:
        return ledger.number(f"claim/{i}/{what}", value, group, how + more, text)

    low, high = made.interval
    parts += [" — effect ", number("effect", made.effect, signed_text(made.effect))]
    parts += [" [", number("low", low, signed_text(low), ", lower end of its 95% interval"), ", "]
    parts += [number("high", high, signed_text(high), ", upper end of its 95% interval"), "], p "]
    parts += [number("p", made.p, p_text(made.p), ", p corrected over all claims"), ", n "]
    parts.append(number("n", made.n, str(made.n), ", seeds"))
    note = f" ({ruling.note})" if ruling.note else ""
    return [*parts, note, " · ", Link(f"runs of claim {i}", f"#receipt-claim-{i}")]


def _figures(record: AblationRecord, rows: Sequence[CellNumbers], ledger: Ledger) -> dict[str, Callable[[], Figure]]:
    made: dict[str, Callable[[], Figure]] = {"main": lambda: draw_main(record, rows)}
    ledger.figure("main", "all seeds", f"{record.shown}: mean, 95% interval, every seed")
    if (crossed := heat_factors(record)) and any(row.mean for row in rows):
        made["heat"] = lambda: draw_heat(record, rows, *crossed)
        ledger.figure("heat", "all seeds", f"mean of {record.shown}")
    if any(len(seed.curve(record.metric)) > 1 for cell in record.cells for seed in cell.seeds):
        made["curves"] = lambda: draw_learning_curves(record)
        ledger.figure("curves", "all seeds", f"{record.metric} at every validation: mean, lowest and highest seed")
    if record.spaces:
        made["tuning"] = lambda: draw_tuning(record)
        ledger.figure("tuning", "all trials", f"expected best {record.metric} of n trials")
    for i, knob in enumerate((union(list(found)) for found in record.spaces.values()), 1):
        made[f"tuned-{i}"] = partial(draw_nuisance, record, knob)
        ledger.figure(f"tuned-{i}", "all trials", f"{record.metric} over {knob.name}")
    return made


_CURVES = "Line: mean over the seeds that finished. Band: from the lowest to the highest seed."


def _main(record: AblationRecord, figures: Mapping[str, object]) -> list[Block]:
    lines = ordered_factor(record) is not None
    over = ", ".join(record.factors)
    marks = "line and band" if lines else "dot and bar"
    caption = f"Mean ({marks}) with its 95% interval; small marks are single seeds."
    blocks: list[Block] = [picture("main", f"{label(record.shown)} over {over}", caption)]
    if "heat" in figures:
        blocks.append(picture("heat", f"{label(record.shown)} by {over}", "The same means at a glance."))
    cited = [line for line in record.references if line.metric == record.shown]
    others = [line for line in record.references if line not in cited]
    for text, lines_of in (("Dotted lines", cited), ("References", others)):
        items: list[Parts] = [[f"{r.name}, {r.metric} {metric_text(r.value)}: {r.source}"] for r in lines_of]
        blocks += [Paragraph([f"{text} were not trained here:"]), Bullets(items)] if items else []
    derived: list[Parts] = [[Code(one["name"]), f": {one['text']}"] for one in record.told["derived"]]
    blocks += [Paragraph(["Read off every seed's records:"]), Bullets(derived)] if derived else []
    return blocks


def _curves(record: AblationRecord, figures: Mapping[str, object]) -> list[Section]:
    """Nothing where a run was validated once."""
    if "curves" not in figures:
        return []
    return [Section("Learning curves", [picture("curves", f"{label(record.metric)} over optimizer steps", _CURVES)])]


def _samples(record: AblationRecord) -> list[Section]:
    """What networks say, where their data set lets them speak."""
    said = [(cell.name, cell.sample) for cell in record.cells if cell.sample]
    blocks: list[Block] = [block for name, text in said for block in (Paragraph([Strong(name)]), Fence(text))]
    about = Paragraph(
        ["Made by the first seed of each cell; the rest are artifacts of their runs, ", Code("sample.txt"), "."]
    )
    return [Section("Samples", [about, *blocks])] if said else []


def _reproduce(record: AblationRecord) -> list[Block]:
    told = record.told
    file = record.name.removesuffix("-quick") if told["quick"] else record.name
    quick = " --quick" if told["quick"] else ""
    cell = next((c.name for c in record.cells if c.seeds), record.cells[0].name)
    lines = [
        f"knobs ablate {shlex.quote(file)}{quick} --trials {told['trials']} --seeds {told['seeds']}",
        f"knobs report {shlex.quote(record.name)} --against DIR",
        f"knobs reproduce --cell {shlex.quote(' '.join(cell.split()))} --report DIR",
        "knobs reproduce RUN_ID",
    ]
    about: Parts = [
        "All of it again, in any store; then compared with this report, number by number (DIR is the folder of this "
        "report). Or one cell's seeds, or one run of this store (ids are in ", Link("receipts.json", "receipts.json"),
        "), compared value by value.",
    ]  # fmt: skip
    return [Fence("\n".join(lines)), Paragraph(about)]


def _receipts(record: AblationRecord, rulings: Sequence[ClaimVerdict]) -> list[Block]:
    about: Parts = [
        "Behind a cell's numbers are the runs of its line, named by what they are and their digest, the hash of config "
        "and data. ", Link("receipts.json", "receipts.json"), " has every number with its runs, and each run's id, "
        "digest, seed, code, commit, diff, data, packages, machine and values.",
    ]  # fmt: skip
    rows: list[Sequence[Parts]] = [
        [[Anchor(f"receipt-{slug(cell.name)}", cell.name)], _digests(cell.seeds), _digests(cell.trials)]
        for cell in record.cells
    ]
    claims: list[Parts] = [
        [Anchor(f"receipt-claim-{i}", f"claim {i}"), ": the seeds of ", *_cell_links(record, ruling)]
        for i, ruling in enumerate(rulings, 1)
    ]
    blocks: list[Block] = [Paragraph(about), Bullets(claims)] if claims else [Paragraph(about)]
    return [*blocks, Table(["cell", "seeds", "trials"], rows, left=frozenset({0, 1, 2}))]


def _digests(runs: Sequence[Ran]) -> Parts:
    return joined([[f"{run.key.rpartition('/')[2]} ", Code(run.tag("digest")[:8])] for run in runs]) or ["none"]


def _cell_links(record: AblationRecord, ruling: ClaimVerdict) -> Parts:
    found = cells_of(ruling, record)
    return joined([[Link(cell.name, f"#receipt-{slug(cell.name)}")] for cell in found])
