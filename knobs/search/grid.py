"""The points of a grid: every combination of a space's choices, whole numbers and stepped floats."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from knobs.errors import BadInputError
from knobs.search.shares import nth_step, number_of_steps

MOST_POINTS = 100_000


def grid_size(space: Mapping[str, BaseDistribution]) -> int:
    """Return the number of points. Raise `BadInputError` if a knob has no finite number of values, or for too many."""
    size = math.prod(len(_values(knob, distribution)) for knob, distribution in space.items())
    if size > MOST_POINTS:
        raise BadInputError(
            f"the grid has {size:,} points, more than {MOST_POINTS:,}: widen the steps, or use the sampler qmc"
        )
    return size


def grid_points(
    space: Mapping[str, BaseDistribution], seed: int, first: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return all points in an order drawn from the seed; `first`, if given, is the first of them."""
    grid_size(space)
    values = [_values(knob, distribution) for knob, distribution in space.items()]
    points = [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*values)]
    random.Random(seed).shuffle(points)
    if first is not None:
        at = {knob: _nearest(values_of, first[knob]) for knob, values_of in zip(space, values, strict=True)}
        points.sort(key=lambda point: point != at)
    return points


def check_on_grid(where: str, space: Mapping[str, BaseDistribution], walked: Mapping[str, BaseDistribution]) -> None:
    """Raise `BadInputError` if a walk of a space met other knobs or ranges than the grid has."""
    for knob in [*walked, *space]:
        if walked.get(knob) != space.get(knob):
            raise BadInputError(
                f"{where}: {knob} depends on other knobs, so a grid does not cover it; use another sampler"
            )


def _values(knob: str, distribution: BaseDistribution) -> range | list[Any]:
    """Return the values of a knob in order."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    count = number_of_steps(distribution)
    if count is None:
        raise BadInputError(
            f"a grid needs a step for {knob}, a float from {distribution.low:g} to {distribution.high:g}"
        )
    return [nth_step(distribution, index) for index in range(min(count, MOST_POINTS + 1))]


def _nearest(values: range | list[Any], value: Any) -> Any:
    """Return the grid's own value of a knob: sums of steps are rounded."""
    return value if value in values else min(values, key=lambda one: abs(one - value))
