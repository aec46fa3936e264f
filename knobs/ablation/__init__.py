"""Ablations: factors, cells, claims and the verdicts on them."""

from __future__ import annotations

from knobs.ablation.ablation import LOOK_EVERY, Ablation
from knobs.ablation.cell_values import Levels, UndecidableError, Values, is_selected
from knobs.ablation.claims import (
    BEST_OF,
    Beats,
    BeatsAtEveryBudget,
    Claim,
    Computed,
    Exceeds,
    Matches,
    NoDifference,
    NumberClaim,
    Trend,
)
from knobs.ablation.factors import Cell, Derived, Factor, Quick, RecordedValues, Reference
from knobs.ablation.matching import Match, match_config, network_size
from knobs.ablation.names import DERIVED
from knobs.ablation.verdicts import ClaimVerdict, decide_claims, decide_claims_after_looks

__all__ = [
    "BEST_OF",
    "DERIVED",
    "LOOK_EVERY",
    "Ablation",
    "Beats",
    "BeatsAtEveryBudget",
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
    "NumberClaim",
    "Quick",
    "RecordedValues",
    "Reference",
    "Trend",
    "UndecidableError",
    "Values",
    "decide_claims",
    "decide_claims_after_looks",
    "is_selected",
    "match_config",
    "network_size",
]
