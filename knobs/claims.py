"""Claims as data: what an ablation expects to see, and how the recorded seeds decide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from knobs import stats
from knobs.data import LOWER_IS_BETTER
from knobs.errors import BadInputError, nearest

Levels = Mapping[str, str | Sequence[str]]
"""Which cells: level (or levels) by factor; all of a factor that is not named."""

Values = Mapping[tuple[tuple[str, str], ...], Mapping[int, float]]
"""One metric: seed -> value of every cell, the cell as its sorted (factor, level) pairs."""


class Unanswerable(Exception):
    """The recorded runs cannot answer a claim; the message says why."""


class Claim(Protocol):
    """What every kind of claim can do."""

    text: str
    metric: str

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

    def selections(self) -> list[Levels]:
        """The two sides."""
        return [{**self.where, **self.better}, {**self.where, **self.worse}]

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """Paired by seed; the effect is better - worse."""
        a, b, caveat = _pairs(self, values, factors)
        direction: Literal["maximize", "minimize"] = "minimize" if _falls_with_quality(self.metric) else "maximize"
        return stats.beats(a, b, direction=direction), caveat


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
        a, b, caveat = _pairs(self, values, factors)
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
        columns = [_cells(values, {**self.where, self.factor: level}) for level in self._levels(factors)]
        seeds, caveat = _common_seeds(values, [cell for column in columns for cell in column])
        means = [np.mean([[values[cell][s] for s in seeds] for cell in column], axis=0) for column in columns]
        at = None if self.steps else [float(level) for level in self._levels(factors)]
        table = np.stack(means, axis=1)
        return (stats.falls if self.way == "falls" else stats.rises)(table, at=at), caveat

    def _levels(self, factors: Mapping[str, list[str]]) -> list[str]:
        wanted = self.where.get(self.factor)
        return [level for level in factors[self.factor] if wanted is None or level in wanted]


@dataclass(frozen=True, kw_only=True)
class Matches(_Claim):
    """The metric in these cells matches a published or computed value within a tolerance."""

    value: float
    within: float

    def test(self, values: Values, factors: Mapping[str, list[str]]) -> tuple[stats.ClaimTest, str]:
        """The seeds' mean against the value."""
        del factors
        cells = _cells(values, self.where)
        seeds, caveat = _common_seeds(values, cells)
        return stats.matches([[values[cell][s] for cell in cells] for s in seeds], self.value, self.within), caveat


@dataclass(frozen=True)
class Ruling:
    """One claim and what became of it."""

    claim: Claim
    verdict: stats.Verdict | None
    """None where the runs could not answer."""
    note: str
    """Caveats, or why there is no verdict."""

    @property
    def word(self) -> str:
        """supported, contradicted or undecided."""
        return self.verdict.verdict if self.verdict else "undecided"


def rule(claims: Sequence[Claim], metrics: Mapping[str, Values], factors: Mapping[str, list[str]]) -> list[Ruling]:
    """Decide an ablation's claims together, under Holm's correction; one that cannot be answered is undecided.

    `metrics` has the values of each metric that a claim names.
    """
    tests: dict[int, tuple[stats.ClaimTest, str]] = {}
    notes: dict[int, str] = {}
    for index, claim in enumerate(claims):
        try:
            tests[index] = claim.test(metrics.get(claim.metric, {}), factors)
        except Unanswerable as error:
            notes[index] = str(error)
    verdicts = dict(zip(tests, stats.decide([test for test, _ in tests.values()]), strict=True)) if tests else {}
    rulings = []
    for index, claim in enumerate(claims):
        verdict = verdicts.get(index)
        said = [notes.get(index, ""), tests[index][1] if index in tests else "", verdict.caveat if verdict else ""]
        rulings.append(Ruling(claim, verdict, "; ".join(text for text in said if text)))
    return rulings


def _falls_with_quality(metric: str) -> bool:
    return metric.rpartition("/")[2] in LOWER_IS_BETTER


def _cells(values: Values, where: Levels) -> list[tuple[tuple[str, str], ...]]:
    def inside(cell: tuple[tuple[str, str], ...]) -> bool:
        levels = dict(cell)
        return all(
            levels[name] == want if isinstance(want, str) else levels[name] in want for name, want in where.items()
        )

    found = [cell for cell in values if inside(cell)]
    if not found:
        raise Unanswerable("no cell that it speaks of has recorded runs")
    return found


def _common_seeds(values: Values, cells: Sequence[tuple[tuple[str, str], ...]]) -> tuple[list[int], str]:
    """Seeds that finished in all these cells; the rest is said, never dropped in silence."""
    every = set().union(*(values[cell] for cell in cells))
    common = sorted(set.intersection(*(set(values[cell]) for cell in cells)))
    for cell in cells:
        if not values[cell]:
            raise Unanswerable(f"no run of cell {' '.join(level for _, level in cell)} finished")
    if len(common) < 2:
        raise Unanswerable(f"{len(common)} seed in common; a test needs at least 2")
    lost = len(every) - len(common)
    return common, f"{lost} of {len(every)} seeds left out: they did not finish in every cell" if lost else ""


def _pairs(
    claim: Beats | NoDifference, values: Values, factors: Mapping[str, list[str]]
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], np.ndarray[tuple[int, ...], np.dtype[np.float64]], str]:
    """Both sides as (seeds, cells), the same seed in a row and the same other levels in a column."""
    first, second = claim.selections()
    differs = [name for name in factors if first.get(name) != second.get(name)]

    def rest(cell: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple(pair for pair in cell if pair[0] not in differs)

    left = {rest(cell): cell for cell in _cells(values, first)}
    right = {rest(cell): cell for cell in _cells(values, second)}
    shared = [key for key in left if key in right]
    if not shared:
        raise Unanswerable("no two cells differ in just what it compares")
    seeds, caveat = _common_seeds(values, [side[key] for key in shared for side in (left, right)])
    a, b = ([[values[side[key]][s] for key in shared] for s in seeds] for side in (left, right))
    return np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), caveat
