"""Runs trained as one batch: each gives the values it gives alone. Which runs are trained so."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainings import Listener, alone, close, lasting, of_seeds, together, toy_config

from datamodules.letters import Letters
from datamodules.mnist1d import MNIST1D
from datamodules.toy import Toy
from knobs import BadInputError, ModelConfig, RunConfig, Value, discover
from knobs.record.runs import execution_of, recorded_batch
from knobs.training import Outcome
from knobs.training.batch.rule import batch_key, batches
from knobs.training.batch.stacking import can_stack, member_state, stack_networks
from models.mlp import MLP
from models.resnet import ResNet
from models.rnn import RNN

TOLERANCE = {"32": 1e-5, "64": 1e-13}
"""Largest relative difference of any recorded value after 30 steps from the run alone. Rounding grows with the steps:
a difference of 1e-7 in a weight moves whichever sample lies that close to a boundary."""


def check_against_alone(configs: Sequence[RunConfig], folder: Path, tolerance: float) -> list[int]:
    """Train runs as a batch and each alone; compare every recorded value. Return the last step of each one's curves."""
    ended = []
    for place, (outcome, listener) in enumerate(together(configs, folder / "all")):
        want, other = alone(configs[place], folder / f"alone{place}")
        assert (outcome.state, outcome.best_step) == (want.state, want.best_step), outcome.log
        assert [step for step, _ in listener.curves()] == [step for step, _ in other.curves()]
        for (_, mine), (_, its) in zip(listener.curves(), other.curves(), strict=True):
            assert close(mine, its, tolerance), (place, mine, its)
        assert close(lasting(outcome), lasting(want), tolerance)
        ended.append(listener.curves()[-1][0])
    return ended


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.dropout": 0.3},
        {"model.norm": "batch", "model.depth": 2},
        {"model.norm": "layer", "objective.label_smoothing": 0.1},
        {"training.clip_norm": 0.05, "data.task": "binary", "objective.label_smoothing": 0.1},
        {"objective.kind": "focal", "model.depth": 2},
        {"objective.balanced": True, "objective.label_smoothing": 0.1},
        {"data.task": "binary", "objective.pos_weight": 3.0},
        {"data.task": "regression", "objective.kind": "gaussian", "optimizer.lr": 0.01},
        {"data.task": "regression", "objective.kind": "huber"},
        {"training.early_stop": 1, "optimizer.lr": 1.0},
        {"training.precision": "64", "optimizer.kind": "adamw"},
        {"optimizer.kind": "adagrad", "optimizer.weight_decay": 0.01, "data.task": "regression"},
        {"model.kind": "resnet", "model.width": 8, "model.dropout": 0.2},
        {"model.kind": "resnet", "model.width": 8, "model.dropout": 0.2, "data.layout": "image"},
        {"model.kind": "resnet", "model.width": 5, "model.norm": "layer", "data.layout": "sequence"},
        {
            "model.kind": "resnet",
            "model.width": 5,
            "model.norm": "none",
            "training.precision": "64",
            "data.layout": "sequence",
        },
        {"model.kind": "cnn", "model.width": 6, "data.layout": "image"},
        {"model.kind": "cnn", "model.width": 6, "data.layout": "sequence"},
        *(
            {
                "model.kind": "rnn",
                "model.width": 7,
                "model.cell": cell,
                "model.readout": readout,
                "model.bidirectional": both,
                "model.depth": depth,
                "model.dropout": dropout,
                "data.layout": "sequence",
            }
            for cell, readout, both, depth, dropout in (
                ("tanh", "last", False, 1, 0.0),
                ("relu", "mean", True, 1, 0.2),
                ("gru", "last", True, 2, 0.2),
                ("gru", "all", False, 1, 0.0),
                ("lstm", "max", False, 2, 0.0),
                ("lstm", "last", True, 1, 0.3),
            )
        ),
    ],
    ids=lambda changes: " ".join(map(str, changes.values())) or "plain",
)
def test_each_member_does_what_it_does_alone(changes: dict[str, Value], tmp_path: Path) -> None:
    config = toy_config().with_knobs(changes)
    ended = check_against_alone(of_seeds(config), tmp_path, TOLERANCE[config.training.precision])
    if "training.early_stop" in changes:
        assert min(ended) < 30  # a member that stops early receives no more


