"""Checks of optimizers: they step downhill, and their state survives a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch

from knobs.checks.check import FailedCheckError
from knobs.config import OptimizerConfig
from knobs.errors import BadInputError
from knobs.user_code import line_of, user_error

STEPS = 50


def check_optimizer(optimizer: OptimizerConfig) -> str:
    """Raise `FailedCheckError` if steps do not lower a convex loss, or if a restored optimizer steps differently.

    Raise `BadInputError` if it does not build, or leaves out a parameter.

    The loss is that of a small least-squares problem; the rate is the optimizer's own. Return the losses.
    """
    about = _about(optimizer)
    weights, built = _start(optimizer)
    first = _step(weights, built)
    for _ in range(STEPS - 1):
        last = _step(weights, built)
    if not last < first:
        raise FailedCheckError(
            f"{about}: {STEPS} steps at lr {optimizer.lr:g} bring the loss from {first:.4g} to {last:.4g}"
        )
    copies, restored = _start(optimizer)
    with torch.no_grad():
        for copy, weight in zip(copies, weights, strict=True):
            copy.copy_(weight)
    restored.load_state_dict(deepcopy(built.state_dict()))
    _step(weights, built)
    _step(copies, restored)
    if not all(torch.equal(a, b) for a, b in zip(copies, weights, strict=True)):
        raise FailedCheckError(f"{about}: an optimizer restored from state_dict() steps differently")
    return f"loss {first:.3g} to {last:.3g} in {STEPS} steps at lr {optimizer.lr:g}"


def build_optimizer_of(
    optimizer: OptimizerConfig, named: Sequence[tuple[str, torch.nn.Parameter]]
) -> torch.optim.Optimizer:
    """Return the optimizer over these parameters. Raise `BadInputError` if it is none or leaves out a parameter."""
    try:
        built = optimizer.build(named)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError) as error:
        raise user_error(error, f"build() of optimizer {optimizer.kind} raises") from error
    if not isinstance(built, torch.optim.Optimizer):
        raise BadInputError(
            f"{_about(optimizer)}: build() returns {type(built).__name__}; return a torch.optim.Optimizer"
        )
    held = {id(p) for group in built.param_groups for p in group["params"]}
    if missing := [name for name, p in named if id(p) not in held]:
        raise BadInputError(f"{_about(optimizer)}: it leaves out {missing[0]}, one of {len(named)} parameters")
    return built


def _about(optimizer: OptimizerConfig) -> str:
    place = line_of(type(optimizer).build)
    return f"{place}: optimizer.{optimizer.kind}" if place else f"optimizer.{optimizer.kind}"


def _start(optimizer: OptimizerConfig) -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (3,))]
    return weights, build_optimizer_of(optimizer, [("layer.weight", weights[0]), ("layer.bias", weights[1])])


def _step(weights: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> float:
    """Take one step of mean squared error to fixed targets. Return the loss before it."""
    loss = torch.stack([((weight - 0.5) ** 2).mean() for weight in weights]).sum()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()
