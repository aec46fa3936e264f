"""Checks that only a study's report makes: whether the search settled, and whether it has enough trials."""

from __future__ import annotations

from knobs.record.recorded_study import RecordedStudy
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
from knobs.report.formats.document import Inline
from knobs.report.receipts import Ledger
from knobs.report.study.sections import trial_group
from knobs.search import FEWEST_TRIALS

LATE = 0.8
"""If the best trial comes after this share of the trials, the search was still improving."""

TRIALS_PER_KNOB = 5
"""With fewer finished trials per knob, importances are rough."""


def study_findings(study: RecordedStudy, ledger: Ledger) -> list[Finding]:
    """Return the result of every check, those that need a look first."""
    best = study.ranked[0] if study.ranked else None
    group = trial_group(best) if best else "all runs"
    tuning = Tuning(best.key if best else "", study.trials, [best] if best else [], study.space, group)
    every = [
        check_edges([tuning], ledger),
        _check_settled(study),
        _check_trials(study, ledger),
        check_lost_runs([("all runs", study.trials)], ledger),
        check_test_split(study),
        check_data(study.runs),
        check_proven(study.runs),
        check_same_provenance(study.runs, ledger),
        check_committed(study.runs),
    ]
    return order_findings(every)


def _check_settled(study: RecordedStudy) -> Finding:
    """Check that the search had stopped improving."""
    title = "The search had settled"
    if not study.ranked:
        return Finding(title, False, ["no trial finished."])
    best = study.ranked[0]
    if len(study.trials) < 2 or best.row.trial < LATE * len(study.trials):
        return Finding(title, True, ["the best trial is not among the last fifth."])
    return Finding(title, False, [f"the best trial, {best.key}, is among the last fifth: more trials may find better."])


def _check_trials(study: RecordedStudy, ledger: Ledger) -> Finding:
    """Check that enough trials finished for importances, which are noise after a few trials."""
    title = "Enough trials to compare knobs"
    count = len(study.finished)
    wanted = max(FEWEST_TRIALS, TRIALS_PER_KNOB * len(study.space))
    shown = ledger.number("review/finished", count, "finished trials", "trials that finished")
    parts: list[Inline] = [shown, f" trials finished, for {len(study.space)} knobs"]
    if count >= wanted:
        return Finding(title, True, [*parts, "."])
    return Finding(title, False, [*parts, f"; below {wanted} ({TRIALS_PER_KNOB} a knob) the importances are rough."])