OTHERS: list[dict[str, Value]] = [
    {"optimizer.kind": "sgd", "optimizer.momentum": 0.9},
    {"optimizer.kind": "adamw", "optimizer.lr": 0.01, "optimizer.weight_decay": 0.1},
    {"optimizer.kind": "rmsprop", "optimizer.lr": 0.01},
    {"optimizer.kind": "adagrad", "optimizer.lr": 0.05},
    {"optimizer.kind": "lion", "optimizer.lr": 0.003},
    {"optimizer.kind": "muon", "model.depth": 3},
    {"optimizer.kind": "adamw", "optimizer.lr": 0.01, "optimizer.decay_vectors": False, "optimizer.layer_decay": 0.5},
    {"optimizer.kind": "sgd", "optimizer.mup_base_width": 4, "optimizer.momentum": 0.5},
]


@pytest.mark.parametrize("base", OTHERS, ids=lambda base: str(base["optimizer.kind"]))
def test_members_may_differ_in_more_than_their_seed(base: dict[str, Value], tmp_path: Path) -> None:
    config = toy_config().with_knobs({**base, "model.dropout": 0.1, "model.norm": "batch", "schedule.kind": "cosine"})
    second = {"adamw": "beta1", "sgd": "momentum", "rmsprop": "alpha", "adagrad": "eps"}
    second |= {"lion": "beta1", "muon": "momentum"}
    members = [
        config,
        config.with_knobs({"optimizer.lr": 0.3 * config.optimizer.lr, "optimizer.weight_decay": 0.02}),
        config.with_knobs(
            {f"optimizer.{second[config.optimizer.kind]}": 0.5, "model.dropout": 0.4, "model.init": "orthogonal"}
        ),
        config.with_knobs({"schedule.warmup_steps": 9, "objective.label_smoothing": 0.2, "training.clip_norm": 0.1}),
        config.with_knobs({"training.keep": "last", "training.monitor": "loss", "seed": 3}),
        config.with_knobs({"training.early_stop": 1, "optimizer.lr": 3 * config.optimizer.lr}),
    ]
    assert batches(members, "cpu") == [tuple(members)]
    rough = config.optimizer.kind == "muon"  # it orthogonalises with bfloat16's three digits
    check_against_alone(members, tmp_path, 1e-2 if rough else 3e-5)


def test_a_target_at_every_step(tmp_path: Path) -> None:
    config = toy_config(model__kind="rnn", model__width=8, training__max_steps=6, training__val_every=3)
    config = replace(config, data=Letters(batch_size=4))
    check_against_alone(of_seeds(config, (1, 2)), tmp_path, 1e-5)


def test_a_pruned_member_ends_and_the_others_do_not_notice(tmp_path: Path) -> None:
    members = of_seeds(toy_config(model__dropout=0.1))
    whole = values(together(members, tmp_path / "whole"))
    jobs = {"pruning_metric": "val/accuracy"}
    found = together(members, tmp_path / "pruned", answers={1: lambda step, value: step < 15}, **jobs)
    assert [outcome.state for outcome, _ in found] == ["finished", "pruned", "finished"]
    assert [step for step, _ in found[1][1].curves()] == [5, 10, 15]
    assert [step for step, _ in found[0][1].asked] == [5, 10, 15, 20, 25]  # nobody is asked at the last step
    assert [values(found)[0], values(found)[2]] == [whole[0], whole[2]]


def values(trained: list[tuple[Outcome, Listener]]) -> list[Any]:
    return [(outcome.state, lasting(outcome), listener.curves()) for outcome, listener in trained]


