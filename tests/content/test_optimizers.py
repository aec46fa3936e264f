"""Each optimizer's steps against torch's plain loop over tensors."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import ROOT

from knobs import OptimizerConfig, discover
from optimizers.adagrad import Adagrad
from optimizers.adam import Adam
from optimizers.adamw import AdamW
from optimizers.rmsprop import RMSprop
from optimizers.sgd import SGD

CASES: dict[str, tuple[OptimizerConfig, type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (SGD(lr=0.05), torch.optim.SGD, {"lr": 0.05}),
    "sgd, momentum, decay": (
        SGD(lr=0.05, momentum=0.9, weight_decay=0.01),
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    ),
    "sgd, nesterov": (
        SGD(lr=0.05, momentum=0.8, nesterov=True),
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.8, "nesterov": True},
    ),
    "adagrad": (
        Adagrad(lr=0.05, eps=1e-6, weight_decay=0.01),
        torch.optim.Adagrad,
        {"lr": 0.05, "eps": 1e-6, "weight_decay": 0.01},
    ),
    "rmsprop": (
        RMSprop(lr=0.01, alpha=0.9, momentum=0.5, eps=1e-5, weight_decay=0.01),
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "eps": 1e-5, "weight_decay": 0.01},
    ),
    "adam": (
        Adam(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
        torch.optim.Adam,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "adamw": (
        AdamW(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
        torch.optim.AdamW,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
}


def weights_after(build: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer], steps: int) -> list[torch.Tensor]:
    """Return the parameters of a small network after some steps on fixed random quadratics, in float64."""
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
    ours = weights_after(config.build, steps)
    theirs = weights_after(lambda parameters: torchs(parameters, **options, **plain), steps)
    start = weights_after(config.build, 0)
    for mine, other, first in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)
        assert not torch.equal(mine, first)


def test_every_kind_is_tested_here() -> None:
    assert {case[0].kind for case in CASES.values()} == set(discover.files("optimizers", ROOT))


def test_weight_decay_is_decoupled_in_adamw_alone() -> None:
    """With a zero gradient AdamW still shrinks the weight by lr * decay; Adam moves it by a whole step of lr."""
    for kind, expected in ((AdamW, 0.95), (Adam, 0.9)):
        weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        weight.grad = torch.zeros_like(weight)
        kind(lr=0.1, weight_decay=0.5).build([("w", weight)]).step()
        assert weight.item() == pytest.approx(expected, abs=1e-7)


def test_nesterov_without_momentum_is_plain_sgd() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looking = weights_after(lambda p: SGD(lr=0.1, nesterov=True).build(p), 5)
    plain = weights_after(lambda p: SGD(lr=0.1).build(p), 5)
    assert all(torch.equal(a, b) for a, b in zip(looking, plain, strict=True))
