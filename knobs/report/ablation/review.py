"""What an ablation's report checks beside what any compared runs must satisfy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from knobs import stats
from knobs.ablation import ClaimVerdict
from knobs.numbers import metric_text
from knobs.record.recorded import AblationRecord, CellRecord
from knobs.report.ablation.cells import CellNumbers, paired_spread
from knobs.report.checks import Finding, Tuned, edges, mixed, ordered, test_split, uncommitted, without_result
from knobs.report.figures.ablation_curves import tuned_values
from knobs.report.formats.document import Inline, Parts, joined
from knobs.report.receipts import Ledger
from knobs.stats.intervals import FEWEST

FEW_TRIALS = 4


def ablation_findings(
    record: AblationRecord,
    rows: Sequence[CellNumbers],
    rulings: Sequence[ClaimVerdict],
    ledger: Ledger,
) -> list[Finding]:
    """Every check, what needs a look first."""
    tuned = [Tuned(c.name, c.trials, c.winner, c.space, trials_of(c)) for c in record.cells]
    seeds = [(seeds_of(c), c.seeds) for c in record.cells]
    trials = [(trials_of(c), c.trials) for c in record.cells]
    every = [
        edges(tuned, ledger),
        _enough_trials(record, ledger),
        _equal_budgets(record),
        _enough_seeds(record, rulings, ledger),
        without_result([*trials, *seeds], ledger),
        _ranks(record, rows, ledger),
        test_split(record, record.runs),
        mixed(record.runs, ledger),
        uncommitted(record.runs),
        _decided_alike(record, rulings),
    ]
    return ordered(every)


def trials_of(cell: CellRecord) -> str:
    """The ledger's group of a cell's trials."""
    return f"trials of {cell.name}"


def seeds_of(cell: CellRecord) -> str:
    """The ledger's group of a cell's seeds."""
    return f"seeds of {cell.name}"


def _enough_trials(record: AblationRecord, ledger: Ledger) -> Finding:
    """More trials would still help where the last doubling of them gained more than seeds differ by."""
    title = "Enough trials to trust the tuned values"
    if not any(cell.space for cell in record.cells):
        return Finding(title, True, ["nothing was tuned."])
    found: list[Parts] = []
    few = []
    for cell in record.cells:
        if not cell.space:
            continue
        values = tuned_values(cell, record)
        if len(values) < FEW_TRIALS:
            few.append(cell.name)
            continue
        best = stats.expected_best(values, direction=record.told["direction"])
        gain = float(abs(best[-1] - best[-(-len(best) // 2) - 1]))
        seeds = list(cell.values(record.metric).values())
        noise = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else 0.0
        if gain > max(noise, 1e-12):
            key = f"review/trials/{cell.name}"
            how = f"expected best {record.metric} of {len(values)} trials less that of half as many"
            parts: list[Inline] = [
                f"{cell.name} ",
                ledger.number(f"{key}/gain", gain, trials_of(cell), how, metric_text(gain)),
                " (seeds: ",
                ledger.number(f"{key}/noise", noise, seeds_of(cell), f"sd of {record.metric}", metric_text(noise)),
                ")",
            ]
            found.append(parts)
    said: list[Inline] = []
    if few:
        said.append(f"fewer than {FEW_TRIALS} trials say nothing about what more would find: {', '.join(few)}. ")
    if found:
        said += ["the last doubling of trials still gained more than seeds differ by: ", *joined(found), "."]
    if said:
        return Finding(title, False, said)
    return Finding(title, True, ["in every cell the last doubling of trials gained less than its seeds differ by."])


def _equal_budgets(record: AblationRecord) -> Finding:
    """Cells must get the same trials, steps and seeds."""
    found = []
    for what, count in (
        ("trials", lambda cell: str(sum(t.ended for t in cell.trials))),
        ("seeds", lambda cell: str(sum(s.ended for s in cell.seeds))),
        ("steps a run", _steps),
    ):
        values: dict[str, list[str]] = {}
        for cell in record.cells:
            values.setdefault(count(cell), []).append(cell.name)
        if len(values) > 1:
            texts = [f"{value} ({', '.join(names)})" for value, names in sorted(values.items())]
            found.append(f"{what}: {', '.join(texts)}")
    title = "Equal budgets"
    if found:
        return Finding(title, False, ["cells had different budgets. ", "; ".join(found), "."])
    return Finding(title, True, ["every cell had the same trials, seeds and steps."])


def _steps(cell: CellRecord) -> str:
    return "/".join(sorted({run.row.params.get("training.max_steps", "?") for run in cell.runs})) or "?"


def _enough_seeds(record: AblationRecord, rulings: Sequence[ClaimVerdict], ledger: Ledger) -> Finding:
    """An undecided claim may only lack seeds; and a few skewed values allow no honest interval."""
    title = "Enough seeds for the claims"
    said: list[Parts] = []
    few = [cell.name for cell in record.cells if len(cell.values(record.shown)) < FEWEST]
    if few:
        said.append([f"below {FEWEST} finished seeds an interval does not hold for skewed values: {', '.join(few)}"])
    for number, ruling in enumerate(rulings, 1):
        if ruling.word != "undecided" or record.missing:
            continue
        more = ruling.verdict.needed_more_seeds if ruling.verdict else None
        about: Parts = [ruling.note if ruling.verdict is None else "no reasonable number of seeds would decide it"]
        if more:
            key, how = f"claim/{number}/needed", "seeds to add for power 0.8, were effect and spread the true ones"
            about = ["about ", ledger.number(key, more, f"claim {number}", how), " more seeds would decide it"]
        said.append([f"claim {number} is undecided: ", *about])
    if said:
        return Finding(title, False, [*joined(said, "; "), "."])
    return Finding(title, True, [f"every cell has at least {FEWEST} finished seeds, and every claim is decided."])


def _ranks(record: AblationRecord, rows: Sequence[CellNumbers], ledger: Ledger) -> Finding:
    """Cells that validation and test rank differently, beyond what chance explains, say that tuning chose by luck."""
    title = "Validation and test agree"
    if record.shown != record.metric.replace("val/", "test/", 1):
        return Finding(title, True, ["what is reported is not the tuning metric, so there are no ranks to compare."])
    both = [row for row in rows if row.mean is not None and row.validation is not None]
    if len(both) < 2:
        return Finding(title, True, ["fewer than two cells to rank."])
    swapped = []
    for a, b in combinations(both, 2):
        seen = paired_spread(a.cell.values(record.metric), b.cell.values(record.metric))
        tested = paired_spread(a.cell.values(record.shown), b.cell.values(record.shown))
        if seen is None or tested is None or seen.value * tested.value >= 0:
            continue
        if all(made.low is not None and made.high is not None and made.low * made.high > 0 for made in (seen, tested)):
            swapped.append(f"{a.cell.name} and {b.cell.name}")
    tau = kendalltau([row.validation for row in both], [row.mean.value for row in both if row.mean]).statistic
    known: Parts = []
    if not np.isnan(tau):
        how = f"Kendall's tau between the cells' means of {record.metric} and {record.shown}"
        known = [" (Kendall's tau ", ledger.number("review/tau", float(tau), "all seeds", how, f"{tau:.2f}"), ")"]
    if swapped:
        pairs = ", ".join(swapped[:5]) + (f" and {len(swapped) - 5} more" if len(swapped) > 5 else "")
        return Finding(
            title, False, [f"they rank these the other way round, beyond both intervals: {pairs}", *known, "."]
        )
    return Finding(title, True, ["no two cells swap their rank beyond both intervals", *known, "."])


def _decided_alike(record: AblationRecord, rulings: Sequence[ClaimVerdict]) -> Finding:
    """The verdicts written when the ablation ended must be those that its seeds give now."""
    title = "Verdicts as recorded"
    now = [ruling.word for ruling in rulings]
    if record.missing:
        return Finding(title, True, ["the ablation is not finished; nothing was decided yet."])
    if not record.decided and now:
        return Finding(title, False, ["the record holds no verdicts; these are decided from its seeds."])
    if list(record.decided) != now:
        was = ", ".join(record.decided)
        return Finding(title, False, [f"the record says {was}; its seeds now say {', '.join(now)}."])
    return Finding(title, True, ["decided again from the recorded seeds, the same."])
