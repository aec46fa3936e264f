"""The parts of an ablation: factors and their levels, cells, references, derived numbers, the quick preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from knobs.ablation.names import DERIVED, check_key, check_levels
from knobs.config import RunConfig, Value
from knobs.errors import BadInputError


@dataclass(frozen=True)
class Factor:
    """A factor: named levels, each a set of knobs (one value, or a whole part)."""

    name: str
    """A knob's dotted name, or a word if a level sets several knobs."""
    levels: Mapping[str, Mapping[str, Value]]
    """The knobs that each level sets, by the level's name."""

    def __post_init__(self) -> None:
        check_key("factor", self.name)
        check_levels(self.name, self.levels)

    @classmethod
    def of(cls, knob: str, values: Sequence[Value]) -> Factor:
        """Return the factor of one knob with these values. It is ordered if they are numbers."""
        levels = {level_text(value): {knob: value} for value in values}
        if len(levels) < len(values):
            raise BadInputError(f"factor {knob}: two of its levels have the same name; there is: {', '.join(levels)}")
        return cls(knob, levels)

    @property
    def positions(self) -> tuple[float, ...] | None:
        """The levels as numbers if each sets this one knob to a number (an ordered factor), else None."""
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
    """The baseline with this cell's knobs; the nuisance space starts from it."""

    @property
    def name(self) -> str:
        """The levels in the order of the factors: `plain, depth 16`."""
        return ", ".join(level_name(factor, level) for factor, level in self.levels.items())


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A number that is not trained here: published, or computed exactly. It is recorded as a run, drawn as a line."""

    name: str
    metric: str
    value: float | Callable[[], float]
    """The number, or a function that computes it."""
    source: str
    """Paper and table, or how it is computed."""


@dataclass(frozen=True, kw_only=True)
class Quick:
    """The smaller preset of `--quick`, which is recorded under a name of its own."""

    repetitions: int = 1
    trials: int = 3
    seeds: int = 3
    steps: float = 0.5
    """Share of `training.max_steps` that is kept."""
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Levels that are kept, by factor. A factor that is not named keeps all."""


@dataclass(frozen=True)
class RecordedValues:
    """The recorded values of a finished run."""

    curves: Mapping[str, list[tuple[int, float]]]
    """Optimizer step and value of every validation, by metric: `val/loss`, `train/loss`, `lr`, ..."""
    values: Mapping[str, float]
    """Single values: `test/accuracy`, `best/val/loss`, `best/train/loss`, `parameters`."""


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A number that is computed from a seed's records when the seed has ended. It is recorded as `derived/<name>`."""

    name: str
    text: str
    """Its meaning in a sentence, with its unit."""
    of: Callable[[RunConfig, RecordedValues], float]
    """A pure function of config and records. It returns NaN if the run has no such number."""
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        check_key("derived number", self.name)

    @property
    def metric(self) -> str:
        """Its name in claims and tables."""
        return DERIVED + self.name


def level_name(factor: str, level: str) -> str:
    """Return a level as names of cells show it: a number, or a yes or no, with its factor's last word."""
    says_itself = any(c.isalpha() for c in level) and level not in ("True", "False", "None")
    return level if says_itself else f"{factor.rpartition('.')[2]} {level}"


def level_text(value: Value) -> str:
    """Return the name of the level that sets a knob to this value."""
    return f"{value:g}" if isinstance(value, float) else str(value)
