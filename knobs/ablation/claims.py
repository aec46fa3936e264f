"""Claims as data: what an ablation expects to see, and the test of each kind of claim on the recorded seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from knobs import stats
from knobs.ablation.cell_values import (
    Levels,
    UndecidableError,
    Values,
    cell_table,
    common_seeds,
    is_selected,
    named_levels,
    paired_values,
    select_cells,
)
from knobs.config import usual_direction
from knobs.errors import BadInputError, nearest

BEST_OF = "tuning/best_of_"
"""Followed by a number n: the expected best value of the tuning metric among n trials of a repetition."""


class Claim(Protocol):
    """The interface of every kind of claim."""

    @property
    def text(self) -> str:
        """The claim in a sentence."""

    @property
    def metric(self) -> str:
        """The metric that it is about; empty if it reads none."""

    @property
    def metrics(self) -> Sequence[str]:
        """The names of all values that its test reads."""

    def selections(self) -> list[Levels]:
        """Return the cells that it is about, as one or more selections by levels."""

    def check(self, factors: Mapping[str, list[str]]) -> None:
        """Raise `BadInputError` if it names a factor or a level that `factors` lacks."""

    def can_be_tested(self, factors: Mapping[str, list[str]]) -> bool:
        """Return whether it can be tested with these levels of the factors."""

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test on the values of its metric, and a caveat on values that it left out.

        Raise `UndecidableError` if the recorded runs cannot decide the claim.
        """

    def test_all(self, metrics: Mapping[str, Values], factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test on the values of all of its metrics, and a caveat, as `test` does."""


@dataclass(frozen=True, kw_only=True)
class _Claim:
    text: str
    """The claim in a sentence."""
    metric: str
    """`test/accuracy`, `train/loss`, ...: read at the checkpoint that validation chose."""
    where: Levels = field(default_factory=dict)
    """The cells that it is about; all cells if empty."""

    def __post_init__(self) -> None:
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if isinstance(value, Mapping):
                object.__setattr__(self, field_.name, named_levels(value))

    def selections(self) -> list[Levels]:
        """Return the cells that it is about, as one or more selections by levels."""
        return [self.where]

    @property
    def metrics(self) -> Sequence[str]:
        """The names of all values that its test reads."""
        return (self.metric,)

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test on the values of its metric, and a caveat on values that it left out."""
        raise NotImplementedError

    def test_all(self, metrics: Mapping[str, Values], factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test on the values of all of its metrics, and a caveat, as `test` does."""
        return self.test(metrics.get(self.metric, {}), factors)

    def check(self, factors: Mapping[str, list[str]]) -> None:
        """Raise `BadInputError` if it names a factor or a level that `factors` lacks."""
        for selection in self.selections():
            for name, wanted in selection.items():
                if name not in factors:
                    raise BadInputError(f"claim {self.text!r}: {name} is no factor{nearest(name, factors)}")
                for level in [wanted] if isinstance(wanted, str) else wanted:
                    if level not in factors[name]:
                        hint = nearest(level, factors[name])
                        raise BadInputError(f"claim {self.text!r}: {level} is no level of {name}{hint}")

    def can_be_tested(self, factors: Mapping[str, list[str]]) -> bool:
        """Return whether it can be tested with these levels of the factors."""
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
    """The better direction of the metric. If None: the metric's own, as the objective says."""

    def selections(self) -> list[Levels]:
        """Return the two sides."""
        return [{**self.where, **self.better}, {**self.where, **self.worse}]

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the paired test of better - worse."""
        first, second = self.selections()
        a, b, caveat = paired_values(first, second, values, factors)
        return stats.beats(a, b, direction=self.direction or usual_direction(self.metric)), caveat


@dataclass(frozen=True, kw_only=True)
class BeatsAtEveryBudget(Beats):
    """A beats B for every number of tuning trials from `from_trials` on: on the metric of tuning, whose best counts.

    In each repetition the expected best of n trials is computed for each n. The claim holds if "beats" holds for every
    n, so the largest p is its p (Berger 1982), without a correction for the number of budgets. It is contradicted if B
    beats A for every n.
    """

    from_trials: int = 1
    to_trials: int = 0
    """The largest number of trials; 0: the ablation's."""

    @property
    def metrics(self) -> Sequence[str]:
        """The expected best of each number of trials."""
        return [f"{BEST_OF}{n}" for n in range(self.from_trials, self.to_trials + 1)]

    def test_all(self, metrics: Mapping[str, Values], factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test of the number of trials at which it is least clear."""
        tests = [(name, *self.test(metrics.get(name, {}), factors)) for name in self.metrics]
        name, least, caveat = max(tests, key=lambda made: made[1].p_supports)
        against = max(made[1].p_contradicts for made in tests)
        note = f"least clear for the best of {name.removeprefix(BEST_OF)} trials"
        return replace(least, p_contradicts=against), "; ".join(text for text in (note, caveat) if text)


@dataclass(frozen=True, kw_only=True)
class NoDifference(_Claim):
    """A and B differ by no more than `within`. The test is one of equivalence: a large p supports nothing."""

    a: Levels
    b: Levels
    within: float

    def selections(self) -> list[Levels]:
        """Return the two sides."""
        return [{**self.where, **self.a}, {**self.where, **self.b}]

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the paired equivalence test of a - b."""
        first, second = self.selections()
        a, b, caveat = paired_values(first, second, values, factors)
        return stats.no_difference(a, b, self.within), caveat


@dataclass(frozen=True, kw_only=True)
class Trend(_Claim):
    """The metric falls, or rises, with an ordered factor, averaged over the cells of the other factors."""

    factor: str
    way: Literal["falls", "rises"]
    steps: bool = True
    """Levels are one unit apart; if false, their numbers are the positions."""

    def selections(self) -> list[Levels]:
        """Return the cells, and an empty selection that names the factor."""
        return [self.where, {self.factor: []}]

    def can_be_tested(self, factors: Mapping[str, list[str]]) -> bool:
        """Return whether at least two of these levels of the factor are left."""
        return super().can_be_tested(factors) and len(self._levels(factors)) >= 2

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test of the seeds' slopes."""
        columns = [select_cells(values, {**self.where, self.factor: level}) for level in self._levels(factors)]
        seeds, caveat = common_seeds(values, [cell for column in columns for cell in column])
        means = [np.mean([[values[cell][s] for s in seeds] for cell in column], axis=0) for column in columns]
        at = None if self.steps else [float(level) for level in self._levels(factors)]
        table = np.stack(means, axis=1)
        return (stats.falls if self.way == "falls" else stats.rises)(table, at=at), caveat

    def _levels(self, factors: Mapping[str, list[str]]) -> list[str]:
        wanted = {name: levels for name, levels in self.where.items() if name == self.factor}
        return [level for level in factors[self.factor] if is_selected({self.factor: level}, wanted)]


@dataclass(frozen=True, kw_only=True)
class NumberClaim(_Claim):
    """A claim that compares with a number."""

    value: float | Callable[[], float]
    """A number, or a function that computes it."""

    @cached_property
    def number(self) -> float:
        """The value; a function is called once."""
        return float(self.value() if callable(self.value) else self.value)


@dataclass(frozen=True, kw_only=True)
class Matches(NumberClaim):
    """The metric in these cells matches a published or computed value within a tolerance."""

    within: float

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test of the seeds' mean against the value."""
        del factors
        table, caveat = cell_table(values, self.where)
        return stats.matches(table, self.number, self.within), caveat


@dataclass(frozen=True, kw_only=True)
class Exceeds(NumberClaim):
    """The metric in these cells is better than a published or computed value."""

    direction: Literal["maximize", "minimize"] | None = None
    """The better direction of the metric. If None: the metric's own, as the objective says."""

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Return the test of the seeds' mean less the value."""
        del factors
        table, caveat = cell_table(values, self.where)
        return stats.exceeds(table, self.number, direction=self.direction or usual_direction(self.metric)), caveat


@dataclass(frozen=True, kw_only=True)
class Computed(NumberClaim):
    """An exact computation, such as the error of a construction. It holds or does not: no run decides it, no chance."""

    metric: str = ""
    expected: float = 0.0
    within: float
    """The largest allowed distance from the expected number."""

    def selections(self) -> list[Levels]:
        """Return no selection: it is about no cell."""
        return []

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Raise `UndecidableError`: the number alone decides it."""
        raise UndecidableError(self.note)

    @property
    def note(self) -> str:
        """The computed number and the expected one, in words."""
        return f"computed exactly: {self.number:.6g}, expected {self.expected:g} within {self.within:g}"

    @property
    def verdict(self) -> stats.Verdict:
        """The verdict, from the number alone."""
        return "supported" if abs(self.number - self.expected) <= self.within else "contradicted"
