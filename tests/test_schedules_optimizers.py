"""Schedules against closed forms and torch's own; each optimizer's steps against torch's plain loop over tensors."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from knobs import optimizers, schedules
from knobs.config import OptimizerConfig, ScheduleConfig

fractions = st.floats(0, 1, exclude_max=True)
warm = st.integers(0, 500)
made: st.SearchStrategy[ScheduleConfig] = st.one_of(
    st.builds(schedules.Constant, warmup_steps=warm),
    st.builds(
        schedules.Step,
        gamma=st.floats(0, 1, exclude_min=True, allow_subnormal=False),
        drops=st.integers(1, 20),
        warmup_steps=warm,
    ),
    st.builds(schedules.Exponential, final=st.floats(1e-300, 1), warmup_steps=warm),
    st.builds(schedules.InverseTime, rate=st.floats(0, 1e300), warmup_steps=warm),
    st.builds(schedules.Cosine, final=fractions, warmup_steps=warm),
    st.builds(schedules.OneCycle, rise=fractions, start=fractions, final=fractions, warmup_steps=warm),
)


@settings(deadline=None)
@given(made, st.integers(1, 1000), st.data())
def test_every_factor_is_between_0_and_1(schedule: ScheduleConfig, total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    assert 0.0 <= schedule.factor(step, total) <= 1.0


def curve(schedule: ScheduleConfig, total: int) -> list[float]:
    return [schedule.factor(step, total) for step in range(total)]


KNOWN: dict[str, tuple[ScheduleConfig, int, dict[int, float]]] = {
    "constant": (schedules.Constant(), 10, {0: 1.0, 5: 1.0, 9: 1.0}),
    "step": (schedules.Step(gamma=0.5, drops=2), 9, {0: 1, 2: 1, 3: 0.5, 5: 0.5, 6: 0.25, 8: 0.25}),
    "step, uneven": (schedules.Step(gamma=0.1, drops=1), 5, {2: 1, 3: 0.1, 4: 0.1}),
    "exponential": (schedules.Exponential(final=0.01), 100, {0: 1.0, 50: 0.1, 75: 0.01**0.75}),
    "inverse time": (schedules.InverseTime(rate=0.5), 9, {0: 1.0, 2: 0.5, 8: 0.2}),
    "cosine": (schedules.Cosine(), 8, {0: 1.0, 2: 0.5 + math.sqrt(0.5) / 2, 4: 0.5, 6: 0.5 - math.sqrt(0.5) / 2}),
    "cosine to 0.2": (schedules.Cosine(final=0.2), 8, {0: 1.0, 4: 0.6}),
    "one cycle": (schedules.OneCycle(rise=0.5, start=0.2, final=0.1), 8, {0: 0.2, 2: 0.6, 4: 1.0, 6: 0.55}),
    "one cycle, no rise": (schedules.OneCycle(rise=0.0, final=0.0), 4, {0: 1.0, 2: 0.5}),
    "warm-up": (schedules.Constant(warmup_steps=4), 10, {0: 0.2, 1: 0.4, 3: 0.8, 4: 1.0, 9: 1.0}),
    "warm-up, then cosine": (schedules.Cosine(warmup_steps=2), 10, {0: 1 / 3, 1: 2 / 3, 2: 1.0, 6: 0.5}),
    "a warm-up longer than the run": (schedules.Cosine(warmup_steps=9), 5, {0: 0.1, 4: 0.5}),
}


@pytest.mark.parametrize(("schedule", "total", "points"), KNOWN.values(), ids=KNOWN)
def test_known_values(schedule: ScheduleConfig, total: int, points: dict[int, float]) -> None:
    assert {step: schedule.factor(step, total) for step in points} == pytest.approx(points, rel=1e-12)


Scheduler = Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]
SAME_AS_TORCH: dict[str, tuple[ScheduleConfig, Scheduler]] = {
    "step": (schedules.Step(gamma=0.3, drops=3), lambda o, n: lr_scheduler.StepLR(o, n // 4, gamma=0.3)),
    "exponential": (
        schedules.Exponential(final=0.05),
        lambda o, n: lr_scheduler.ExponentialLR(o, gamma=0.05 ** (1 / n)),
    ),
    "cosine": (
        schedules.Cosine(final=0.1),
        lambda o, n: lr_scheduler.CosineAnnealingLR(o, n, eta_min=0.1 * o.param_groups[0]["lr"]),
    ),
    "warm-up": (
        schedules.Constant(warmup_steps=24),
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
    """Torch's peaks at step rise * total - 1 and ends at total - 1; ours at rise * total and at total."""
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
    assert curve(schedules.OneCycle(rise=rise), total) == pytest.approx(rates, rel=1e-6, abs=1e-9)


