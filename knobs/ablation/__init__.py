"""Ablations: factors, cells, claims and the verdicts on them."""

from __future__ import annotations

from knobs.ablation.ablation import Ablation
from knobs.ablation.cell_values import Levels, Unanswerable, Values
from knobs.ablation.claims import Beats, Claim, Computed, Exceeds, Matches, NoDifference, Trend, WithNumber
from knobs.ablation.factors import DERIVED, Cell, Derived, Factor, Quick, RecordedValues, Reference
from knobs.ablation.matching import Match, matched, measure
from knobs.ablation.verdicts import ClaimVerdict, decide_claims

__all__ = [
    "DERIVED",
    "Ablation",
    "Beats",
    "Cell",
    "Claim",
    "ClaimVerdict",
    "Computed",
    "Derived",
    "Exceeds",
    "Factor",
    "Levels",
    "Match",
    "Matches",
    "NoDifference",
    "Quick",
    "RecordedValues",
    "Reference",
    "Trend",
    "Unanswerable",
    "Values",
    "WithNumber",
    "decide_claims",
    "matched",
    "measure",
]
