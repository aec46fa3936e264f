"""The order of trials: by value, and the earlier of two equal ones first."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knobs.search import Direction, rank_trials

VALUES = st.dictionaries(st.integers(0, 99), st.sampled_from([-1.0, 0.0, 0.5, 0.5000000000000001, 2.0]))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@given(values=VALUES)
def test_of_two_equal_trials_the_earlier_is_the_better_whichever_ended_first(
    values: dict[int, float], direction: Direction
) -> None:
    ranked = rank_trials(values, direction)
    assert sorted(ranked) == sorted(values)
    for better, worse in pairwise(ranked):
        first, second = values[better], values[worse]
        assert better < worse if first == second else (first > second) == (direction == "maximize")
    assert rank_trials(dict(reversed(values.items())), direction) == ranked