def test_a_default_one_cycle_starts_low_peaks_once_and_ends_near_0() -> None:
    rates = curve(schedules.OneCycle(), 1000)
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(0.04)
    assert peak == 300
    assert rates[-1] < 1e-4
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


# Optimizers

CASES: dict[str, tuple[OptimizerConfig, type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (optimizers.SGD(lr=0.05), torch.optim.SGD, {"lr": 0.05}),
    "sgd, momentum, decay": (
        optimizers.SGD(lr=0.05, momentum=0.9, weight_decay=0.01),
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    ),
    "sgd, nesterov": (
        optimizers.SGD(lr=0.05, momentum=0.8, nesterov=True),
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.8, "nesterov": True},
    ),
    "adagrad": (
        optimizers.Adagrad(lr=0.05, eps=1e-6, weight_decay=0.01),
        torch.optim.Adagrad,
        {"lr": 0.05, "eps": 1e-6, "weight_decay": 0.01},
    ),
    "rmsprop": (
        optimizers.RMSprop(lr=0.01, alpha=0.9, momentum=0.5, eps=1e-5, weight_decay=0.01),
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "eps": 1e-5, "weight_decay": 0.01},
    ),
    "adam": (
        optimizers.Adam(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
        torch.optim.Adam,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "adamw": (
        optimizers.AdamW(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
        torch.optim.AdamW,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
}


def weights_after(build: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer], steps: int) -> list[torch.Tensor]:
    """Parameters of a small network after some steps down the same random quadratics, in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (3,), (1, 3)]
    start = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    goals = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    parameters = [torch.nn.Parameter(tensor) for tensor in start]
    optimizer = build(parameters)
    for step in range(steps):
        optimizer.zero_grad()
        losses = [((p - g) ** 2).sum() * (1 + step % 3) for p, g in zip(parameters, goals, strict=True)]
        torch.stack(losses).sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize(("config", "torchs", "options"), CASES.values(), ids=CASES)
def test_every_optimizer_steps_like_torchs_plain_loop(
    config: OptimizerConfig, torchs: type[torch.optim.Optimizer], options: dict[str, Any], steps: int
) -> None:
    plain = {"foreach": False} if torchs in (torch.optim.Adagrad, torch.optim.RMSprop) else {"fused": False}
    ours = weights_after(lambda parameters: optimizers.build(config, parameters), steps)
    theirs = weights_after(lambda parameters: torchs(parameters, **options, **plain), steps)
    start = weights_after(lambda parameters: optimizers.build(config, parameters), 0)
    for mine, other, first in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)
        assert not torch.equal(mine, first)


def test_every_kind_is_tested_here() -> None:
    assert {case[0].kind for case in CASES.values()} == set(optimizers.KINDS)
    assert {case[0].kind for case in KNOWN.values()} == set(schedules.KINDS)


def test_weight_decay_is_decoupled_in_adamw_alone() -> None:
    """With a zero gradient AdamW still shrinks the weight by lr * decay; Adam moves it by a whole step of lr."""
    for kind, expected in ((optimizers.AdamW, 0.95), (optimizers.Adam, 0.9)):
        weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        weight.grad = torch.zeros_like(weight)
        optimizers.build(kind(lr=0.1, weight_decay=0.5), [weight]).step()
        assert weight.item() == pytest.approx(expected, abs=1e-7)


def test_nesterov_without_momentum_is_plain_sgd() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looking = weights_after(lambda p: optimizers.build(optimizers.SGD(lr=0.1, nesterov=True), p), 5)
    plain = weights_after(lambda p: optimizers.build(optimizers.SGD(lr=0.1), p), 5)
    assert all(torch.equal(a, b) for a, b in zip(looking, plain, strict=True))
