"""The definition of a study or an ablation as data: recorded when it starts, so that a report needs no other file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from knobs.ablation import (
    Beats,
    BeatsAtEveryBudget,
    Claim,
    Computed,
    Exceeds,
    Matches,
    NoDifference,
    Trend,
)
from knobs.errors import BadInputError
from knobs.record.knob_range import KnobRange
from knobs.record.metric_definition import MeasuredDefinition
from knobs.record.schema import Kind, Tag, on_test
from knobs.record.stores.rows import Row
from knobs.search import Direction

VERSION = 6

_KINDS = (Beats, BeatsAtEveryBudget, NoDifference, Trend, Matches, Exceeds, Computed)

CLAIMS: dict[str, type[Any]] = {cls.__name__: cls for cls in _KINDS}
"""The kinds of claims that a report can decide again."""


@dataclass(frozen=True, kw_only=True)
class FactorDefinition:
    """A factor and its levels."""

    name: str
    levels: tuple[str, ...]
    knobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The knobs that each level sets."""
    positions: tuple[float, ...] | None = None
    """The levels as numbers, if the factor is ordered."""


@dataclass(frozen=True, kw_only=True)
class CellDefinition:
    """A cell, its level of each factor, and the space that tunes it."""

    name: str
    levels: dict[str, str]
    space: dict[str, KnobRange]
    config: str = ""
    """Hash of the config from which it is tuned."""


@dataclass(frozen=True, kw_only=True)
class ReferenceDefinition:
    """A number that is not trained here."""

    name: str
    metric: str
    source: str


@dataclass(frozen=True, kw_only=True)
class DerivedDefinition:
    """A number that is computed from each seed's curves and values."""

    name: str
    text: str
    code: str = ""
    """Hash of the function that computes it."""
    lower_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class ClaimDefinition:
    """A claim as data: its kind and its fields."""

    kind: str
    text: str
    metric: str
    fields: dict[str, Any]

    def claim(self) -> Claim:
        """Return the claim."""
        made: Claim = CLAIMS[self.kind](text=self.text, metric=self.metric, **self.fields)
        return made


@dataclass(frozen=True, kw_only=True)
class MatchDefinition:
    """The knob that was solved for in every cell."""

    knob: str
    target: int
    what: str
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class AblationDefinition(MeasuredDefinition):
    """Question, factors, claims, cells, references and budget of an ablation."""

    kind: Literal["ablation"] = "ablation"
    version: int = VERSION
    name: str
    question: str
    claim: str
    claims: tuple[ClaimDefinition, ...]
    factors: tuple[FactorDefinition, ...]
    cells: tuple[CellDefinition, ...]
    baseline: str
    """Name of the cell that the others are compared with."""
    references: tuple[ReferenceDefinition, ...]
    metric: str
    direction: Direction
    shown: str
    """The metric of tables and figures."""
    derived: tuple[DerivedDefinition, ...]
    repetitions: int
    trials: int
    """In each repetition of a cell that is tuned."""
    tuning_seeds: int
    """Replicates of each trial."""
    seeds: int
    """In each repetition."""
    looks: tuple[int, ...]
    """Numbers of repetitions after which the claims were to be decided; empty: at the end only."""
    first_seed: int
    sampler: str
    steps: int
    space_code: str
    """Hash of the function that is the nuisance space."""
    design: str
    match: MatchDefinition | None
    pruner: str
    feedback_lag: int
    fixed: dict[str, Any]
    caveats: tuple[str, ...]
    quick: bool

    @property
    def unit(self) -> str:
        """The rows of every test, in a word."""
        return "repetition" if self.repetitions > 1 else "seed"

    @property
    def levels(self) -> dict[str, list[str]]:
        """Levels by factor."""
        return {factor.name: list(factor.levels) for factor in self.factors}


@dataclass(frozen=True, kw_only=True)
class StudyDefinition(MeasuredDefinition):
    """What a study searches, over which space, towards which metric."""

    kind: Literal["study"] = "study"
    version: int = VERSION
    name: str
    about: str
    """The docstring of its file."""
    space: dict[str, KnobRange]
    baseline: dict[str, Any]
    metric: str
    direction: Direction
    trials: int
    seed: int
    feedback_lag: int
    sampler: str
    baseline_first: bool
    pruner: str
    replicates: dict[str, Any]
    """The fields of `Replicates`."""


Definition = AblationDefinition | StudyDefinition


def definition_to_json(definition: Definition) -> str:
    """Return the text of the artifact `definition.json`."""
    return json.dumps(asdict(definition), indent=1, sort_keys=True)


def definition_from_json(text: str, name: str) -> Definition:
    """Return the definition that `definition_to_json` wrote. Raise `BadInputError` if another version wrote it."""
    try:
        version = json.loads(text).get("version")
        if version == VERSION:
            adapter: TypeAdapter[Definition] = TypeAdapter(Definition)
            return adapter.validate_json(text)
    except (ValueError, AttributeError, ValidationError) as error:
        first = str(error).strip().partition("\n")[0]
        raise BadInputError(f"the recorded definition of {name} cannot be read: {first}") from None
    raise BadInputError(
        f"{name} was recorded by another version of knobs (its definition has version {version}, not {VERSION}); "
        f"report it with that version"
    )


def partial_definition(name: str, parent: Row, cells: Sequence[Row]) -> Definition:
    """Return what the runs themselves show of a definition whose artifact is gone. `cells` are newest first."""
    metric, direction = parent.params["metric"], cast("Direction", parent.params["direction"])
    if parent.kind == Kind.STUDY:
        return StudyDefinition(
            name=name, about="", space={}, baseline={}, metric=metric, direction=direction, trials=0, seed=0,
            feedback_lag=1, sampler="", baseline_first=True, pruner="",
            replicates={"seeds": 1, "knob": "", "values": []},
        )  # fmt: skip
    found = {cell.tags[Tag.CELL]: cell.levels for cell in cells}
    names = list(dict.fromkeys(factor for levels in found.values() for factor in levels))
    factors = tuple(
        FactorDefinition(name=factor, levels=tuple(dict.fromkeys(levels[factor] for levels in found.values())))
        for factor in names
    )
    return AblationDefinition(
        name=name, question="", claim="", claims=(), factors=factors,
        cells=tuple(CellDefinition(name=cell, levels=levels, space={}) for cell, levels in found.items()),
        baseline=next(iter(found), ""), references=(), metric=metric, direction=direction, shown=on_test(metric),
        derived=(), repetitions=10**9, trials=10**9, tuning_seeds=1, seeds=0, looks=(), first_seed=0, sampler="",
        steps=0,
        space_code="", design="", match=None, pruner="", feedback_lag=1, fixed={},
        caveats=(), quick=False,
    )  # fmt: skip
