"""The learner against a hand-written training loop: the same bits, also if a run is interrupted and continued."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from trainings import Listener, lasting, toy_config, train

from knobs import RunConfig
from knobs.data.in_memory import InMemoryData, Interval
from knobs.training import Outcome
from knobs.training.checkpoint import load_checkpoint

torch.set_num_threads(1)

PLAIN: dict[str, Any] = {"optimizer__kind": "sgd", "optimizer__lr": 0.1}
ADAMW: dict[str, Any] = {"optimizer__kind": "adamw", "optimizer__lr": 0.01, "optimizer__weight_decay": 0.1}
ALL: dict[str, Any] = {
    **PLAIN,
    "seed": 7,
    "model__depth": 2,
    "model__norm": "batch",
    "model__dropout": 0.2,
    "optimizer__momentum": 0.9,
    "schedule__kind": "one_cycle",
    "training__clip_norm": 0.5,
    "objective__label_smoothing": 0.1,
}
CASES: dict[str, dict[str, Any]] = {
    "sgd": PLAIN,
    "sgd, momentum, nesterov": {**PLAIN, "optimizer__momentum": 0.9, "optimizer__nesterov": True},
    "adamw": ADAMW,
    "adamw, clipped": {**ADAMW, "training__clip_norm": 0.3},
    "label smoothing": {**ADAMW, "objective__label_smoothing": 0.2},
    "dropout": {**ADAMW, "model__dropout": 0.4},
    "batch norm": {**PLAIN, "model__norm": "batch"},
    "all at once": ALL,
    "binary": {**ADAMW, "data__task": "binary", "schedule__kind": "cosine", "objective__label_smoothing": 0.1},
    "regression": {**ADAMW, "data__task": "regression", "schedule__kind": "step"},
    "a recurrent network": {**ADAMW, "model__kind": "rnn", "data__layout": "sequence", "model__width": 8},
    "a residual network": {**ADAMW, "model__kind": "resnet", "model__width": 8},
    "float64": {**ADAMW, "training__precision": "64"},
}


def by_hand(config: RunConfig, cache: Path) -> tuple[list[float], list[float], dict[str, torch.Tensor]]:
    """Train with a plain loop over batches. Return each step's loss and validation loss, and the last weights."""
    dtype = torch.float64 if config.training.precision == "64" else torch.float32
    splits, spec = config.data.load(), config.data.spec()
    order = InMemoryData(config, cache, torch.device("cpu")).permutation

    def as_tensor(array: Any) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    def loss_of(outputs: torch.Tensor, targets: torch.Tensor, smooth: float) -> torch.Tensor:
        if spec.task == "multiclass":
            return F.cross_entropy(outputs, targets, label_smoothing=smooth)
        if spec.task == "binary":
            return F.binary_cross_entropy_with_logits(outputs, targets * (1 - smooth) + smooth / 2)
        return F.mse_loss(outputs, targets)

    x, y = as_tensor(splits.train.x), as_tensor(splits.train.y)
    held_x, held_y = as_tensor(splits.val.x), as_tensor(splits.val.y)
    torch.manual_seed(config.seed)
    network = config.model.build(spec).to(dtype)
    knobs = {name.partition(".")[2]: value for name, value in config.knobs().items() if name.startswith("optimizer.")}
    options: dict[str, Any] = {"lr": knobs["lr"], "weight_decay": knobs["weight_decay"], "fused": True}
    optimizer: torch.optim.Optimizer
    if knobs["kind"] == "sgd":
        momentum, nesterov = knobs["momentum"], bool(knobs["nesterov"])
        optimizer = torch.optim.SGD(network.parameters(), **options, momentum=momentum, nesterov=nesterov)
    else:
        optimizer = torch.optim.AdamW(network.parameters(), **options)
    smooth = float(config.knobs().get("objective.label_smoothing", 0.0))  # type: ignore[arg-type]
    losses, held = [], []
    size, step = config.data.batch_size, 0
    for epoch in range(100):
        for batch in range(len(x) // size):
            if step == config.training.max_steps:
                return losses, held, network.state_dict()
            chosen = order(epoch)[batch * size : (batch + 1) * size]
            network.train()
            optimizer.zero_grad()
            loss = loss_of(network(x[chosen]), y[chosen], smooth)
            loss.backward()
            if config.training.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), config.training.clip_norm)
            rate = config.optimizer.lr * config.schedule.factor(step, config.training.max_steps)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            step += 1
            losses.append(loss.item())
            network.eval()
            with torch.no_grad():
                held.append(loss_of(network(held_x), held_y, 0.0).item())
    raise AssertionError


