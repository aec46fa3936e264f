"""Find claims that nothing can decide: each is tested on invented values that support it overwhelmingly."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from knobs.ablation.ablation import Ablation
from knobs.ablation.cell_values import Levels, UndecidableError, Values, is_selected
from knobs.ablation.claims import Beats, Claim, Computed, Exceeds, Matches, NoDifference, Trend
from knobs.ablation.verdicts import ClaimVerdict, decide_claims
from knobs.config import usual_direction
from knobs.errors import BadInputError

EFFECT = 1e6
"""The invented effects, in standard deviations over repetitions."""

MOST = 40
"""Repetitions, or seeds, up to which a sufficient number is looked for."""

DRAWS, CLEAR = 25, 1e-4
"""Draws of the noise that are tried, and the p that needs no further one."""


def check_decidable(ablation: Ablation) -> None:
    """Raise `BadInputError` if some claim stays undecided however clear the results are.

    Either no cells fit what it compares, or even the smallest p that this number of seeds allows exceeds what Holm's
    correction leaves to it.
    """
    units, unit = max(ablation.repetitions, ablation.seeds if ablation.repetitions == 1 else 0), ablation.unit
    undecided = undecidable(ablation.claims, ablation, units)
    if not undecided:
        return
    claim, why, by_seeds = undecided[0]
    if not by_seeds:
        raise BadInputError(f"claim {claim.text!r} cannot be decided: {why}")
    enough = next((n for n in range(units + 1, MOST) if not undecidable([claim], ablation, n)), None)
    hint = f"; from {enough} {unit}s on it can be (Ablation.{unit}s or --{unit}s)" if enough else ""
    raise BadInputError(f"claim {claim.text!r} cannot be decided by {units} {unit}s: {why}{hint}")


def undecidable(claims: Sequence[Claim], ablation: Ablation, seeds: int) -> list[tuple[Claim, str, bool]]:
    """Return the claims that cannot be decided together, each with the reason, and whether more seeds would help."""
    factors = {factor.name: list(factor.levels) for factor in ablation.factors}
    tested = [_with_number(claim) for claim in claims if not isinstance(claim, Computed)]
    found: list[tuple[Claim, str, bool]] = []
    for claim in tested:
        try:
            verdict = _clearest(claim, ablation, factors, seeds)
        except UndecidableError as error:
            found.append((claim, str(error), False))
            continue
        if verdict.result is None or verdict.verdict != "supported":
            found.append((claim, verdict.note or "no p below .05 can come out", True))
        elif (p := verdict.result.p_uncorrected) * len(tested) > 0.05:
            found.append((claim, f"the smallest p is {p:.3g}, and {len(tested)} claims share .05", True))
    return found


def _with_number(claim: Claim) -> Claim:
    """Return the claim without a function that computes its number: that may take seconds and decides nothing here."""
    return replace(claim, value=0.0) if isinstance(claim, Exceeds | Matches) and callable(claim.value) else claim


def _clearest(claim: Claim, ablation: Ablation, factors: Mapping[str, list[str]], seeds: int) -> ClaimVerdict:
    """Return the verdict on invented values that support a claim; the clearest of some draws of the noise.

    With few seeds a draw may look skewed, or one cell may spread more than the others, by chance.
    """
    best: ClaimVerdict | None = None
    for draw in range(DRAWS):
        values = _supporting(claim, ablation, factors, seeds, random.Random(draw))
        verdict = decide_claims([claim], dict.fromkeys(claim.metrics, values), factors)[0]
        if best is None or _p_of(verdict) < _p_of(best):
            best = verdict
        if _p_of(best) < CLEAR:
            break
    assert best is not None
    return best


def _p_of(verdict: ClaimVerdict) -> float:
    return verdict.result.p_uncorrected if verdict.result and verdict.verdict == "supported" else 1.0


def _supporting(
    claim: Claim, ablation: Ablation, factors: Mapping[str, list[str]], seeds: int, noise: random.Random
) -> Values:
    """Return values of the claim's metric, by cell and seed, that support it as clearly as values can."""
    values: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for cell in ablation.cells():
        middle, sd = _invented(claim, cell.levels, factors)
        key = tuple(sorted(cell.levels.items()))
        values[key] = {seed: middle + sd * noise.gauss(0.0, 1.0) for seed in range(seeds)}
    return values


def _invented(claim: Claim, levels: Mapping[str, str], factors: Mapping[str, list[str]]) -> tuple[float, float]:
    """Return mean and standard deviation of the invented values of one cell."""
    match claim:
        case Beats():
            sign = 1.0 if (claim.direction or usual_direction(claim.metric)) == "maximize" else -1.0
            better: Levels = claim.selections()[0]
            return (sign if is_selected(levels, better) else 0.0), 1 / EFFECT
        case Trend():
            place = factors[claim.factor].index(levels[claim.factor])
            return (float(place) if claim.way == "rises" else -float(place)), 1 / EFFECT
        case NoDifference():
            return 0.0, claim.within / EFFECT
        case Matches():
            return claim.number, claim.within / EFFECT
        case Exceeds():
            up = (claim.direction or usual_direction(claim.metric)) == "maximize"
            return claim.number + (1.0 if up else -1.0), 1 / EFFECT
    return 0.0, 1.0
