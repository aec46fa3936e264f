"""The verdicts on an ablation's claims, which are decided together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knobs import stats
from knobs.ablation.cell_values import UndecidableError, Values
from knobs.ablation.claims import Claim, Computed


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim and what was decided on it."""

    claim: Claim
    result: stats.ClaimResult | None
    """The numbers of its test; None if the runs could not decide it, or it needs no test."""
    note: str
    """Caveats, or why there is no result."""

    @property
    def verdict(self) -> stats.Verdict:
        """The verdict in one word."""
        if isinstance(self.claim, Computed):
            return self.claim.verdict
        return self.result.verdict if self.result else "undecided"


def decide_claims(
    claims: Sequence[Claim], metrics: Mapping[str, Values], factors: Mapping[str, list[str]]
) -> list[ClaimVerdict]:
    """Decide an ablation's claims together, under Holm's correction. A claim that no test can decide is undecided.

    Args:
        claims: The claims, in the order of the result.
        metrics: The values of each metric that a claim names.
        factors: Levels by factor.
    """
    tests, notes = _test_claims(claims, metrics, factors)
    results = dict(zip(tests, stats.decide(list(tests.values())), strict=True))
    return [_verdict(claim, results.get(index), notes[index]) for index, claim in enumerate(claims)]


def decide_claims_after_looks(
    claims: Sequence[Claim],
    looks: Mapping[int, Mapping[str, Values]],
    most: int,
    factors: Mapping[str, list[str]],
) -> list[ClaimVerdict]:
    """Decide an ablation's claims together after planned looks, of which there may be no more than up to `most` rows.

    Args:
        claims: The claims, in the order of the result.
        looks: By the number of rows of each look so far, in order: the values of each metric that a claim names.
        most: The planned maximum of rows.
        factors: Levels by factor.
    """
    made = [_test_claims(claims, metrics, factors) for metrics in looks.values()]
    tests, notes = made[-1]
    rows = [[tested.get(index, NO_TEST) for index in tests] for tested, _ in made]
    results = dict(zip(tests, stats.decide_after_looks(list(looks), most, rows), strict=True))
    return [_verdict(claim, results.get(index), notes[index]) for index, claim in enumerate(claims)]


NO_TEST = stats.ClaimTest(effect=stats.mean_interval([0.0, 1.0]), p_supports=1.0, p_contradicts=1.0)
"""Takes the place of a test at a look at which there were too few values."""


def _test_claims(
    claims: Sequence[Claim], metrics: Mapping[str, Values], factors: Mapping[str, list[str]]
) -> tuple[dict[int, stats.ClaimTest], dict[int, str]]:
    """Return the test of each claim that can be tested, and a note on each claim."""
    tests: dict[int, stats.ClaimTest] = {}
    notes: dict[int, str] = {}
    for index, claim in enumerate(claims):
        try:
            tests[index], notes[index] = claim.test_all(metrics, factors)
        except UndecidableError as error:
            notes[index] = str(error)
    return tests, notes


def _verdict(claim: Claim, result: stats.ClaimResult | None, note: str) -> ClaimVerdict:
    caveats = [note, result.caveat if result else ""]
    return ClaimVerdict(claim, result, "; ".join(text for text in caveats if text))
