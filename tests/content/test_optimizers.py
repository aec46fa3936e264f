"""Each optimizer's steps against torch's plain loop over tensors."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import ROOT

from knobs import DataSpec, GroupedOptimizerConfig, OptimizerConfig, discover
from models.mlp import MLP
from optimizers.adagrad import Adagrad
from optimizers.adam import Adam
from optimizers.adamw import AdamW
from optimizers.lion import Lion
from optimizers.muon import Muon
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
    assert {case[0].kind for case in CASES.values()} | {"lion", "muon"} == set(discover.files("optimizers", ROOT))


def test_lion_follows_its_paper() -> None:
    """Algorithm 2 of Chen et al. 2023, a weight at a time."""
    config = Lion(lr=0.01, beta1=0.8, beta2=0.95, weight_decay=0.1)

    class Plain(torch.optim.Optimizer):
        def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
            super().__init__(parameters, {})
            self.momenta = [torch.zeros_like(p) for p in parameters]

        def step(self, closure: Any = None) -> None:
            del closure
            for p, m in zip(self.param_groups[0]["params"], self.momenta, strict=True):
                update = torch.sign(0.8 * m + 0.2 * p.grad)
                p.data = p.data - 0.01 * (update + 0.1 * p.data)
                m.copy_(0.95 * m + 0.05 * p.grad)

    for mine, plain in zip(weights_after(config.build, 30), weights_after(Plain, 30), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-12)


NAMES = ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias", "4.weight", "4.bias"]
SHAPES = [(6, 3), (6,), (6,), (6, 6), (6,), (2, 6), (2,)]


def network_parameters(seed: int = 0) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the parameters of a network: linear, a norm's weight, linear, linear."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    return list(zip(NAMES, made, strict=True))


def stepped(build: Callable[[list[tuple[str, torch.nn.Parameter]]], Any], steps: int = 3) -> dict[str, torch.Tensor]:
    """Return the parameters after some steps with fixed gradients."""
    named = network_parameters()
    built = build(named)
    for step in range(steps):
        for optimizer in built if isinstance(built, list) else [built]:
            for number, (_, p) in enumerate(named):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + number))
            optimizer.step()
    return {name: p.detach().clone() for name, p in named}


def test_muon_trains_the_inner_matrices_and_adamw_the_rest() -> None:
    def separately(named: list[tuple[str, torch.nn.Parameter]]) -> list[torch.optim.Optimizer]:
        inner = [p for name, p in named if name == "2.weight"]
        outer = [p for name, p in named if name != "2.weight"]
        return [
            torch.optim.Muon(inner, lr=0.05, momentum=0.9, weight_decay=0.1),
            torch.optim.AdamW(outer, lr=0.002, weight_decay=0.1, fused=True),
        ]

    config = Muon(lr=0.05, momentum=0.9, weight_decay=0.1, adam_lr=0.002)
    ours, theirs = stepped(config.build), stepped(separately)
    assert all(torch.equal(ours[name], theirs[name]) for name in NAMES)
    built = config.build(network_parameters())
    for group in built.param_groups:  # as the learner sets rates
        group["lr"] = 0.5 * config.lr * group.get("lr_scale", 1.0)
    assert [group["lr"] for group in built.param_groups] == pytest.approx([0.025, 0.001])
    parts = built.parts
    assert [part.param_groups[0]["lr"] for part in parts] == pytest.approx([0.025, 0.001])


def test_a_combined_optimizer_is_restored_exactly() -> None:
    config = Muon()

    def restored(named: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        first = config.build(named)
        for _, p in named:
            p.grad = torch.ones_like(p)
        first.step()
        second = config.build(named)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        for group in second.param_groups:
            group["lr"] = 0.01
        return second

    def whole(named: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        first = config.build(named)
        for _, p in named:
            p.grad = torch.ones_like(p)
        first.step()
        for group in first.param_groups:
            group["lr"] = 0.01
        return first

    one, other = stepped(restored), stepped(whole)
    assert all(torch.equal(one[name], other[name]) for name in NAMES)


def scales(config: GroupedOptimizerConfig) -> dict[str, tuple[float, float]]:
    """Return factor of the rate and weight decay of each parameter."""
    named = network_parameters()
    names = {id(p): name for name, p in named}
    groups = config.build(named).param_groups
    return {names[id(p)]: (g.get("lr_scale", 1.0), g["weight_decay"]) for g in groups for p in g["params"]}


def test_biases_and_norms_may_be_left_undecayed() -> None:
    found = scales(AdamW(weight_decay=0.1, decay_vectors=False))
    assert found == {name: (1.0, 0.1 if name in ("0.weight", "2.weight", "4.weight") else 0.0) for name in NAMES}
    assert set(scales(AdamW(weight_decay=0.1)).values()) == {(1.0, 0.1)}


def test_lower_layers_may_have_lower_rates() -> None:
    found = scales(SGD(layer_decay=0.5))
    assert {name: scale for name, (scale, _) in found.items()} == {
        "0.weight": 0.25, "0.bias": 0.25, "1.weight": 0.25, "2.weight": 0.5, "2.bias": 0.5, "4.weight": 1, "4.bias": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (Adam(mup_base_width=3), {"2.weight": 0.5, "4.weight": 0.5}),
        (Lion(mup_base_width=3), {"2.weight": 0.5, "4.weight": 0.5}),
        (SGD(mup_base_width=3), {"0.weight": 2, "0.bias": 2, "1.weight": 2, "2.bias": 2, "4.weight": 0.5}),
        (SGD(mup_base_width=6), {}),
    ],
)
def test_mup_scales_rates_with_the_width(config: GroupedOptimizerConfig, wanted: dict[str, float]) -> None:
    """Yang et al. 2022, table 3, at twice the base width; at the base width nothing changes."""
    assert {name: scale for name, (scale, _) in scales(config).items() if scale != 1} == wanted


@pytest.mark.parametrize(("kind", "lr"), [(Adam, 0.02), (SGD, 0.5)])
def test_under_mup_a_step_moves_the_outputs_alike_at_every_width(kind: type[GroupedOptimizerConfig], lr: float) -> None:
    """The coordinate check of Yang et al. 2022: without muP the change of the outputs grows with the width."""

    def moved(width: int, base: int | None) -> float:
        torch.manual_seed(0)
        spec = DataSpec(task="regression", layout="vector", shape=(10,), outputs=1, metric="rmse")
        network = MLP(depth=3, width=width, head="zero").build(spec)
        optimizer = kind(lr=lr, mup_base_width=base).build(list(network.named_parameters()))
        generator = torch.Generator().manual_seed(1)
        x, y = torch.randn(64, 10, generator=generator), torch.randn(64, 1, generator=generator)
        for _ in range(4):
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(network(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            return float(network(x).abs().mean())

    wide, plain = ([moved(width, base) for width in (32, 256, 2048)] for base in (32, None))
    assert max(wide) < 1.3 * min(wide)
    assert max(plain) > 10 * min(plain)


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
