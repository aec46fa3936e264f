"""Checks of models: outputs of the right shape, finite gradients for every parameter, one batch that is learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from knobs.checks.check import FailedCheckError
from knobs.config import DataSpec, ModelConfig, Split, usual_objective
from knobs.training.network import build_network_of
from knobs.user_code import line_of

ROWS, STEPS, SHARE = 8, 300, 0.5
"""One batch: its rows, the most optimizer steps, and the loss to reach as a share of the best constant's."""

RATES = (0.01, 0.001, 0.1)
"""Adam's learning rates, tried in turn."""

DEAD = 1e-12
"""A gradient below this everywhere is none."""

Tensor = torch.Tensor


def check_outputs(model: ModelConfig, spec: DataSpec, split: Split) -> str:
    """Raise `FailedCheckError` if outputs have a wrong shape or type, or depend on chance or on the other samples.

    Return the number of parameters.
    """
    with _seeded():
        network = build_network_of(model, spec).eval()
        x, _ = _batch(split)
        with torch.no_grad():
            outputs, again, alone = network(x), network(x), network(x[:1])
    wanted = (len(x), spec.outputs, *spec.shape[: int(spec.per_step)])
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != wanted:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise _failed(model, f"returns {found} for a batch of {len(x)}; expected {wanted}")
    if outputs.dtype != torch.float32 or not outputs.isfinite().all():
        raise _failed(model, f"returns {outputs.dtype} values, finite: {bool(outputs.isfinite().all())}")
    if not torch.equal(outputs, again):
        raise _failed(model, "gives two outputs for one input in evaluation mode; some dropout stays on")
    if not torch.allclose(outputs[:1], alone, rtol=1e-3, atol=1e-4):
        raise _failed(model, "gives a sample other outputs alone than in a batch; it mixes the samples")
    return f"{sum(p.numel() for p in network.parameters()):,} parameters"


def check_gradients(model: ModelConfig, spec: DataSpec, split: Split) -> str:
    """Raise `FailedCheckError` if a trainable parameter gets no gradient, or one that is not finite.

    Three steps are taken: a branch that starts at zero passes no gradient before its first step.
    """
    with _seeded():
        network = build_network_of(model, spec).train()
        x, y = _batch(split)
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        if not trained:
            raise _failed(model, "has no trainable parameter")
        greatest = dict.fromkeys(trained, 0.0)
        optimizer = torch.optim.SGD(trained.values(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = usual_objective(spec.task).loss(network(x), y)
            if not loss.requires_grad:
                raise _failed(model, "its outputs do not depend on its parameters; something detaches them")
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            for name, parameter in trained.items():
                if parameter.grad is not None:
                    greatest[name] = max(greatest[name], parameter.grad.abs().max().item())
                    if not parameter.grad.isfinite().all():
                        raise _failed(model, f"{name} gets a gradient that is not finite")
            optimizer.step()
    if dead := [name for name, value in greatest.items() if value < DEAD]:
        more = f" and {len(dead) - 1} more" if len(dead) > 1 else ""
        raise _failed(model, f"{dead[0]}{more} never gets a gradient; forward() does not use it")
    return f"{len(trained)} parameters"


def check_fits_one_batch(
    model: ModelConfig, spec: DataSpec, split: Split, *, share: float = SHARE, rows: int = ROWS, steps: int = STEPS
) -> str:
    """Raise `FailedCheckError` if the network does not learn one batch: the split's first `rows` rows.

    Adam must bring the loss below `share` of that of the best constant prediction within `steps` steps, at one of
    `RATES`. A network that ignores its input cannot. Return both losses.
    """
    x, y = _batch(split, rows)
    constant = _constant_loss(spec, y)
    least, taken = math.inf, 0
    for rate in RATES:
        with _seeded():
            network = build_network_of(model, spec).train()
            optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=rate)
            for taken in range(steps):
                loss = usual_objective(spec.task).loss(network(x), y)
                least = min(least, loss.item())
                if least < share * constant:
                    return f"loss {least:.3g}, the best constant has {constant:.3g}, {taken} steps"
                if not math.isfinite(loss.item()):
                    break
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    raise _failed(
        model,
        f"does not learn {len(x)} rows: in {steps} steps of Adam the loss reaches {least:.3g}; the best constant "
        f"prediction has {constant:.3g}, and less than {share:g} of that is expected",
    )


@contextmanager
def _seeded() -> Iterator[None]:
    """Fix the seed and one thread within the block, and put both back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_num_threads(threads)


def _batch(split: Split, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of the first rows, in the types of a training."""
    x, y = (torch.from_numpy(array[:rows].copy()) for array in (split.x, split.y))
    return x.float(), (y if y.dtype == torch.int64 else y.float())


def _constant_loss(spec: DataSpec, y: Tensor) -> float:
    """Return the loss of the best prediction that ignores the input; of a uniform one if all targets are equal."""
    if spec.task == "regression":
        return float(y.var(0, correction=0).mean()) or 1.0
    if spec.task == "binary":
        p = y.mean(0).clamp(1e-6, 1 - 1e-6)
        return max(float(-(p * p.log() + (1 - p) * (1 - p).log()).mean()), 0.1)
    shares = torch.bincount(y.flatten(), minlength=spec.outputs).double() / y.numel()
    return max(float(-(shares * shares.clamp_min(1e-12).log()).sum()), 0.1)


def _failed(model: ModelConfig, reason: str) -> FailedCheckError:
    place = line_of(type(model))
    return FailedCheckError(f"{place}: model.{model.kind}: {reason}" if place else f"model.{model.kind}: {reason}")
