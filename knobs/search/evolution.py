"""CMA-ES without a state: each ask rebuilds the search distribution from the trials that it may see.

Optuna's own sampler keeps a pickle in every trial. This one tells the `cmaes` package all ended trials in their order,
one generation after the other, which takes milliseconds. So a study continues from its recorded values alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from knobs.search.shares import share_of, value_at
from knobs.search.trials import TRAINED


class CmaEsSampler(BaseSampler):
    """Samples the numbers that the space suggests at the baseline; choices and further knobs are drawn at random.

    A pruned trial counts with its last reported value, a diverged one as worse than all others.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        self.names = [name for name, d in space.items() if not (isinstance(d, CategoricalDistribution) or d.single())]
        self.seed = seed
        self.random = RandomSampler(seed=seed)
        self._shares: dict[str, float] | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: each knob is sampled when the space suggests it."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing: each knob is sampled when the space suggests it."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a knob's coordinate of the point that CMA-ES asks for."""
        if param_name not in self.names or isinstance(param_distribution, CategoricalDistribution):
            return self.random.sample_independent(study, trial, param_name, param_distribution)
        if self._shares is None:
            self._shares = self._ask(study)
        return value_at(param_distribution, self._shares[param_name])

    def _ask(self, study: Study) -> dict[str, float]:
        """Return a share of each knob's range, after all generations that have ended."""
        from cmaes import CMA  # takes a tenth of a second

        dims = len(self.names)
        bounds = np.tile([0.0, 1.0], (dims, 1))
        search = CMA(mean=np.full(dims, 0.5), sigma=1 / 6, bounds=bounds, seed=self.seed, n_max_resampling=10 * dims)
        told = self._solutions(study)
        size = search.population_size
        for start in range(0, len(told) - size + 1, size):
            search.tell(told[start : start + size])
        return dict(zip(self.names, map(float, search.ask()), strict=True))

    def _solutions(self, study: Study) -> list[tuple[np.ndarray, float]]:
        """Return the trials to learn from: their shares, and a loss."""
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        found = []
        for trial in study.get_trials(deepcopy=False):
            value = _value(trial, sign * math.inf)
            if value is not None and all(name in trial.params for name in self.names):
                point = [share_of(trial.distributions[name], trial.params[name]) for name in self.names]
                found.append((np.array(point), sign * value))
        return found


def _value(trial: FrozenTrial, worst: float) -> float | None:
    """Return the value to learn from: of a pruned trial the last one that it reported; None if there is none."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if trial.state != TrialState.PRUNED:
        return None
    if trial.constraints.get(TRAINED, 0.0) > 0:
        return worst
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
