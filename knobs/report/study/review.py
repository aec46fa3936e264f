"""What a study's report checks beside what any compared runs must satisfy."""

from __future__ import annotations

from knobs.record.recorded import StudyRecord
from knobs.report.checks import Finding, Tuned, edges, mixed, ordered, test_split, uncommitted, without_result
from knobs.report.formats.document import Inline
from knobs.report.receipts import Ledger
from knobs.search.importance import FEWEST_TRIALS

LATE = 0.8
"""A best trial among the last fifth says that the search was still getting better."""


def study_findings(record: StudyRecord, ledger: Ledger) -> list[Finding]:
    """Every check, what needs a look first."""
    best = record.ranked[0] if record.ranked else None
    group = f"trial {best.key}" if best else "all runs"
    every = [
        edges([Tuned(best.key if best else "", record.trials, best, record.space, group)], ledger),
        _settled(record),
        _enough_finished(record, ledger),
        without_result([("all runs", record.trials)], ledger),
        test_split(record, record.runs),
        mixed(record.runs, ledger),
        uncommitted(record.runs),
    ]
    return ordered(every)


def _settled(record: StudyRecord) -> Finding:
    """Whether the search had stopped getting better."""
    title = "The search had settled"
    if not record.ranked:
        return Finding(title, False, ["no trial finished."])
    best = record.ranked[0]
    if len(record.trials) < 2 or int(best.tag("trial")) < LATE * len(record.trials):
        return Finding(title, True, ["the best trial is not among the last fifth."])
    return Finding(title, False, [f"the best trial, {best.key}, is among the last fifth: more trials may find better."])


def _enough_finished(record: StudyRecord, ledger: Ledger) -> Finding:
    """Importances of a handful of trials are noise."""
    title = "Enough trials to compare knobs"
    count = len(record.finished)
    wanted = max(FEWEST_TRIALS, 5 * len(record.space))
    shown = ledger.number("review/finished", count, "finished trials", "trials that finished")
    said: list[Inline] = [shown, f" trials finished, for {len(record.space)} knobs"]
    if count >= wanted:
        return Finding(title, True, [*said, "."])
    return Finding(title, False, [*said, f"; below {wanted} (5 a knob) the importances are rough."])
