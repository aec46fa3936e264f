"""What became of an ablation's claims, decided together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knobs import stats
from knobs.ablation.cell_values import Unanswerable, Values
from knobs.ablation.claims import Claim, Computed


@dataclass(frozen=True)
class ClaimVerdict:
    """One claim and what became of it."""

    claim: Claim
    verdict: stats.Verdict | None
    """None where the runs could not answer, or were not asked."""
    note: str
    """Caveats, or why there is no verdict."""

    @property
    def word(self) -> str:
        """supported, contradicted or undecided."""
        if isinstance(self.claim, Computed):
            return self.claim.word
        return self.verdict.verdict if self.verdict else "undecided"


def decide_claims(
    claims: Sequence[Claim], metrics: Mapping[str, Values], factors: Mapping[str, list[str]]
) -> list[ClaimVerdict]:
    """Decide an ablation's claims together, under Holm's correction; one that cannot be answered is undecided.

    `metrics` has the values of each metric that a claim names.
    """
    tests: dict[int, tuple[stats.ClaimTest, str]] = {}
    notes: dict[int, str] = {}
    for index, claim in enumerate(claims):
        try:
            tests[index] = claim.test(metrics.get(claim.metric, {}), factors)
        except Unanswerable as error:
            notes[index] = str(error)
    verdicts = dict(zip(tests, stats.decide([test for test, _ in tests.values()]), strict=True)) if tests else {}
    rulings = []
    for index, claim in enumerate(claims):
        verdict = verdicts.get(index)
        said = [notes.get(index, ""), tests[index][1] if index in tests else "", verdict.caveat if verdict else ""]
        rulings.append(ClaimVerdict(claim, verdict, "; ".join(text for text in said if text)))
    return rulings
