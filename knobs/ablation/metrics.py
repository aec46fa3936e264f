"""The metrics of an ablation: every cell records what is tuned, shown and claimed, and claims get their directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from knobs.ablation.cell_values import is_selected
from knobs.ablation.claims import Beats, BeatsAtEveryBudget, Claim, Exceeds
from knobs.ablation.factors import Cell, Derived
from knobs.ablation.names import check_metric
from knobs.errors import BadInputError
from knobs.search import check_goal

if TYPE_CHECKING:
    from knobs.ablation.ablation import Ablation


def directed_claims(ablation: Ablation, cells: Sequence[Cell]) -> tuple[Claim, ...]:
    """Return the claims with the better direction of their metrics, and the budgets that they leave open.

    Raise `BadInputError` if a cell does not record a metric that is tuned, shown or claimed in it.
    """
    derived = {one.metric: one for one in ablation.derived}
    for cell in cells:
        try:
            check_goal(ablation.metric, ablation.direction, cell.config)
        except BadInputError as error:
            raise BadInputError(f"cell {cell.name}: {error}") from None
        if ablation.shown:
            check_metric("shown", ablation.shown, cell.config, derived)
    for reference in ablation.references:
        check_metric(f"reference {reference.name!r}", reference.metric, ablation.baseline, derived)
    return tuple(_directed(ablation, claim, cells, derived) for claim in ablation.claims)


def _directed(ablation: Ablation, claim: Claim, cells: Sequence[Cell], derived: Mapping[str, Derived]) -> Claim:
    about = [cell for cell in cells if any(is_selected(cell.levels, chosen) for chosen in claim.selections())]
    for cell in about if claim.metric else ():
        check_metric(f"claim {claim.text!r}", claim.metric, cell.config, derived)
    if isinstance(claim, BeatsAtEveryBudget):
        _check_budgets(ablation, claim)
        claim = claim if claim.to_trials else replace(claim, to_trials=ablation.trials)
    if not isinstance(claim, Beats | Exceeds) or not about:
        return claim
    if (made := derived.get(claim.metric)) is not None:
        return replace(claim, direction="minimize") if made.lower_is_better else claim
    metric = about[0].config.metrics[claim.metric.rpartition("/")[2]]
    return claim if claim.direction else replace(claim, direction=metric.direction)


def _check_budgets(ablation: Ablation, claim: BeatsAtEveryBudget) -> None:
    """Raise `BadInputError` if tuning cannot show what a claim about numbers of trials is about."""
    what = f"claim {claim.text!r}"
    if claim.metric != ablation.metric:
        raise BadInputError(f"{what} is about tuning, whose metric is {ablation.metric}, not {claim.metric}")
    if ablation.repetitions < 2:
        raise BadInputError(f"{what} needs repetitions of the tuning; this ablation has one")
    if not 1 <= claim.from_trials <= (claim.to_trials or ablation.trials) <= ablation.trials:
        last = claim.to_trials or ablation.trials
        raise BadInputError(f"{what}: trials {claim.from_trials} to {last}, of {ablation.trials} in a repetition")
