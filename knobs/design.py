"""The parts of an ablation: factors and their levels, cells, references, what is read off a run, the quick preset."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from knobs.config import RunConfig, Value
from knobs.errors import BadInputError

DERIVED = "derived/"
"""Before the name of a number that is read off a run's records."""


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


@dataclass(frozen=True)
class Recorded:
    """What was recorded of a finished run."""

    curves: Mapping[str, list[tuple[int, float]]]
    """Optimizer step and value of every validation, by metric: `val/loss`, `train/loss`, `lr`, ..."""
    values: Mapping[str, float]
    """Single values: `test/accuracy`, `best/val/loss`, `best/train/loss`, `parameters`."""


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A number that is read off a seed's records when it has ended; recorded with it as `derived/<name>`."""

    name: str
    text: str
    """What it is, in a sentence, with its unit."""
    of: Callable[[RunConfig, Recorded], float]
    """A pure function of config and records; NaN where the run has no such number."""
    lower_is_better: bool = False

    @property
    def metric(self) -> str:
        """What claims and tables call it."""
        return DERIVED + self.name


@functools.cache
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


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
