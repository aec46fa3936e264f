"""The weights a run ends with (best on validation, last, running mean), and gradient norms of layers."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn
from trainings import Listener, alone, close, lasting, of_seeds, together, toy_config, train

from knobs import RunConfig, Value
from knobs.data.in_memory import InMemoryData
from knobs.training import newest_checkpoints
from knobs.training.checkpoint import load_checkpoint

KNOBS: dict[str, Mapping[str, Value]] = {
    "last": {"training.keep": "last", "optimizer.lr": 0.5},
    "mean": {"training.averaging": True},
    "mean of the end": {"training.averaging": True, "training.average_from": 12, "training.keep": "last"},
    "layers": {"training.layer_norms": True, "training.clip_norm": 0.1, "model.depth": 2},
}


def iterates(config: RunConfig, cache: Path) -> tuple[nn.Module, list[list[torch.Tensor]], list[list[float]]]:
    """Train by hand. Return the network, its weights after each step and its matrices' gradient norms in each step."""
    torch.manual_seed(config.seed)
    spec = config.data.spec()
    network = config.model.build(spec)
    data = InMemoryData(config, cache, torch.device("cpu"))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    weights, norms = [], []
    for step in range(config.training.max_steps):
        x, y = next(iter(data.gather(*divmod(step, data.steps_per_epoch), 1)))
        optimizer.zero_grad()
        config.objective.loss(network(x), y).backward()  # type: ignore[no-untyped-call]
        norms.append([float(p.grad.norm()) for p in network.parameters() if p.grad is not None and p.dim() > 1])
        if config.training.clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.training.clip_norm)
        optimizer.step()
        weights.append([p.detach().clone() for p in network.parameters()])
    return network, weights, norms


def kept(folder: Path, config: RunConfig) -> dict[str, torch.Tensor]:
    ended = train(config, folder)
    assert ended.checkpoint is not None
    found: dict[str, torch.Tensor] = load_checkpoint(ended.checkpoint)["network"]
    return found


def test_the_last_weights(tmp_path: Path) -> None:
    config = toy_config(training__keep="last")
    listener = Listener()
    ended = train(config, tmp_path / "run", listener)
    step, values = listener.curves()[-1]
    assert (ended.best_step, ended.summary["best/val/loss"]) == (step, values["val/loss"])
    _, weights, _ = iterates(config, tmp_path / "cache")
    assert all(map(torch.equal, kept(tmp_path / "again", config).values(), weights[-1]))


def test_early_stop_looks_at_the_best_value_whatever_is_kept(tmp_path: Path) -> None:
    steps = {
        keep: train(toy_config(training__keep=keep, training__early_stop=1, optimizer__lr=3.0), tmp_path / keep)
        for keep in ("best", "last")
    }
    assert steps["last"].best_step == steps["best"].best_step + 5 < 30


@pytest.mark.parametrize("begins", [0, 12])
def test_the_running_mean_of_the_weights(begins: int, tmp_path: Path) -> None:
    config = toy_config(training__averaging=True, training__average_from=begins, training__keep="last")
    network, weights, _ = iterates(config, tmp_path / "cache")
    means = [torch.stack(column[begins:]).mean(0) for column in zip(*weights, strict=True)]
    found = kept(tmp_path / "run", config)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found.values(), means, strict=True))
    listener = Listener()
    train(config, tmp_path / "again", listener)
    with torch.no_grad():
        for parameter, mean in zip(network.parameters(), means, strict=True):
            parameter.copy_(mean)
        x, y = InMemoryData(config, tmp_path / "cache", torch.device("cpu")).val
        loss = config.objective.reported_loss(network(x), y)
    assert listener.curves()[-1][1]["val/loss"] == pytest.approx(float(loss), rel=1e-5)


def test_averaging_moves_no_training_loss(tmp_path: Path) -> None:
    listeners = [Listener(), Listener()]
    for listener, on in zip(listeners, (False, True), strict=True):
        train(toy_config(training__averaging=on), tmp_path / str(on), listener)
    plain, averaged = ([values["train/loss"] for _, values in listener.curves()] for listener in listeners)
    assert plain == averaged


def test_gradient_norms_of_the_first_and_the_last_matrix_before_clipping(tmp_path: Path) -> None:
    config = toy_config().with_knobs(KNOBS["layers"])
    _, _, norms = iterates(config, tmp_path / "cache")
    listener = Listener()
    train(config, tmp_path / "run", listener)
    for step, values in listener.curves():
        assert values["grad_norm/first"] == pytest.approx(norms[step - 1][0], rel=1e-6)
        assert values["grad_norm/last"] == pytest.approx(norms[step - 1][-1], rel=1e-6)


@pytest.mark.parametrize("changes", KNOBS.values(), ids=KNOBS)
def test_interrupted_and_gone_on_with_the_same_bits(changes: Mapping[str, Value], tmp_path: Path) -> None:
    config = toy_config().with_knobs(changes)
    whole = Listener()
    expected = train(config, tmp_path / "whole", whole)
    assert train(config, tmp_path / "run" / "r", Listener(stop_at=17)).state == "interrupted"
    after = Listener()
    resumed = tuple(newest_checkpoints(tmp_path / "run" / "r"))
    ended = train(config, tmp_path / "after", after, resume=resumed)
    assert after.curves() == whole.curves()
    assert lasting(ended) == lasting(expected)


@pytest.mark.parametrize("changes", KNOBS.values(), ids=KNOBS)
def test_a_member_of_a_population_does_the_same(changes: Mapping[str, Value], tmp_path: Path) -> None:
    config = toy_config().with_knobs(changes)
    for member, (outcome, listener) in zip(of_seeds(config), together(of_seeds(config), tmp_path / "all"), strict=True):
        want, other_listener = alone(member, tmp_path / f"alone{member.seed}")
        assert outcome.best_step == want.best_step
        assert close(lasting(outcome), lasting(want), 5e-6)
        pairs = zip(listener.curves(), other_listener.curves(), strict=True)
        assert all(a == b and close(one, other, 5e-6) for (a, one), (b, other) in pairs)