def best_weights(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.checkpoint is not None
    return load_checkpoint(outcome.checkpoint)["network"]


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_the_bits_of_a_plain_loop(changes: dict[str, Any], tmp_path: Path) -> None:
    each = toy_config(**changes, training__val_every=1)
    losses, held, weights = by_hand(each, tmp_path / "cache")
    listener = Listener()
    outcome = train(each, tmp_path / "each", listener)
    assert [step for step, _ in listener.curves()] == list(range(1, 31))
    assert [values["train/loss"] for _, values in listener.curves()] == losses
    assert [values["val/loss"] for _, values in listener.curves()] == held
    if outcome.best_step == 30:
        assert all(torch.equal(weights[name], tensor) for name, tensor in best_weights(outcome).items())

    interval = toy_config(**changes, training__val_every=7)  # the last interval is shorter, epochs of 8 are crossed
    listener = Listener()
    train(interval, tmp_path / "interval", listener)
    ends = [7, 14, 21, 28, 30]
    assert [step for step, _ in listener.curves()] == ends
    assert [values["val/loss"] for _, values in listener.curves()] == [held[end - 1] for end in ends]
    means = [sum(losses[end - 7 if end < 30 else 28 : end]) / (7 if end < 30 else 2) for end in ends]
    assert [values["train/loss"] for _, values in listener.curves()] == pytest.approx(means, rel=1e-6)


def test_the_order_of_the_data_is_a_function_of_seed_and_epoch(tmp_path: Path) -> None:
    made = [InMemoryData(toy_config(seed=seed), tmp_path / "cache", torch.device("cpu")) for seed in (0, 0, 1)]
    orders = [tuple(data.permutation(epoch).tolist()) for data in made for epoch in (0, 1, 2)]
    assert orders[:3] == orders[3:6]
    assert len(set(orders)) == 6
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(256))}
    whole = list(Interval(made[0], 0, 20))
    for begin in range(20):  # the batch of any step does not need those before it
        for (x, y), (other_x, other_y) in zip(Interval(made[1], begin, 20), whole[begin:], strict=True):
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)


@pytest.mark.parametrize("name", ["all at once", "a recurrent network"])
def test_the_same_run_twice_has_the_same_bits(name: str, tmp_path: Path) -> None:
    heard: list[Listener] = [Listener(), Listener()]
    ends: list[Outcome] = []
    for index, listener in enumerate(heard):
        torch.manual_seed(index + 99)  # a run does not depend on earlier random draws of the process
        torch.rand(index + 1)
        ends.append(train(toy_config(**CASES[name]), tmp_path / str(index), listener, read_test=True))
    assert heard[0].curves() == heard[1].curves()
    assert lasting(ends[0]) == lasting(ends[1])
    other = Listener()
    train(toy_config(**{**CASES[name], "seed": 8}), tmp_path / "other", other)
    assert other.curves() != heard[0].curves()


def test_recorded_rate_and_gradient_norm_are_those_of_the_step(tmp_path: Path) -> None:
    config = toy_config(schedule__kind="cosine", schedule__warmup_steps=4)
    listener = Listener()
    train(config, tmp_path / "run", listener)
    for step, values in listener.curves():
        assert values["lr"] == config.optimizer.lr * config.schedule.factor(step - 1, 30)
        assert values["grad_norm"] > 0
        assert set(values) == {"train/loss", "val/loss", "val/accuracy", "lr", "grad_norm"}


# Continuing


RESUMED = ["sgd, momentum, nesterov", "all at once", "adamw, clipped", "a recurrent network"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "all at once" else pytest.mark.slow) for name in RESUMED]
)
def test_going_on_from_any_step_changes_no_bit(name: str, tmp_path: Path) -> None:
    config = toy_config(**CASES[name], training__max_steps=12, training__val_every=5)
    whole = Listener()
    expected = train(config, tmp_path / "whole", whole, read_test=True)
    for stop in range(12):
        before, after = Listener(stop_at=stop), Listener()
        cut = train(config, tmp_path / f"before-{stop}", before, read_test=True)
        assert cut.state == "interrupted"
        assert before.curves() == whole.curves()[: stop // 5]
        torch.manual_seed(stop)
        ended = train(config, tmp_path / f"after-{stop}", after, read_test=True, resume=(cut.checkpoint,))
        assert f"continued from step {stop}" in ended.log
        assert after.curves() == whole.curves()  # the points in the checkpoint come again, then the rest
        assert lasting(ended) == lasting(expected)
        mine, theirs = best_weights(ended), best_weights(expected)
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_a_run_that_is_stopped_after_every_step_has_the_same_bits(tmp_path: Path) -> None:
    config = toy_config(**CASES["all at once"], training__max_steps=12, training__val_every=5)
    whole = Listener()
    expected = train(config, tmp_path / "whole", whole)
    resume: tuple[Path, ...] = ()
    for attempt in range(13):
        listener = Listener(stop_at=1)
        ended = train(config, tmp_path / f"attempt-{attempt}", listener, resume=resume)
        if ended.state == "finished":
            break
        assert ended.checkpoint is not None
        assert ended.checkpoint.name == f"step-{attempt + 1:012d}.ckpt"
        resume = (ended.checkpoint,)
    assert attempt == 11
    assert listener.curves() == whole.curves()
    assert lasting(ended) == lasting(expected)


def test_early_stopping_counts_across_an_interruption(tmp_path: Path) -> None:
    config = toy_config(optimizer__lr=1e-12, training__early_stop=3, training__val_every=2)  # nothing ever improves
    listener = Listener()
    expected = train(config, tmp_path / "whole", listener)
    assert [step for step, _ in listener.curves()] == [2, 4, 6, 8]
    assert expected.best_step == 2
    for stop in range(8):
        cut = train(config, tmp_path / f"before-{stop}", Listener(stop_at=stop))
        after = Listener()
        ended = train(config, tmp_path / f"after-{stop}", after, resume=(cut.checkpoint,))
        assert after.curves() == listener.curves()
        assert lasting(ended) == lasting(expected)
