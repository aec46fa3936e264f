"""An ablation: one question, its cells, and the claims that the recorded seeds decide.

The words are the tuning playbook's: *scientific* knobs are the factors, *nuisance* knobs are re-tuned in every cell
with an equal budget, the rest is *fixed* and listed as a caveat.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from knobs.claims import Beats, Claim, Matches, NoDifference, Trend
from knobs.config import RunConfig, Value
from knobs.data import METRICS
from knobs.errors import BadInputError, nearest
from knobs.study import Direction, FixedProbe, Space, Study, make_pruner

__all__ = ["Ablation", "Beats", "Cell", "Factor", "Match", "Matches", "NoDifference", "Quick", "Reference", "Trend"]


@dataclass(frozen=True)
class Factor:
    """What is varied on purpose: named levels, each a set of knobs (one value, or a whole component)."""

    name: str
    """A knob's dotted name, or a word where a level sets several knobs."""
    levels: Mapping[str, Mapping[str, Value]]
    """Level by its name: the knobs that it sets."""

    @classmethod
    def of(cls, knob: str, values: Sequence[Value]) -> Factor:
        """One knob over these values; an ordered factor where they are numbers."""
        return cls(knob, {_text(value): {knob: value} for value in values})

    @property
    def positions(self) -> tuple[float, ...] | None:
        """The levels as numbers, where each sets this one knob to a number: an ordered factor."""
        values = [knobs.get(self.name) for knobs in self.levels.values()]
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            return None
        return tuple(float(v) for v in values if isinstance(v, int | float))


@dataclass(frozen=True)
class Cell:
    """One combination of levels."""

    levels: Mapping[str, str]
    """Level by factor."""
    config: RunConfig
    """The baseline with this cell's knobs; what the nuisance space starts from."""

    @property
    def name(self) -> str:
        """The levels in the factors' order: `plain 16`."""
        return " ".join(self.levels.values())


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A number that is not trained here: published, or computed exactly; recorded like a run, drawn like a line."""

    name: str
    metric: str
    value: float | Callable[[], float]
    """The number, or a function that computes it."""
    source: str
    """Paper and table, or how it is computed."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """Solve for one knob in every cell so that the cells are equal in size or in compute."""

    knob: str
    """A whole number, such as `model.width`."""
    target: int
    """Trainable parameters, or multiply-adds of one sample's forward pass."""
    what: Literal["parameters", "compute"] = "parameters"
    low: int = 1
    high: int = 4096


