"""Seeds trained as one batch: each gives the values it gives alone. Which configs are trained so."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainings import SEEDS, Listener, alone, close, lasting, together, toy_config

from datamodules.mnist1d import MNIST1D
from knobs import Value
from knobs.training import Outcome
from knobs.training.seed_batch import trains_as_batch
from knobs.training.stacked_layers import can_stack, stack_networks
from models.mlp import MLP
from models.resnet import ResNet

TOLERANCE = {"32": 2e-6, "64": 1e-14}
"""Largest difference of any recorded value after 30 steps from the run alone. Rounding grows with the steps."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.dropout": 0.3},
        {"model.norm": "batch", "model.depth": 2},
        {"model.norm": "layer", "training.label_smoothing": 0.1},
        {"training.clip_norm": 0.05},
        {"training.early_stop": 1, "optimizer.lr": 1.0},
        {"training.precision": "64", "optimizer.kind": "adamw"},
        {"optimizer.kind": "adagrad", "optimizer.weight_decay": 0.01},
        {"model.kind": "resnet", "model.width": 8, "model.dropout": 0.2},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())) or "plain",
)
def test_each_member_does_what_it_does_alone(changes: dict[str, Value], tmp_path: Path) -> None:
    config = toy_config().with_knobs(changes)
    tolerance = TOLERANCE[config.training.precision]
    ended = set()
    for seed, (outcome, listener) in zip(SEEDS, together(config, tmp_path / "all"), strict=True):
        want, other = alone(config, seed, tmp_path / f"alone{seed}")
        assert outcome.state == want.state == "finished"
        assert outcome.best_step == want.best_step
        assert [step for step, _ in listener.curves()] == [step for step, _ in other.curves()]
        pairs = zip(listener.curves(), other.curves(), strict=True)
        assert all(close(mine, its, tolerance) for (_, mine), (_, its) in pairs)
        assert close(lasting(outcome), lasting(want), tolerance)
        ended.add(listener.curves()[-1][0])
    if "training.early_stop" in changes:
        assert min(ended) < 30  # a member that stops early receives no more


def values(trained: list[tuple[Outcome, Listener]]) -> list[Any]:
    return [(outcome.state, lasting(outcome), listener.curves()) for outcome, listener in trained]


@pytest.mark.parametrize("changes", [{}, {"model.dropout": 0.3, "model.norm": "batch", "optimizer.kind": "adamw"}])
@pytest.mark.parametrize("stop_at", [5, 13])
def test_cut_anywhere_it_goes_on_with_the_same_bits(changes: dict[str, Value], stop_at: int, tmp_path: Path) -> None:
    config = toy_config().with_knobs(changes)
    whole = values(together(config, tmp_path / "whole"))
    assert values(together(config, tmp_path / "again")) == whole
    cut = together(config, tmp_path / "cut", stop_at=stop_at)
    assert {outcome.state for outcome, _ in cut} == {"interrupted"}
    saved = cut[0][0].checkpoint
    assert saved is not None
    assert values(together(config, tmp_path / "on", resume=(saved,))) == whole
    other = together(config.with_knobs({"optimizer.lr": 0.2}), tmp_path / "other", resume=(saved,))
    assert "another config" in other[0][0].log  # skipped, trained from the start


def test_a_member_that_is_not_asked_for_moves_nothing(tmp_path: Path) -> None:
    config = toy_config(model__dropout=0.3)
    whole = values(together(config, tmp_path / "whole"))
    assert values(together(config, tmp_path / "one", wanted=(4,))) == whole[1:2]


def test_weights_of_a_member_are_its_networks(tmp_path: Path) -> None:
    config = toy_config(model__norm="batch")
    together(config, tmp_path)
    network = config.model.build(config.data.spec())
    saved = torch.load(tmp_path / "4" / "best.ckpt", weights_only=True)
    network.load_state_dict(saved["network"])


def test_a_member_that_diverges_ends_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config()
    whole = values(together(config, tmp_path / "whole"))
    make = stack_networks

    def broken(networks: Any, generators: Any) -> nn.Module:
        made = make(networks, generators)
        if isinstance(made, nn.Sequential):  # the whole network
            with torch.no_grad():
                next(made.parameters())[1] = torch.inf
        return made

    monkeypatch.setattr("knobs.training.seed_batch.stack_networks", broken)
    found = together(config, tmp_path / "broken")
    assert [outcome.state for outcome, _ in found] == ["finished", "diverged", "finished"]
    assert "became nan" in found[1][0].message
    assert found[1][1].curves() == []
    assert [values(found)[0], values(found)[2]] == [whole[0], whole[2]]


def test_the_rule_looks_at_config_and_device_alone() -> None:
    config = toy_config()
    assert trains_as_batch(config, "cpu")
    assert not trains_as_batch(config, "cuda")  # no benchmark supports it yet
    assert not trains_as_batch(config.with_knobs({"model.width": 512, "model.depth": 2}), "cpu")
    assert not trains_as_batch(config.with_knobs({"training.precision": "bf16-mixed"}), "cpu")
    before = torch.get_rng_state()
    trains_as_batch(config, "cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_what_cannot_be_stacked_is_known() -> None:
    spec = MNIST1D().spec()
    assert can_stack(MLP(norm="layer", dropout=0.1).build(spec))
    assert not can_stack(ResNet().build(spec))  # convolutions

    class OwnForward(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(1)

    assert not can_stack(OwnForward(nn.Linear(2, 2)))
    assert not can_stack(nn.Sequential(nn.BatchNorm1d(2, affine=False)))
    assert not can_stack(nn.Sequential(nn.Flatten(0)))
    assert not can_stack(nn.PReLU())


def test_membership_is_part_of_the_digest() -> None:
    config = toy_config()
    digests = {config.digest("data", how) for how in ("solo", "population of seeds 1,2", "population of seeds 1,2,3")}
    assert len(digests) == 3
