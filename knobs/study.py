"""A study, and asking Optuna for its trials so that the answer depends on the trial's number alone.

Trial n is asked from a fresh in-memory Optuna study that holds the finished trials 0..n-lag and nothing else, with a
sampler seeded from (study seed, n); its pruner sees the same history. So one worker or eight, interrupted or not, give
the same trials, values and pruning decisions.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from knobs.config import RunConfig, Value
from knobs.data import METRICS
from knobs.errors import BadInputError, nearest

optuna.logging.set_verbosity(optuna.logging.ERROR)

Space = Callable[[optuna.trial.BaseTrial, RunConfig], RunConfig]
"""A search space: `(trial, baseline) -> RunConfig`, with Optuna's own suggest calls, each named by its knob."""

Direction = Literal["maximize", "minimize"]

TRAINED = "trained"
"""The constraint that a diverged trial, or one out of memory, violates, so that the search moves away."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One file in `studies/` holds one of these; its docstring says what is searched and why."""

    baseline: RunConfig
    """Trial 0, and what every knob outside the space is held at."""
    space: Space
    metric: str
    """`val/<metric>`, read at the checkpoint that validation chose; its curve is what a pruner sees."""
    direction: Direction
    trials: int = 20
    """Budget, unless `--trials` or `--timeout` says otherwise."""
    seed: int = 0
    """Seed of the search (a run's own seed is `RunConfig.seed`)."""
    lag: int = 4
    """Trial n is asked for with the trials 0..n-lag known, and nothing else."""
    sampler: str = "tpe"
    pruner: str = "median"

    def __post_init__(self) -> None:
        metrics = [f"val/{name}" for name in ("loss", *METRICS[self.baseline.data.spec().task])]
        if isinstance(self.metric, list | tuple) or isinstance(self.direction, list | tuple):
            raise BadInputError(
                "a study has one metric and one direction; several objectives are not what knobs is for"
            )
        if self.metric not in metrics:
            raise BadInputError(
                f"metric = {self.metric!r}: not recorded for this data set" + nearest(self.metric, metrics)
            )
        if self.direction not in ("maximize", "minimize"):
            raise BadInputError(f"direction = {self.direction!r}: either maximize or minimize")
        if self.trials < 1 or self.lag < 1:
            raise BadInputError("a study needs at least 1 trial and a lag of at least 1")
        make_sampler(self.sampler, 0)
        make_pruner(self.pruner, self.baseline)
        self.walk()

    def walk(self) -> dict[str, BaseDistribution]:
        """Knob and distribution of all that the space suggests at the baseline, which must lie in its own space."""
        probe = FixedProbe(self.baseline.knobs())
        config = self.space(probe, self.baseline)
        if not isinstance(config, RunConfig):
            raise BadInputError(f"a space must return a RunConfig, not {type(config).__name__}")
        if config != self.baseline:
            knobs = config.knobs()
            off = next(k for k, v in self.baseline.knobs().items() if knobs.get(k, ...) != v)
            raise BadInputError(f"the baseline lies outside its own space at {off}")
        return probe.seen

    def identity(self) -> dict[str, Any]:
        """What makes its recorded trials comparable: all but the budget. A change makes it another study."""
        return {
            "baseline": json.loads(self.baseline.to_json()),
            "space": {name: json.loads(distribution_to_json(d)) for name, d in sorted(self.walk().items())},
            "metric": self.metric,
            "direction": self.direction,
            "seed": self.seed,
            "lag": self.lag,
            "sampler": self.sampler,
            "pruner": self.pruner,
        }


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler of this name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        }
        if name not in made:
            raise BadInputError(f"no sampler named {name!r}" + nearest(name, made))
        return made[name]()


def make_pruner(name: str, baseline: RunConfig) -> optuna.pruners.BasePruner:
    """Optuna's pruner of this name, its resources in optimizer steps."""
    steps = baseline.training.max_steps
    made: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=steps // 10),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(max(1, steps // 27), steps, 3),
        "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(max(1, steps // 27), 3),
    }
    if name not in made:
        raise BadInputError(f"no pruner named {name!r}" + nearest(name, made))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made[name]()


class FixedProbe(optuna.trial.FixedTrial):
    """Walks a space with given values and notes the distributions that it meets."""

    def __init__(self, knobs: Mapping[str, Value]) -> None:
        super().__init__(dict(knobs))
        self.seen: dict[str, BaseDistribution] = {}

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        self.seen[name] = distribution
        if name not in self._params:
            raise BadInputError(
                f"the space suggests {name}, which is no knob of the baseline" + nearest(name, self._params)
            )
        value = self._params[name]
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except ValueError:  # no such choice, or no number
            inside = False
        if not inside:
            raise BadInputError(f"the baseline lies outside its own space: {name} = {value!r} is not in {distribution}")
        return value


