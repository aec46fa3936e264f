"""What a study or an ablation is, as data: recorded when it starts, so that a report needs no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from optuna.distributions import distribution_to_json

from knobs.ablation import Ablation, Cell
from knobs.claims import Beats, Claim, Computed, Exceeds, Matches, NoDifference, Trend, WithNumber
from knobs.errors import BadInputError
from knobs.study import FixedProbe, Space, Study

FILE = "definition.json"
VERSION = 2

CLAIMS: dict[str, type[Any]] = {cls.__name__: cls for cls in (Beats, NoDifference, Trend, Matches, Exceeds, Computed)}


def of_ablation(name: str, ablation: Ablation, *, quick: bool) -> dict[str, Any]:
    """Question, factors, claims, cells, references and budget of an ablation."""
    cells = ablation.cells()
    return {
        "version": VERSION,
        "kind": "ablation",
        "name": name,
        "question": ablation.question,
        "claim": ablation.claim,
        "claims": [claim_data(claim) for claim in ablation.claims],
        "factors": [
            {"name": f.name, "levels": list(f.levels), "positions": f.positions and list(f.positions)}
            for f in ablation.factors
        ],
        "cells": [
            {"name": c.name, "levels": dict(c.levels), "space": _space(ablation.nuisance, c.config)} for c in cells
        ],
        "baseline": _baseline(ablation, cells).name,
        "references": [{"name": r.name, "metric": r.metric, "source": r.source} for r in ablation.references],
        "metric": ablation.metric,
        "direction": ablation.direction,
        "shown": ablation.reported,
        "derived": [{"name": d.metric, "text": d.text} for d in ablation.derived],
        "trials": ablation.trials,
        "seeds": ablation.seeds,
        "steps": ablation.baseline.training.max_steps,
        "design": ablation.design,
        "match": None if ablation.match is None else asdict(ablation.match),
        "pruner": ablation.pruner,
        "lag": ablation.lag,
        "fixed": ablation.fixed(),
        "caveats": list(ablation.caveats),
        "quick": quick,
    }


def of_study(name: str, study: Study, about: str, trials: int) -> dict[str, Any]:
    """What is searched, over which space, towards what."""
    return {
        "version": VERSION,
        "kind": "study",
        "name": name,
        "about": about,
        "space": _space(study.space, study.baseline),
        "baseline": study.baseline.knobs(),
        "metric": study.metric,
        "direction": study.direction,
        "trials": trials,
        "seed": study.seed,
        "lag": study.lag,
        "sampler": study.sampler,
        "pruner": study.pruner,
    }


def to_json(definition: Mapping[str, Any]) -> str:
    """What is written to the record."""
    return json.dumps(definition, indent=1, sort_keys=True)


def from_json(text: str, name: str) -> dict[str, Any]:
    """The definition that `to_json` wrote. Raises `BadInputError` for another version's."""
    read: dict[str, Any] = json.loads(text)
    if read.get("version") != VERSION:
        raise BadInputError(
            f"{name} was recorded by another version of knobs (its definition has version {read.get('version')}, "
            f"not {VERSION}); report it with that version"
        )
    return read


def claim_data(claim: Claim) -> dict[str, Any]:
    """A claim's kind and fields. Raises `BadInputError` for a kind of one's own: a report could not decide it again."""
    kind = type(claim).__name__
    if CLAIMS.get(kind) is not type(claim):
        raise BadInputError(f"claim {claim.text!r}: {kind} is none of {', '.join(CLAIMS)}")
    told = {f.name: _plain(getattr(claim, f.name)) for f in fields(CLAIMS[kind])}
    return {"kind": kind, **told, **({"value": claim.number} if isinstance(claim, WithNumber) else {})}


def claims_of(entries: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """The claims that `claim_data` wrote."""
    return [CLAIMS[entry["kind"]](**{k: v for k, v in entry.items() if k != "kind"}) for entry in entries]


def _plain(value: Any) -> Any:
    """Levels as JSON has them: a tuple of names is a list."""
    if isinstance(value, Mapping):
        return {k: v if isinstance(v, str) else list(v) for k, v in value.items()}
    return value


def _space(space: Space, config: Any) -> dict[str, Any]:
    """Knob and bounds of a space, as Optuna writes a distribution; where knobs are conditional, the baseline's."""
    probe = FixedProbe(config.knobs())
    space(probe, config)
    return {name: json.loads(distribution_to_json(d)) for name, d in sorted(probe.seen.items())}


def _baseline(ablation: Ablation, cells: Sequence[Cell]) -> Cell:
    """The cell that changes nothing of the baseline, or the first where there is none."""
    free = {ablation.match.knob} if ablation.match else set()
    wanted = {k: v for k, v in ablation.baseline.knobs().items() if k not in free}
    same = [c for c in cells if {k: v for k, v in c.config.knobs().items() if k not in free} == wanted]
    return same[0] if same else cells[0]
