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
    tests: dict[int, stats.ClaimTest] = {}
    notes: dict[int, str] = {}
    for index, claim in enumerate(claims):
        try:
            tests[index], notes[index] = claim.test(metrics.get(claim.metric, {}), factors)
        except UndecidableError as error:
            notes[index] = str(error)
    results = dict(zip(tests, stats.decide(list(tests.values())), strict=True))
    verdicts = []
    for index, claim in enumerate(claims):
        result = results.get(index)
        caveats = [notes[index], result.caveat if result else ""]
        verdicts.append(ClaimVerdict(claim, result, "; ".join(text for text in caveats if text)))
    return verdicts
