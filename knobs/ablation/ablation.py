"""An ablation: one question, its cells, and the claims that its repetitions decide.

The words are the tuning playbook's: *scientific* knobs are the factors, *nuisance* knobs are re-tuned in every cell
with an equal budget, the rest is *fixed* and listed as a caveat. A repetition does everything that is random once more:
other draws of the nuisance knobs, another seed in tuning, fresh seeds with the winner. All cells have the same draws
and seeds in a repetition, so comparisons are paired.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from optuna.trial import BaseTrial

from knobs.ablation.claims import BeatsAtEveryBudget, Claim
from knobs.ablation.factors import Cell, Derived, Factor, Quick, Reference
from knobs.ablation.matching import Match, match_config
from knobs.ablation.metrics import directed_claims
from knobs.config import RunConfig, Value
from knobs.errors import BadInputError, nearest
from knobs.search import Direction, Replicates, Space, SpaceProbe, Study, check_goal, check_pruner

LOOK_EVERY = 5
"""Repetitions between two looks. Those of one interval train together."""

SEEDS_APART = 100
"""The first fresh seeds of two successive repetitions differ by this number."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One ablation. A file in `experiments/` holds one."""

    question: str
    claim: str
    """The expected result in a sentence, written before it runs."""
    baseline: RunConfig
    factors: tuple[Factor, ...]
    nuisance: Space | None = None
    """The space over which every cell is tuned: `(trial, cell's config) -> RunConfig`, with Optuna's suggest calls.

    If it is None, or suggests nothing in a cell, the cell is not tuned: its fresh seeds train its own config.
    """
    claims: tuple[Claim, ...] = ()
    references: tuple[Reference, ...] = ()
    metric: str
    """The metric of tuning: `val/<metric>`."""
    direction: Direction
    shown: str = ""
    """The metric of tables and figures: `train/loss`, `derived/<name>`, ... If empty: tuning's, on the test split."""
    derived: tuple[Derived, ...] = ()
    """Numbers that are computed from every seed's records."""
    repetitions: int = 10
    """How often a cell is tuned and evaluated. If it is 1, seeds decide the claims, for this one tuning."""
    trials: int = 8
    """Nuisance trials in every repetition of a cell."""
    tuning_seeds: int = 1
    """Seeds with which each trial is trained; its value is their mean. They are replicates, as those of a study."""
    seeds: int = 2
    """Fresh seeds that train the winner of a repetition; their mean is the repetition's value."""
    looks: tuple[int, ...] = ()
    """Numbers of repetitions after which claims are decided, and the ablation ends if all are. Empty: at the end."""
    first_seed: int = 1000
    """Repetition r evaluates the seeds `first_seed + 100 r`, and so on."""
    sampler: str = "qmc"
    """By default quasi-random: no trial has to wait for another, and no cell is searched better by luck."""
    design: Literal["crossed", "one_at_a_time"] = "crossed"
    """Every combination of levels, or the baseline's levels with one factor changed at a time."""
    where: Callable[[Mapping[str, str]], bool] | None = None
    """Returns true for the combinations to keep. If None, all are kept."""
    match: Match | None = None
    pruner: str = "none"
    """A pruner ends trials early, so use one only if the cells' budgets should be equal in steps, not in trials."""
    feedback_lag: int = 4
    """A trial is proposed from the trials up to this many before it, at any number of workers."""
    quick: Quick = field(default_factory=Quick)
    caveats: tuple[str, ...] = ()
    """What readers should know, apart from the fixed knobs."""

    def __post_init__(self) -> None:
        knobs = self.baseline.knobs()
        names = [factor.name for factor in self.factors]
        if not self.factors or len(set(names)) < len(names):
            raise BadInputError("an ablation needs at least one factor, each named once")
        for factor in self.factors:
            if len(factor.levels) < 2:
                raise BadInputError(f"factor {factor.name} has {len(factor.levels)} level; it needs at least 2")
            for level, changes in factor.levels.items():
                if unknown := [k for k in changes if k not in knobs and not _of_new_kind(k, changes)]:
                    hint = nearest(unknown[0], knobs)
                    raise BadInputError(f"level {level} of factor {factor.name}: {unknown[0]} is no knob{hint}")
        check_goal(self.metric, self.direction, self.baseline)
        self._check_size()
        check_pruner(self.pruner, self.tuning_seeds)
        cells = self.cells()
        for cell in cells:
            self._check_tuned(cell)
        if len({cell.name for cell in cells}) < len(cells):
            raise BadInputError("two cells have the same name: the levels' names, joined by blanks, must differ")
        for claim in self.claims:
            claim.check({factor.name: list(factor.levels) for factor in self.factors})
        object.__setattr__(self, "claims", directed_claims(self, cells))

    def _check_size(self) -> None:
        """Raise `BadInputError` if repetitions, trials, seeds or looks do not fit each other."""
        if min(self.trials, self.tuning_seeds, self.seeds, self.repetitions) < 1:
            raise BadInputError("an ablation needs at least 1 repetition, and 1 trial, tuning seed and seed in each")
        if self.seeds > SEEDS_APART and self.repetitions > 1:
            raise BadInputError(f"seeds = {self.seeds}: a repetition has at most {SEEDS_APART}")
        if self.looks and self.looks != tuple(range(LOOK_EVERY, self.looks[-1] + 1, LOOK_EVERY)):
            raise BadInputError(f"looks = {self.looks}: one after every {LOOK_EVERY} repetitions, from the first on")
        if self.looks and self.looks[-1] != self.repetitions:
            raise BadInputError(f"looks = {self.looks}: the last must be after all {self.repetitions} repetitions")
        if self.claims and max(self.repetitions, self.seeds) < 2:
            raise BadInputError(f"1 {self.unit} cannot decide a claim: a test needs at least 2")

    def _check_tuned(self, cell: Cell) -> None:
        """Raise `BadInputError` if tuning could change a cell's budget or undo a level."""
        tuned = self.nuisance_knobs(cell)
        if unequal := sorted(tuned & {"training.max_steps", "training.early_stop"}):
            raise BadInputError(f"{unequal[0]} cannot be a nuisance knob: every cell's budget must be equal")
        if tuned and (possible := self.study(cell).possible_trials(self.trials)) < self.trials:
            raise BadInputError(f"trials = {self.trials}: the grid of cell {cell.name} has {possible} points")
        for factor in self.factors:  # a level may set where tuning starts if it sets other knobs too
            changes = set(factor.levels[cell.levels[factor.name]])
            if changes and changes <= tuned:
                raise BadInputError(f"{min(changes)} is a factor and a nuisance knob; it can only be one of the two")

    @property
    def reported(self) -> str:
        """The metric of tables and figures."""
        return self.shown or self.metric.replace("val/", "test/", 1)

    def cells(self) -> list[Cell]:
        """Return every cell, in the order of the factors' levels. Raise `BadInputError` if a level is out of range."""
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

    @property
    def unit(self) -> str:
        """The rows of every test, in a word."""
        return "repetition" if self.repetitions > 1 else "seed"

    @property
    def space(self) -> Space:
        """The nuisance space; without one, the space that suggests nothing."""
        return self.nuisance or _nothing_tuned

    def study(self, cell: Cell, repetition: int = 0) -> Study:
        """Return the study that tunes one cell in a repetition. Budget, seeds and draws are the same in all cells.

        No trial is the baseline: its nuisance knobs may suit one cell better than the others.
        """
        return Study(
            baseline=cell.config.with_knobs({"seed": cell.config.seed + repetition}),
            space=self.space,
            metric=self.metric,
            direction=self.direction,
            trials=self.trials,
            seed=repetition,
            feedback_lag=self.feedback_lag,
            sampler=self.sampler,
            pruner=self.pruner,
            baseline_first=False,
            replicates=Replicates(seeds=self.tuning_seeds),
        )

    def evaluation_seeds(self, repetition: int) -> list[int]:
        """Return the fresh seeds of a repetition."""
        first = self.first_seed + SEEDS_APART * repetition
        return list(range(first, first + self.seeds))

    def trials_of(self, cell: Cell) -> int:
        """Return the number of trials in a repetition of a cell: 0 if nothing is tuned in it."""
        return self.trials if self.nuisance_knobs(cell) else 0

    def runs_of(self, cell: Cell) -> int:
        """Return the number of trainings of a cell."""
        return self.repetitions * (self.trials_of(cell) * self.tuning_seeds + self.seeds)

    def nuisance_knobs(self, cell: Cell) -> set[str]:
        """Return the knobs that the nuisance space tunes in this cell."""
        probe = SpaceProbe(cell.config.knobs())
        self.space(probe, cell.config)
        return set(probe.seen)

    def fixed(self) -> dict[str, Value]:
        """Return the knobs that neither a factor nor the nuisance space varies, with their values."""
        cells = self.cells()
        varied = {name for factor in self.factors for knobs in factor.levels.values() for name in knobs}
        varied |= {name for cell in cells for name in self.nuisance_knobs(cell)} | {"seed"}
        varied |= {self.match.knob} if self.match else set()
        shared = [cell.config.knobs() for cell in cells]
        return {
            name: value
            for name, value in self.baseline.knobs().items()
            if name not in varied and all(knobs.get(name, ...) == value for knobs in shared)
        }

    def made_quick(self) -> Ablation:
        """Return the `--quick` preset: fewer trials, seeds, steps and levels, and the claims still testable."""
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
            repetitions=self.quick.repetitions,
            looks=(),
            trials=self.quick.trials,
            tuning_seeds=1,
            pruner="none" if self.pruner == "wilcoxon" else self.pruner,
            seeds=self.quick.seeds,
            claims=tuple(
                claim
                for claim in self.claims
                if claim.can_be_tested(kept) and not isinstance(claim, BeatsAtEveryBudget)  # quick: one tuning
            ),
        )

    def _config(self, levels: Mapping[str, str]) -> RunConfig:
        changes: dict[str, Value] = {}
        for factor in self.factors:
            changes |= factor.levels[levels[factor.name]]
        try:
            config = self.baseline.with_knobs(changes)
        except BadInputError as error:
            raise BadInputError(f"cell {' '.join(levels.values())}: {error}") from None
        return config if self.match is None else match_config(config, self.match)


def _nothing_tuned(trial: BaseTrial, baseline: RunConfig) -> RunConfig:
    """The nuisance space of an ablation that has none."""
    del trial
    return baseline


def _of_new_kind(knob: str, changes: Mapping[str, Value]) -> bool:
    """Return whether a knob may belong to another kind that its level chooses; `with_knobs` checks that it does."""
    return f"{knob.partition('.')[0]}.kind" in changes