@pytest.mark.parametrize(
    "changes", [{}, {"model.dropout": 0.3, "model.norm": "batch", "optimizer.kind": "adamw"}, *OTHERS[4:]]
)
@pytest.mark.parametrize("stop_at", [5, 13])
def test_cut_anywhere_it_goes_on_with_the_same_bits(changes: dict[str, Value], stop_at: int, tmp_path: Path) -> None:
    config = toy_config().with_knobs(changes)
    whole = values(together(of_seeds(config), tmp_path / "whole"))
    assert values(together(of_seeds(config), tmp_path / "again")) == whole
    cut = together(of_seeds(config), tmp_path / "cut", stop_at=stop_at)
    assert {outcome.state for outcome, _ in cut} == {"interrupted"}
    saved = cut[0][0].checkpoint
    assert saved is not None
    assert values(together(of_seeds(config), tmp_path / "on", resume=(saved,))) == whole
    other = together(of_seeds(config.with_knobs({"optimizer.lr": 0.2})), tmp_path / "other", resume=(saved,))
    assert "another config" in other[0][0].log  # skipped, trained from the start


def test_a_member_that_is_not_asked_for_moves_nothing(tmp_path: Path) -> None:
    config = toy_config(model__dropout=0.3)
    whole = values(together(of_seeds(config), tmp_path / "whole"))
    assert values(together(of_seeds(config), tmp_path / "one", wanted=(1,))) == whole[1:2]


def test_weights_of_a_member_are_its_networks(tmp_path: Path) -> None:
    config = toy_config(model__norm="batch")
    together(of_seeds(config), tmp_path)
    network = config.model.build(config.data.spec())
    saved = torch.load(tmp_path / "1" / "best.ckpt", weights_only=True)
    network.load_state_dict(saved["network"])


def test_a_member_that_diverges_ends_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config()
    whole = values(together(of_seeds(config), tmp_path / "whole"))
    make = stack_networks

    def broken(networks: Any, generators: Any) -> nn.Module:
        made = make(networks, generators)
        if isinstance(made, nn.Sequential):  # the whole network
            with torch.no_grad():
                next(made.parameters())[1] = torch.inf
        return made

    monkeypatch.setattr("knobs.training.batch.run_batch.stack_networks", broken)
    found = together(of_seeds(config), tmp_path / "broken")
    assert [outcome.state for outcome, _ in found] == ["finished", "diverged", "finished"]
    assert "became nan" in found[1][0].message
    assert found[1][1].curves() == []
    assert [values(found)[0], values(found)[2]] == [whole[0], whole[2]]


def test_the_rule_looks_at_config_and_device_alone() -> None:
    config = toy_config()
    key = batch_key(config, "cpu")
    assert key
    assert batch_key(config, "cuda") == ""  # no benchmark supports it yet
    for alone_because, value in {
        "model.width": 512,
        "training.precision": "bf16-mixed",
        "training.cuda_graph": True,
    }.items():
        assert batch_key(config.with_knobs({"model.depth": 2, alone_because: value}), "cpu") == ""
    before = torch.get_rng_state()
    assert batch_key(config, "cpu") == key
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"seed": 5}, True),
        ({"optimizer.lr": 0.5, "optimizer.momentum": 0.9, "optimizer.weight_decay": 0.1}, True),
        ({"schedule.warmup_steps": 3}, True),
        ({"model.init": "orthogonal"}, True),
        ({"model.dropout": 0.5}, False),  # a layer more
        ({"model.width": 17}, False),
        ({"model.activation": "tanh"}, False),
        ({"model.norm": "batch"}, False),
        ({"optimizer.kind": "adam"}, False),
        ({"optimizer.nesterov": True}, False),
        ({"schedule.kind": "cosine"}, False),
        ({"data.batch_size": 16}, False),
        ({"data.seed": 1}, False),
        ({"training.max_steps": 31}, False),
        ({"training.val_every": 6}, False),
        ({"training.averaging": True}, False),
    ],
    ids=str,
)
def test_who_shares_a_batch(changes: dict[str, Value], same: bool) -> None:
    config = toy_config()
    assert (batch_key(config, "cpu") == batch_key(config.with_knobs(changes), "cpu")) == same
    one, other = config.with_knobs({"model.dropout": 0.1}), config.with_knobs({"model.dropout": 0.2})
    assert batch_key(one, "cpu") == batch_key(other, "cpu")


