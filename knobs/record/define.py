"""From a study's or ablation's file to its definition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from knobs.ablation import Ablation, Cell, Claim, Factor, NumberClaim
from knobs.errors import BadInputError
from knobs.record.definition import (
    CLAIMS,
    AblationDefinition,
    CellDefinition,
    ClaimDefinition,
    DerivedDefinition,
    FactorDefinition,
    MatchDefinition,
    ReferenceDefinition,
    StudyDefinition,
)
from knobs.record.knob_range import ranges_at
from knobs.record.metric_definition import define_metrics
from knobs.search import Study, function_hash


def define_ablation(name: str, ablation: Ablation, *, quick: bool) -> AblationDefinition:
    """Return an ablation as data. Raise `BadInputError` if a report could not decide one of its claims again."""
    cells = ablation.cells()
    return AblationDefinition(
        name=name,
        question=ablation.question,
        claim=ablation.claim,
        claims=tuple(define_claim(claim) for claim in ablation.claims),
        factors=tuple(
            FactorDefinition(name=f.name, levels=tuple(f.levels), knobs=_knobs_of_levels(f), positions=f.positions)
            for f in ablation.factors
        ),
        cells=tuple(
            CellDefinition(
                name=c.name,
                levels=dict(c.levels),
                space=ranges_at(ablation.space, c.config),
                config=c.config.hash(),
            )
            for c in cells
        ),
        baseline=_baseline(ablation, cells).name,
        references=tuple(
            ReferenceDefinition(name=r.name, metric=r.metric, source=r.source) for r in ablation.references
        ),
        metric=ablation.metric,
        direction=ablation.direction,
        shown=ablation.reported,
        derived=tuple(
            DerivedDefinition(name=d.metric, text=d.text, code=function_hash(d.of), lower_is_better=d.lower_is_better)
            for d in ablation.derived
        ),
        repetitions=ablation.repetitions,
        trials=ablation.trials,
        tuning_seeds=ablation.tuning_seeds,
        seeds=ablation.seeds,
        looks=ablation.looks,
        first_seed=ablation.first_seed,
        sampler=ablation.sampler,
        space_code=function_hash(ablation.space),
        steps=ablation.baseline.training.max_steps,
        design=ablation.design,
        match=None if ablation.match is None else MatchDefinition(**asdict(ablation.match)),
        pruner=ablation.pruner,
        feedback_lag=ablation.feedback_lag,
        fixed=ablation.fixed(),
        caveats=ablation.caveats,
        quick=quick,
        metrics=define_metrics(cell.config for cell in cells),
    )


def define_study(name: str, study: Study, about: str, trials: int) -> StudyDefinition:
    """Return a study as data."""
    return StudyDefinition(
        name=name,
        about=about,
        space=ranges_at(study.space, study.baseline),
        baseline=study.baseline.knobs(),
        metric=study.metric,
        direction=study.direction,
        trials=trials,
        seed=study.seed,
        feedback_lag=study.feedback_lag,
        sampler=study.sampler,
        baseline_first=study.baseline_first,
        pruner=study.pruner,
        replicates=study.replicates.identity(),
        metrics=define_metrics([study.baseline]),
    )


def define_claim(claim: Claim) -> ClaimDefinition:
    """Return a claim as data. Raise `BadInputError` for a kind that is not in `CLAIMS`."""
    kind = type(claim).__name__
    if CLAIMS.get(kind) is not type(claim):
        raise BadInputError(f"claim {claim.text!r}: {kind} is none of {', '.join(CLAIMS)}")
    plain = {f.name: _plain(getattr(claim, f.name)) for f in fields(CLAIMS[kind]) if f.name not in ("text", "metric")}
    number = {"value": claim.number} if isinstance(claim, NumberClaim) else {}
    return ClaimDefinition(kind=kind, text=claim.text, metric=claim.metric, fields=plain | number)


def _knobs_of_levels(factor: Factor) -> dict[str, dict[str, Any]]:
    """Return the knobs that each level sets, as JSON has them."""
    found: dict[str, dict[str, Any]] = json.loads(json.dumps({k: dict(v) for k, v in factor.levels.items()}))
    return found


def _plain(value: Any) -> Any:
    """Return levels as JSON has them: a tuple of names is a list."""
    if isinstance(value, Mapping):
        return {k: v if isinstance(v, str) else list(v) for k, v in value.items()}
    return value


def _baseline(ablation: Ablation, cells: Sequence[Cell]) -> Cell:
    """Return the cell that changes nothing of the baseline, or the first cell if there is none."""
    free = {ablation.match.knob} if ablation.match else set()
    wanted = {k: v for k, v in ablation.baseline.knobs().items() if k not in free}
    same = [c for c in cells if {k: v for k, v in c.config.knobs().items() if k not in free} == wanted]
    return same[0] if same else cells[0]
