"""Schedules against closed forms and torch's own."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT
from torch.optim import lr_scheduler

from knobs import ScheduleConfig, discover
from schedules.constant import Constant
from schedules.cosine import Cosine
from schedules.exponential import Exponential
from schedules.inverse_time import InverseTime
from schedules.one_cycle import OneCycle
from schedules.step import Step
from schedules.wsd import WSD

fractions = st.floats(0, 1, exclude_max=True)
warm = st.integers(0, 500)
made: st.SearchStrategy[ScheduleConfig] = st.one_of(
    st.builds(Constant, warmup_steps=warm),
    st.builds(
        Step,
        gamma=st.floats(0, 1, exclude_min=True, allow_subnormal=False),
        drops=st.integers(1, 20),
        warmup_steps=warm,
    ),
    st.builds(Exponential, final=st.floats(1e-300, 1), warmup_steps=warm),
    st.builds(InverseTime, rate=st.floats(0, 1e300), warmup_steps=warm),
    st.builds(Cosine, final=fractions, warmup_steps=warm),
    st.builds(
        WSD,
        fall=st.floats(1e-6, 1),
        shape=st.sampled_from(["linear", "root"]),
        final=fractions,
        warmup_steps=warm,
    ),
    st.builds(OneCycle, rise=fractions, start=fractions, final=fractions, warmup_steps=warm),
)


@settings(deadline=None)
@given(made, st.integers(1, 1000), st.data())
def test_every_factor_is_between_0_and_1(schedule: ScheduleConfig, total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    assert 0.0 <= schedule.factor(step, total) <= 1.0


def curve(schedule: ScheduleConfig, total: int) -> list[float]:
    return [schedule.factor(step, total) for step in range(total)]


KNOWN: dict[str, tuple[ScheduleConfig, int, dict[int, float]]] = {
    "constant": (Constant(), 10, {0: 1.0, 5: 1.0, 9: 1.0}),
    "step": (Step(gamma=0.5, drops=2), 9, {0: 1, 2: 1, 3: 0.5, 5: 0.5, 6: 0.25, 8: 0.25}),
    "step, uneven": (Step(gamma=0.1, drops=1), 5, {2: 1, 3: 0.1, 4: 0.1}),
    "exponential": (Exponential(final=0.01), 100, {0: 1.0, 50: 0.1, 75: 0.01**0.75}),
    "inverse time": (InverseTime(rate=0.5), 9, {0: 1.0, 2: 0.5, 8: 0.2}),
    "cosine": (Cosine(), 8, {0: 1.0, 2: 0.5 + math.sqrt(0.5) / 2, 4: 0.5, 6: 0.5 - math.sqrt(0.5) / 2}),
    "cosine to 0.2": (Cosine(final=0.2), 8, {0: 1.0, 4: 0.6}),
    "one cycle": (OneCycle(rise=0.5, start=0.2, final=0.1), 8, {0: 0.2, 2: 0.6, 4: 1.0, 6: 0.55}),
    "one cycle, no rise": (OneCycle(rise=0.0, final=0.0), 4, {0: 1.0, 2: 0.5}),
    "stay, fall": (WSD(fall=0.4), 10, {0: 1.0, 6: 1.0, 7: 0.75, 8: 0.5, 9: 0.25}),
    "stay, fall by the root": (WSD(fall=0.4, shape="root", final=0.5), 10, {6: 1.0, 7: 0.75, 9: 1 - 0.5 * 0.75**0.5}),
    "warm-up, stay, fall": (WSD(fall=0.5, warmup_steps=2), 10, {0: 1 / 3, 2: 1.0, 6: 1.0, 7: 0.75, 9: 0.25}),
    "warm-up": (Constant(warmup_steps=4), 10, {0: 0.2, 1: 0.4, 3: 0.8, 4: 1.0, 9: 1.0}),
    "warm-up, then cosine": (Cosine(warmup_steps=2), 10, {0: 1 / 3, 1: 2 / 3, 2: 1.0, 6: 0.5}),
    "a warm-up longer than the run": (Cosine(warmup_steps=9), 5, {0: 0.1, 4: 0.5}),
}


@pytest.mark.parametrize(("schedule", "total", "points"), KNOWN.values(), ids=KNOWN)
def test_known_values(schedule: ScheduleConfig, total: int, points: dict[int, float]) -> None:
    assert {step: schedule.factor(step, total) for step in points} == pytest.approx(points, rel=1e-12)


Scheduler = Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]
SAME_AS_TORCH: dict[str, tuple[ScheduleConfig, Scheduler]] = {
    "step": (Step(gamma=0.3, drops=3), lambda o, n: lr_scheduler.StepLR(o, n // 4, gamma=0.3)),
    "exponential": (
        Exponential(final=0.05),
        lambda o, n: lr_scheduler.ExponentialLR(o, gamma=0.05 ** (1 / n)),
    ),
    "cosine": (
        Cosine(final=0.1),
        lambda o, n: lr_scheduler.CosineAnnealingLR(o, n, eta_min=0.1 * o.param_groups[0]["lr"]),
    ),
    "warm-up": (
        Constant(warmup_steps=24),
        lambda o, _: lr_scheduler.LinearLR(o, start_factor=1 / 25, total_iters=24),
    ),
}


@pytest.mark.parametrize(("schedule", "torchs"), SAME_AS_TORCH.values(), ids=SAME_AS_TORCH)
def test_the_same_rates_as_torchs_own_schedulers(schedule: ScheduleConfig, torchs: Scheduler) -> None:
    total, peak = 120, 0.3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = torchs(optimizer, total)
    rates: list[float] = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [peak * factor for factor in curve(schedule, total)] == pytest.approx(rates, rel=1e-9, abs=1e-12)


def test_one_cycle_has_torchs_shape() -> None:
    """Torch's schedule peaks at step rise * total - 1 and ends at total - 1; ours at rise * total and total."""
    total, rise = 100, 0.3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.OneCycleLR(
        optimizer, 1.0, total + 1, pct_start=(rise * total + 1) / (total + 1), cycle_momentum=False
    )
    rates: list[float] = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert curve(OneCycle(rise=rise), total) == pytest.approx(rates, rel=1e-6, abs=1e-9)


def test_a_default_one_cycle_starts_low_peaks_once_and_ends_near_0() -> None:
    rates = curve(OneCycle(), 1000)
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(0.04)
    assert peak == 300
    assert rates[-1] < 1e-4
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_every_kind_is_tested_here() -> None:
    assert {case[0].kind for case in KNOWN.values()} == set(discover.files("schedules", ROOT))
