"""Checks that only a study's report makes: whether the search settled, and whether it has enough trials."""

from __future__ import annotations

from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import RecordedRun
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
from knobs.report.study.sections import FRESH, trial_group
from knobs.search import FEWEST_TRIALS

LATE = 0.8
"""If the best trial comes after this share of the trials, the search was still improving."""

MOST_LUCK = 2.0
"""By how many standard deviations of fresh seeds a search's best value may be better than their mean."""

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
        _check_best_value(study, ledger),
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


def _check_best_value(study: RecordedStudy, ledger: Ledger) -> Finding:
    """Check that the best value does not rest on one lucky seed."""
    title = "More than one seed supports the best value"
    if not study.ranked:
        return Finding(title, False, ["no trial finished."])
    best, confirmed = study.ranked[0], study.confirmations[:1]
    if confirmed and (by := confirmed[0].better_by) is not None:
        how = f"{study.metric} of the search less the mean of the fresh seeds, in their standard deviations"
        shown = ledger.number(f"fresh/{study.metric}/better_by", by, FRESH, how, f"{by:+.1f}")
        parts: list[Inline] = [f"the search's value of {best.key} is better than its fresh seeds by ", shown]
        return Finding(title, by <= MOST_LUCK, [*parts, " standard deviations of them."])
    if (lucky := _lucky_replicate(study)) is not None:
        return Finding(
            title, False, [f"without its best replicate, {lucky.key}, {best.key} would not be the best trial."]
        )
    if study.replicates.get(best.row.trial):
        return Finding(title, True, [f"{best.key} is the best trial without its best replicate, too."])
    hint = "`knobs study NAME --confirm 5` trains it with others"
    return Finding(title, False, [f"{best.key} was trained with one seed; {hint}."])


def _lucky_replicate(study: RecordedStudy) -> RecordedRun | None:
    """Return the replicate without which the best trial would not be the best; None if there is none."""
    sign = 1 if study.direction == "maximize" else -1
    values = {
        run.key: value
        for run in study.replicates.get(study.ranked[0].row.trial, [])
        if (value := run.value(study.metric)) is not None
    }
    second = study.ranked[1].value(study.metric) if len(study.ranked) > 1 else None
    if len(values) < 2 or second is None:
        return None
    best = max(values, key=lambda key: sign * values[key])
    rest = [value for key, value in values.items() if key != best]
    lucky = sign * (sum(rest) / len(rest)) < sign * second
    return next(run for run in study.replicates[study.ranked[0].row.trial] if run.key == best) if lucky else None


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
