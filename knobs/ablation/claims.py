"""Claims as data: what an ablation expects to see, and how the recorded seeds decide it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from knobs import stats
from knobs.ablation.cell_values import (
    Levels,
    Unanswerable,
    Values,
    cell_table,
    common_seeds,
    paired_values,
    select_cells,
)
from knobs.config import LOWER_IS_BETTER
from knobs.errors import BadInputError, nearest


class Claim(Protocol):
    """What every kind of claim can do."""

    @property
    def text(self) -> str:
        """The claim in a sentence."""

    @property
    def metric(self) -> str:
        """What it reads."""

    def selections(self) -> list[Levels]:
        """All cells that it speaks of."""

    def check(self, factors: Mapping[str, list[str]]) -> None:
        """Raises `BadInputError` for a factor or level that is not there."""

    def can_be_asked(self, factors: Mapping[str, list[str]]) -> bool:
        """Whether these levels suffice."""

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """The test, and a caveat on what it could not use. Raises `Unanswerable`."""


@dataclass(frozen=True, kw_only=True)
class _Claim:
    text: str
    """The claim in a sentence."""
    metric: str
    """`test/accuracy`, `train/loss`, ...: read at the checkpoint that validation chose."""
    where: Levels = field(default_factory=dict)
    """The cells that it is about."""

    def selections(self) -> list[Levels]:
        """All cells that the claim speaks of."""
        return [self.where]

    def check(self, factors: Mapping[str, list[str]]) -> None:
        """Raises `BadInputError` for a factor or level that is not there."""
        for selection in self.selections():
            for name, wanted in selection.items():
                if name not in factors:
                    raise BadInputError(f"claim {self.text!r}: {name} is no factor{nearest(name, factors)}")
                for level in [wanted] if isinstance(wanted, str) else wanted:
                    if level not in factors[name]:
                        hint = nearest(level, factors[name])
                        raise BadInputError(f"claim {self.text!r}: {level} is no level of {name}{hint}")

    def can_be_asked(self, factors: Mapping[str, list[str]]) -> bool:
        """Whether these levels suffice."""
        try:
            self.check(factors)
        except BadInputError:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Beats(_Claim):
    """A beats B on the metric, averaged over cells that differ in nothing else."""

    better: Levels
    worse: Levels
    direction: Literal["maximize", "minimize"] | None = None
    """Which way the metric is better; none: as its name says."""

    def selections(self) -> list[Levels]:
        """The two sides."""
        return [{**self.where, **self.better}, {**self.where, **self.worse}]

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Paired by seed; the effect is better - worse."""
        first, second = self.selections()
        a, b, caveat = paired_values(first, second, values, factors)
        return stats.beats(a, b, direction=self.direction or _by_name(self.metric)), caveat


@dataclass(frozen=True, kw_only=True)
class NoDifference(_Claim):
    """A and B differ by no more than `within`: an equivalence test, so that a large p supports nothing."""

    a: Levels
    b: Levels
    within: float

    def selections(self) -> list[Levels]:
        """The two sides."""
        return [{**self.where, **self.a}, {**self.where, **self.b}]

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Paired by seed; the effect is a - b."""
        first, second = self.selections()
        a, b, caveat = paired_values(first, second, values, factors)
        return stats.no_difference(a, b, self.within), caveat


@dataclass(frozen=True, kw_only=True)
class Trend(_Claim):
    """The metric falls, or rises, with an ordered factor; averaged over the other factors' cells."""

    factor: str
    way: Literal["falls", "rises"]
    steps: bool = True
    """One unit a level; false: over the levels' numbers."""

    def selections(self) -> list[Levels]:
        """The cells, and the factor itself."""
        return [self.where, {self.factor: []}]

    def can_be_asked(self, factors: Mapping[str, list[str]]) -> bool:
        """At least two levels of the factor."""
        return super().can_be_asked(factors) and len(self._levels(factors)) >= 2

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """A slope a seed, tested over seeds."""
        columns = [select_cells(values, {**self.where, self.factor: level}) for level in self._levels(factors)]
        seeds, caveat = common_seeds(values, [cell for column in columns for cell in column])
        means = [np.mean([[values[cell][s] for s in seeds] for cell in column], axis=0) for column in columns]
        at = None if self.steps else [float(level) for level in self._levels(factors)]
        table = np.stack(means, axis=1)
        return (stats.falls if self.way == "falls" else stats.rises)(table, at=at), caveat

    def _levels(self, factors: Mapping[str, list[str]]) -> list[str]:
        wanted = self.where.get(self.factor)
        return [level for level in factors[self.factor] if wanted is None or level in wanted]


@dataclass(frozen=True, kw_only=True)
class WithNumber(_Claim):
    """What a claim against a number has."""

    value: float | Callable[[], float]
    """A number, or a function that computes it."""

    @cached_property
    def number(self) -> float:
        """The value, computed once."""
        return float(self.value() if callable(self.value) else self.value)


@dataclass(frozen=True, kw_only=True)
class Matches(WithNumber):
    """The metric in these cells matches a published or computed value within a tolerance."""

    within: float

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """The seeds' mean against the value."""
        del factors
        table, caveat = cell_table(values, self.where)
        return stats.matches(table, self.number, self.within), caveat


@dataclass(frozen=True, kw_only=True)
class Exceeds(WithNumber):
    """The metric in these cells is better than a published or computed value."""

    direction: Literal["maximize", "minimize"] | None = None
    """Which way the metric is better; none: as its name says."""

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """The seeds' mean less the value."""
        del factors
        table, caveat = cell_table(values, self.where)
        return stats.exceeds(table, self.number, direction=self.direction or _by_name(self.metric)), caveat


@dataclass(frozen=True, kw_only=True)
class Computed(WithNumber):
    """An exact computation, such as a construction's error: it holds or it does not; no run and no chance is in it."""

    metric: str = ""
    expected: float = 0.0
    within: float
    """How far from the expected number it may lie."""

    def selections(self) -> list[Levels]:
        """It speaks of no cell."""
        return []

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """There is nothing to test."""
        raise Unanswerable(self.note)

    @property
    def note(self) -> str:
        """What came out, and what was to."""
        return f"computed exactly: {self.number:.6g}, expected {self.expected:g} within {self.within:g}"

    @property
    def word(self) -> str:
        """Decided by the number alone."""
        return "supported" if abs(self.number - self.expected) <= self.within else "contradicted"


def _by_name(metric: str) -> Literal["maximize", "minimize"]:
    return "minimize" if metric.rpartition("/")[2] in LOWER_IS_BETTER else "maximize"
