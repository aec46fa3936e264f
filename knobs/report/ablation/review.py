"""Checks that only an ablation's report makes: trials, budgets, seeds, ranks, verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from knobs.ablation import ClaimVerdict
from knobs.numbers import share_text
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
from knobs.record.schema import on_test
from knobs.report.ablation.cells import CellNumbers, paired_spread, seeds_group, trials_group
from knobs.report.ablation.registered import check_looks, check_registration
from knobs.report.ablation.sampling_error import check_sampling_error
from knobs.report.ablation.tuning_checks import check_same_trials, check_trials, check_winners_reached
from knobs.report.checks import (
    Finding,
    Tuning,
    check_committed,
    check_data,
    check_edges,
    check_lost_runs,
    check_proven,
    check_same_provenance,
    check_test_split,
    order_findings,
)
from knobs.report.formats.document import Parts, joined
from knobs.report.receipts import Ledger
from knobs.stats.intervals import FEWEST

_UNTUNED = "nothing to tune"


def ablation_findings(
    ablation: RecordedAblation,
    rows: Sequence[CellNumbers],
    verdicts: Sequence[ClaimVerdict],
    ledger: Ledger,
) -> list[Finding]:
    """Return the result of every check, those that need a look first."""
    tunings = [Tuning(c.name, c.trials, list(c.winners.values()), c.space, trials_group(c)) for c in ablation.cells]
    seeds = [(seeds_group(c), c.seeds) for c in ablation.cells]
    trials = [(trials_group(c), c.trials) for c in ablation.cells]
    every = [
        check_edges(tunings, ledger),
        check_trials(ablation, ledger),
        check_winners_reached(ablation, ledger),
        check_same_trials(ablation),
        _check_equal_budgets(ablation),
        _check_seeds(ablation, verdicts, ledger),
        check_lost_runs([*trials, *seeds], ledger),
        _check_ranks(ablation, rows, ledger),
        check_test_split(ablation),
        check_sampling_error(ablation, ledger),
        check_data(ablation.runs),
        check_proven(ablation.runs),
        check_same_provenance(ablation.runs, ledger),
        check_committed(ablation.runs),
        _check_verdicts(ablation, verdicts),
        check_registration(ablation),
        check_looks(ablation),
    ]
    return order_findings(every)


def _check_equal_budgets(ablation: RecordedAblation) -> Finding:
    """Check that all cells had the same trials, seeds and steps."""
    budgets: dict[str, Callable[[RecordedCell], str]] = {
        "trials": lambda cell: str(sum(trial.ended for trial in cell.trials)) if cell.space else _UNTUNED,
        "seeds": lambda cell: str(sum(seed.ended for seed in cell.seeds)),
        "steps a run": _steps,
    }
    found = []
    for budget, amount in budgets.items():
        values: dict[str, list[str]] = {}
        for cell in ablation.cells:
            values.setdefault(amount(cell), []).append(cell.name)
        values.pop(_UNTUNED, None)
        if len(values) > 1:
            texts = [f"{value} ({', '.join(names)})" for value, names in sorted(values.items())]
            found.append(f"{budget}: {', '.join(texts)}")
    title = "Equal budgets"
    if found:
        return Finding(title, False, ["cells had different budgets. ", "; ".join(found), "."])
    return Finding(title, True, ["every cell had the same trials, seeds and steps."])


def _steps(cell: RecordedCell) -> str:
    return "/".join(sorted({run.row.params.get("training.max_steps", "?") for run in cell.runs})) or "?"


def _check_seeds(ablation: RecordedAblation, verdicts: Sequence[ClaimVerdict], ledger: Ledger) -> Finding:
    """Check that rows suffice: an undecided claim may only lack more, and few skewed values give no interval."""
    unit = ablation.definition.unit
    title = f"Enough {unit}s for the claims"
    found: list[Parts] = []
    few = [cell.name for cell in ablation.cells if len(cell.values(ablation.shown)) < FEWEST]
    if few:
        found.append([f"below {FEWEST} finished {unit}s an interval does not hold for skewed values: {', '.join(few)}"])
    for number, verdict in enumerate(verdicts, 1):
        if verdict.verdict != "undecided" or ablation.missing:
            continue
        more = verdict.result.needed_more_seeds if verdict.result else None
        remark: Parts = [verdict.note if verdict.result is None else f"no reasonable number of {unit}s would decide it"]
        if more:
            needed = more + (verdict.result.n if verdict.result else 0)
            key, how = f"claim/{number}/needed", f"{unit}s for power 0.8, were effect and spread the true ones"
            shown = ledger.number(key, needed, f"claim {number}", how)
            remark = ["a new ablation would need about ", shown, f" {unit}s, were effect and spread the true ones"]
        found.append([f"claim {number} is undecided: ", *remark])
    if found:
        return Finding(title, False, [*joined(found, "; "), "."])
    return Finding(title, True, [f"every cell has at least {FEWEST} finished {unit}s, and every claim is decided."])


def _check_ranks(ablation: RecordedAblation, rows: Sequence[CellNumbers], ledger: Ledger) -> Finding:
    """Check that validation and test rank the cells alike, except by chance; if not, tuning chose by luck."""
    title = "Validation and test agree"
    if ablation.shown != on_test(ablation.metric):
        return Finding(title, True, ["the reported metric is not the tuning metric, so there are no ranks to compare."])
    both = [row for row in rows if row.mean is not None and row.validation is not None]
    if len(both) < 2:
        return Finding(title, True, ["fewer than two cells to rank."])
    swapped = [f"{a.cell.name} and {b.cell.name}" for a, b in combinations(both, 2) if _swap_ranks(a, b, ablation)]
    tau = float(kendalltau([row.validation for row in both], [row.mean.value for row in both if row.mean]).statistic)
    known: Parts = []
    if not np.isnan(tau):
        how = f"Kendall's tau between the cells' means of {ablation.metric} and {ablation.shown}"
        known = [" (Kendall's tau ", ledger.number("review/tau", tau, "all seeds", how, share_text(tau)), ")"]
    if swapped:
        pairs = ", ".join(swapped[:5]) + (f" and {len(swapped) - 5} more" if len(swapped) > 5 else "")
        text = f"they rank these the other way round, beyond both intervals: {pairs}"
        return Finding(title, False, [text, *known, "."])
    return Finding(title, True, ["no two cells swap their rank beyond both intervals", *known, "."])


def _swap_ranks(a: CellNumbers, b: CellNumbers, ablation: RecordedAblation) -> bool:
    """Return whether validation and test rank two cells differently, and both intervals leave zero out."""
    seen = paired_spread(a.cell.values(ablation.metric), b.cell.values(ablation.metric))
    tested = paired_spread(a.cell.values(ablation.shown), b.cell.values(ablation.shown))
    if seen is None or tested is None or seen.value * tested.value >= 0:
        return False
    return all(made.low is not None and made.high is not None and made.low * made.high > 0 for made in (seen, tested))


def _check_verdicts(ablation: RecordedAblation, verdicts: Sequence[ClaimVerdict]) -> Finding:
    """Check that the seeds still give the verdicts that were recorded when the ablation ended."""
    title = "Verdicts as recorded"
    now = [verdict.verdict for verdict in verdicts]
    recorded = [verdict.verdict for verdict in ablation.verdicts]
    if ablation.missing:
        return Finding(title, True, ["the ablation is not finished; nothing was decided yet."])
    if not recorded and now:
        return Finding(title, False, ["the record holds no verdicts; these are decided from its seeds."])
    if recorded != now:
        was = ", ".join(recorded)
        return Finding(title, False, [f"the recorded verdicts are {was}; its seeds now give {', '.join(now)}."])
    return Finding(title, True, ["decided again from the recorded seeds, the same."])