def test_batches_keep_the_order_and_are_cut_at_their_size() -> None:
    config, wide = toy_config(), toy_config(model__width=20)
    members = of_seeds(config, range(5))
    found = batches([members[0], wide, *members[1:]], "cpu", size=3)
    assert found == [tuple(members[:3]), tuple(members[3:]), (wide,)]
    assert batches(members[:2], "cuda") == [(members[0],), (members[1],)]


def test_what_cannot_be_stacked_is_known() -> None:
    spec = MNIST1D().spec()
    assert can_stack(MLP(norm="layer", dropout=0.1).build(spec))
    assert can_stack(ResNet().build(spec))
    assert can_stack(RNN(depth=2).build(spec))

    class OwnForward(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(1)

    assert not can_stack(OwnForward(nn.Linear(2, 2)))
    for layer in (
        nn.BatchNorm1d(2, affine=False),
        nn.GroupNorm(1, 2, affine=False),
        nn.Flatten(0),
        nn.PReLU(),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding_mode="circular"),
        nn.GRU(2, 2, num_layers=2, batch_first=True),
        nn.GRU(2, 2),
        nn.LSTM(2, 2, batch_first=True, proj_size=1),
        nn.RNN(2, 2, batch_first=True, bias=False),
        nn.Embedding(3, 2, padding_idx=0),
        nn.AdaptiveAvgPool2d(1),
    ):
        assert not can_stack(nn.Sequential(layer)), layer


@pytest.mark.parametrize("layout", ["vector", "sequence", "image"])
@pytest.mark.parametrize("name", discover.files("models"))
def test_a_stacked_model_gives_each_member_its_own_outputs(name: str, layout: str) -> None:
    config, spec = discover.config_class("models", name, ModelConfig)(), Toy(layout=layout).spec()
    try:
        networks = [config.build(spec).double() for _ in range(3)]
    except BadInputError:
        return  # it takes no such data
    assert can_stack(networks[0])
    stacked = stack_networks(networks, [torch.Generator() for _ in networks]).double()
    x = torch.randn(3, 5, *spec.shape, dtype=torch.float64)
    for training in (True, False):
        wanted = torch.stack([network.train(training)(one) for network, one in zip(networks, x, strict=True)])
        assert torch.allclose(stacked.train(training)(x), wanted, rtol=1e-12, atol=1e-12)
    for place, network in enumerate(networks):
        mine = member_state(stacked.state_dict(), place)
        assert mine.keys() == network.state_dict().keys()
        assert all(torch.allclose(mine[key], value) for key, value in network.state_dict().items())


def test_large_and_convolutional_networks_train_alone() -> None:
    assert batch_key(toy_config(data__batch_size=1 << 15), "cpu")  # of 8 features
    assert batch_key(toy_config(data__batch_size=(1 << 15) + 1), "cpu") == ""
    assert batch_key(toy_config(model__kind="cnn", data__layout="image"), "cpu") == ""
    sequence = toy_config(model__kind="rnn", data__layout="sequence", model__cell="lstm", data__batch_size=32)
    assert batch_key(sequence.with_knobs({"model.width": 32}), "cpu")
    assert batch_key(sequence.with_knobs({"model.width": 33}), "cpu") == ""
    assert batch_key(sequence.with_knobs({"model.width": 33, "model.cell": "gru"}), "cpu")


def test_membership_is_part_of_the_digest() -> None:
    config = toy_config()
    ways = [(), of_seeds(config, (0, 1)), of_seeds(config, (0, 1, 2)), [config, config.with_knobs({"optimizer.lr": 1})]]
    texts = [execution_of(way) for way in ways]
    assert len({config.digest("data", text) for text in texts}) == len(ways)
    for way, text in zip(ways, texts, strict=True):
        assert recorded_batch(config, text) == tuple(way)
    with pytest.raises(BadInputError, match="another version of knobs recorded a run as 'batch of seeds 1,2'"):
        recorded_batch(config, "batch of seeds 1,2")
