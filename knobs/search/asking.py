"""Ask Optuna for trials so that the answer depends on the trial's number alone.

Trial n is asked from a fresh in-memory Optuna study that holds the finished trials 0 to n - lag and nothing else, with
a sampler for (study seed, n). Its pruner sees the same history. So one worker or eight, interrupted or not,
give the same trials, values and pruning decisions.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from knobs.config import RunConfig
from knobs.search.draws import check_suggested
from knobs.search.grid import check_on_grid
from knobs.search.optuna_internals import noted_attributes
from knobs.search.samplers import LEARNS_FROM, make_pruner, make_sampler
from knobs.search.study import Study
from knobs.search.trials import finished_trial, noted_to_json


@dataclass
class PendingTrial:
    """A trial in training: its config, and the live Optuna trial that answers for the pruner."""

    number: int
    config: RunConfig
    trial: optuna.trial.Trial
    last_step: int
    """The step at which it has been trained whole; with replicates, the number of the last one."""
    answers: dict[int, bool] = field(default_factory=dict)
    """Step of every report so far, and whether the trial should continue."""

    def report(self, step: int, value: float) -> bool:
        """Report a value to the pruner. Return false to stop. A step reported again (a replay) gets the same answer.

        A trial at its last step has been trained whole, so it continues whatever the pruner says. With replicates,
        a step is the number of one, from 0.
        """
        if step not in self.answers:
            self.trial.report(value, step)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SciPy's, on tests of few replicates
                pruned = self.trial.should_prune()  # a halving pruner notes rungs meanwhile
            self.answers[step] = not pruned or step >= self.last_step
        return self.answers[step]

    def ended(self, state: TrialState, value: float | None, *, trained: bool) -> FrozenTrial:
        """Return the ended trial as later trials see it. `trained` is false if it diverged or ran out of memory."""
        live = self.trial.study.get_trials(deepcopy=False)[self.number]
        params, distributions = dict(self.trial.params), self.trial.distributions
        curve = live.intermediate_values
        return finished_trial(state, value, params, distributions, noted_attributes(live), trained, curve)

    def noted_to_json(self) -> str:
        """Return what sampler and pruner noted on this trial, for the record; empty if they noted nothing."""
        return noted_to_json(self.trial)


class Search:
    """Asks for the trials of one study. Each sees only the history that its number allows."""

    def __init__(self, study: Study, name: str) -> None:
        self.study, self.name = study, name
        self.history: dict[int, FrozenTrial] = {}
        self._space = study.space_at_baseline()
        self._grid = study.grid() if study.sampler == "grid" else []

    def is_independent(self, number: int) -> bool:
        """Return whether no other trial has an effect on this one: neither on its values nor on its pruning."""
        first_learned = LEARNS_FROM.get(self.study.sampler)
        return self.study.pruner == "none" and (first_learned is None or number < first_learned)

    def knows_enough(self, number: int) -> bool:
        """Return whether all trials that trial `number` may see have ended."""
        return self.is_independent(number) or all(
            n in self.history for n in range(number - self.study.feedback_lag + 1)
        )

    def ask(self, number: int, params: dict[str, Any] | None = None) -> PendingTrial:
        """Return the trial of this number. Pass `params` if it was asked before and must come out the same.

        Raise `BadInputError` if the space returns no `RunConfig`, or one that differs from what it suggested.
        """
        study = self.study
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's notes on experimental parts that we chose knowingly
            memory = optuna.create_study(
                study_name=self.name,
                direction=study.direction,
                sampler=make_sampler(
                    study.sampler,
                    self._space,
                    seed=study.seed,
                    number=number,
                    point=number - 1 if study.baseline_first and number else number,
                ),
                pruner=make_pruner(study.pruner, study.baseline),
            )
            known = 0 if self.is_independent(number) else max(0, number - study.feedback_lag + 1)
            unseen = create_trial(state=TrialState.FAIL)  # fills the gap: Hyperband's brackets depend on numbers
            memory.add_trials([self.history[n] for n in range(known)] + [unseen] * (number - known))
            given = params if params is not None else self._known_values(number)
            if given is not None:
                memory.enqueue_trial(given)
            trial = memory.ask()
            _ = trial.relative_params  # NSGA-II notes the generation here, which Optuna skips if all values are given
            config = study.space(trial, study.baseline)
        if self._grid:
            check_on_grid(f"the space of {self.name}", self._space, trial.distributions)
        check_suggested(f"the space of {self.name}", trial.params, config)
        replicates = study.replicates.count
        return PendingTrial(number, config, trial, replicates - 1 if replicates > 1 else config.training.max_steps)

    def _known_values(self, number: int) -> dict[str, Any] | None:
        """Return the values of a trial that no sampler chooses: a point of a grid, or the baseline."""
        if self._grid:
            return self._grid[number]
        return dict(self.study.baseline.knobs()) if number == 0 and self.study.baseline_first else None