@dataclass
class Asked:
    """A trial that is being trained: its config, and the live Optuna trial that answers for the pruner."""

    number: int
    config: RunConfig
    trial: optuna.trial.Trial
    answers: dict[int, bool] = field(default_factory=dict)
    """Step of every report so far, and whether the trial was worth going on with."""

    def report(self, step: int, value: float) -> bool:
        """Tell the pruner a value; false: stop. The same step told again (a replay) gives the same answer."""
        if step not in self.answers:
            self.trial.report(value, step)
            self.answers[step] = not self.trial.should_prune()
        return self.answers[step]

    def frozen(self, state: TrialState, value: float | None, trained: bool, values: Mapping[int, float]) -> FrozenTrial:
        """The ended trial as later histories see it."""
        live = self.trial.study.get_trials(deepcopy=False)[self.number]
        kept = {key: attr for key, attr in live.system_attrs.items() if key.startswith("completed_rung")}
        return freeze(state, value, dict(self.trial.params), self.trial.distributions, kept, trained, values)

    def to_json(self) -> str:
        """What Optuna needs to know of this trial, for the record."""
        live = self.trial.study.get_trials(deepcopy=False)[self.number]
        kept = {key: attr for key, attr in live.system_attrs.items() if key.startswith("completed_rung")}
        shapes = {name: distribution_to_json(d) for name, d in self.trial.distributions.items()}
        return json.dumps({"params": self.trial.params, "distributions": shapes, "attrs": kept})


class Ended(FrozenTrial):
    """An ended trial changes no more, so its copies may share what they hold: a thousand are copied for each ask."""

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTrial:
        return copy.copy(self)


def freeze(
    state: TrialState,
    value: float | None,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    attrs: dict[str, Any],
    trained: bool,
    values: Mapping[int, float],
) -> FrozenTrial:
    """An ended trial; `trained` false where it diverged or ran out of memory."""
    ended = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=params,
        distributions=distributions,
        system_attrs=attrs,
        intermediate_values=dict(values),
        constraints={TRAINED: 0.0 if trained else 1.0},
    )
    ended.__class__ = Ended
    return ended


def thaw(text: str) -> tuple[dict[str, Any], dict[str, BaseDistribution], dict[str, Any]]:
    """Parameters, distributions and attributes from what `Asked.to_json` wrote."""
    read = json.loads(text)
    shapes = {name: json_to_distribution(d) for name, d in read["distributions"].items()}
    return read["params"], shapes, read["attrs"]


class Search:
    """Asks for the trials of one study, each from the history that its number allows."""

    def __init__(self, study: Study, name: str) -> None:
        self.study, self.name = study, name
        self.history: dict[int, FrozenTrial] = {}

    def knows_enough(self, number: int) -> bool:
        """Whether the trials that `number` is asked with have all ended."""
        return all(n in self.history for n in range(number - self.study.lag + 1))

    def ask(self, number: int, params: dict[str, Any] | None = None) -> Asked:
        """The trial of this number; `params` where it was asked for before and must come out the same."""
        seed = int.from_bytes(hashlib.sha256(f"{self.study.seed}/{number}".encode()).digest()[:4], "big")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's notes on experimental parts that we chose knowingly
            memory = optuna.create_study(
                study_name=self.name,
                direction=self.study.direction,
                sampler=make_sampler(self.study.sampler, seed),
                pruner=make_pruner(self.study.pruner, self.study.baseline),
            )
            known = max(0, number - self.study.lag + 1)
            unseen = create_trial(state=TrialState.FAIL)  # keeps the numbers true: Hyperband's brackets go by them
            memory.add_trials([self.history[n] for n in range(known)] + [unseen] * (number - known))
            if number == 0 and params is None:
                params = dict(self.study.baseline.knobs())
            if params is not None:
                memory.enqueue_trial(params)
            trial = memory.ask()
            config = self.study.space(trial, self.study.baseline)
        if not isinstance(config, RunConfig):
            raise BadInputError(f"the space of {self.name} must return a RunConfig, not {type(config).__name__}")
        knobs = config.knobs()
        for knob, value in trial.params.items():
            if knob not in knobs:
                raise BadInputError(
                    f"the space of {self.name} suggests {knob}, no knob of its run" + nearest(knob, knobs)
                )
            if knobs[knob] != value:
                raise BadInputError(f"the space of {self.name} suggests {knob} = {value} but its run has {knobs[knob]}")
        return Asked(number, config, trial)