@dataclass(frozen=True, kw_only=True)
class Quick:
    """The smaller preset of `--quick`; recorded under a name of its own."""

    trials: int = 3
    seeds: int = 3
    steps: float = 0.5
    """Part of `training.max_steps` that is kept."""
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Levels that are kept, by factor; all where a factor is not named."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One file in `experiments/` holds one of these."""

    question: str
    claim: str
    """What is expected, in a sentence, written before it runs."""
    baseline: RunConfig
    factors: tuple[Factor, ...]
    nuisance: Space
    """The space over which every cell is tuned: `(trial, cell's config) -> RunConfig`, Optuna's suggest calls."""
    claims: tuple[Claim, ...] = ()
    references: tuple[Reference, ...] = ()
    metric: str
    """`val/<metric>` that tuning looks at; the same metric of the test split is what is reported."""
    direction: Direction
    trials: int = 8
    """Nuisance trials of every cell."""
    seeds: int = 5
    """Fresh seeds of every cell, the same in all."""
    first_seed: int = 1000
    design: Literal["crossed", "one_at_a_time"] = "crossed"
    """Every combination, or the baseline's levels with one factor changed at a time."""
    where: Callable[[Mapping[str, str]], bool] | None = None
    """Combinations that make sense; the others are left out."""
    match: Match | None = None
    pruner: str = "none"
    """Only where equal steps, not equal trials, are what is equal."""
    lag: int = 4
    quick: Quick = Quick()
    caveats: tuple[str, ...] = ()
    """What a reader should know beside the fixed knobs."""

    def __post_init__(self) -> None:
        knobs = self.baseline.knobs()
        names = [factor.name for factor in self.factors]
        if not self.factors or len(set(names)) < len(names):
            raise BadInputError("an ablation needs at least one factor, each named once")
        scientific = set()
        for factor in self.factors:
            if len(factor.levels) < 2:
                raise BadInputError(f"factor {factor.name} has {len(factor.levels)} level; it needs at least 2")
            for level, changes in factor.levels.items():
                if unknown := [k for k in changes if k not in knobs and not _of_new_kind(k, changes)]:
                    hint = nearest(unknown[0], knobs)
                    raise BadInputError(f"level {level} of factor {factor.name}: {unknown[0]} is no knob{hint}")
                scientific |= set(changes)
        metrics = [f"val/{name}" for name in ("loss", *METRICS[self.baseline.data.spec().task])]
        if self.metric not in metrics:
            raise BadInputError(f"metric = {self.metric!r}: not recorded here{nearest(self.metric, metrics)}")
        if self.trials < 1 or self.seeds < 1:
            raise BadInputError("an ablation needs at least 1 trial and 1 seed a cell")
        if self.claims and self.seeds < 2:
            raise BadInputError(f"{self.seeds} seed cannot decide a claim: a test needs at least 2")
        make_pruner(self.pruner, self.baseline)
        for cell in self.cells():
            tuned = self.nuisance_knobs(cell)
            if unequal := sorted(tuned & {"training.max_steps", "training.early_stop"}):
                raise BadInputError(f"{unequal[0]} cannot be a nuisance knob: every cell's budget must be equal")
            if both := sorted(scientific & tuned):
                raise BadInputError(f"{both[0]} is a factor and a nuisance knob; it can only be one of the two")
        for claim in self.claims:
            claim.check({factor.name: list(factor.levels) for factor in self.factors})

    def cells(self) -> list[Cell]:
        """Every cell, in the order of the factors' levels. Raises `BadInputError` for a level out of range."""
        combinations = [
            dict(zip([f.name for f in self.factors], chosen, strict=True))
            for chosen in itertools.product(*(f.levels for f in self.factors))
        ]
        if self.design == "one_at_a_time":
            base = {factor.name: next(iter(factor.levels)) for factor in self.factors}
            combinations = [c for c in combinations if sum(c[name] != base[name] for name in base) <= 1]
        kept = [c for c in combinations if self.where is None or self.where(c)]
        if not kept:
            raise BadInputError("no cell is left: `where` refuses every combination")
        return [Cell(levels, self._config(levels)) for levels in kept]

    def study(self, cell: Cell) -> Study:
        """The study that tunes one cell: the same budget, seed and space in all."""
        return Study(
            baseline=cell.config,
            space=self.nuisance,
            metric=self.metric,
            direction=self.direction,
            trials=self.trials,
            seed=0,
            lag=self.lag,
            pruner=self.pruner,
        )

    def nuisance_knobs(self, cell: Cell) -> set[str]:
        """The knobs that the nuisance space tunes in this cell."""
        probe = FixedProbe(cell.config.knobs())
        self.nuisance(probe, cell.config)
        return set(probe.seen)

    def fixed(self) -> dict[str, Value]:
        """Knobs that neither a factor nor the nuisance space moves: held still, so part of every answer."""
        cells = self.cells()
        moved = {name for factor in self.factors for knobs in factor.levels.values() for name in knobs}
        moved |= {name for cell in cells for name in self.nuisance_knobs(cell)} | {"seed"}
        moved |= {self.match.knob} if self.match else set()
        shared = [cell.config.knobs() for cell in cells]
        return {
            name: value
            for name, value in self.baseline.knobs().items()
            if name not in moved and all(knobs.get(name, ...) == value for knobs in shared)
        }

    def made_quick(self) -> Ablation:
        """The `--quick` preset: fewer trials, seeds, steps and levels, and the claims that can still be asked."""
        levels = self.quick.levels
        factors = tuple(
            Factor(f.name, {name: f.levels[name] for name in levels.get(f.name, f.levels)}) for f in self.factors
        )
        steps = max(1, round(self.baseline.training.max_steps * self.quick.steps))
        kept = {factor.name: list(factor.levels) for factor in factors}
        return replace(
            self,
            baseline=self.baseline.with_knobs({"training.max_steps": steps}),
            factors=factors,
            trials=self.quick.trials,
            seeds=self.quick.seeds,
            claims=tuple(claim for claim in self.claims if claim.can_be_asked(kept)),
        )

    def _config(self, levels: Mapping[str, str]) -> RunConfig:
        changes: dict[str, Value] = {}
        for factor in self.factors:
            changes |= factor.levels[levels[factor.name]]
        try:
            config = self.baseline.with_knobs(changes)
        except BadInputError as error:
            raise BadInputError(f"cell {' '.join(levels.values())}: {error}") from None
        return config if self.match is None else matched(config, self.match)


def matched(config: RunConfig, match: Match) -> RunConfig:
    """The config whose `match.knob` brings the network closest to the target; bisection, since size grows with it.

    Raises `BadInputError` where even the smallest or largest value misses the target by half.
    """

    def size(value: int) -> int:
        return measure(config.with_knobs({match.knob: value}), match.what)

    low, high = match.low, match.high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= match.target else (low, middle)
    best = min((low, high), key=lambda value: abs(size(value) - match.target))
    if not 0.5 <= size(best) / match.target <= 1.5:
        raise BadInputError(f"no {match.knob} from {match.low} to {match.high} gives {match.target} {match.what}")
    return config.with_knobs({match.knob: best})


def measure(config: RunConfig, what: Literal["parameters", "compute"]) -> int:
    """Trainable parameters, or multiply-adds of one sample's forward pass."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    spec = config.data.spec()
    with torch.random.fork_rng():
        network = config.model.build(spec).eval()
    if what == "parameters":
        return sum(p.numel() for p in network.parameters() if p.requires_grad)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *spec.shape))
    return int(counter.get_total_flops()) // 2


def _of_new_kind(knob: str, changes: Mapping[str, Value]) -> bool:
    """Whether a level that chooses another kind may bring this knob; `with_knobs` checks it."""
    return f"{knob.partition('.')[0]}.kind" in changes


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
