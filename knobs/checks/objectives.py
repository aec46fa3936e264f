"""Checks of objectives: a loss with a gradient, metrics that are numbers, both whatever the samples' order."""

from __future__ import annotations

import math

import torch

from knobs.checks.check import FailedCheckError
from knobs.config import DataSpec, ObjectiveConfig, Task
from knobs.errors import BadInputError
from knobs.training.losses import TrainingLoss
from knobs.user_code import line_of, user_error

SAMPLES, TRIED = 48, 8
"""Size of the batch that is drawn, in a check and before a launch."""

MOST_NUMBERS = 1 << 22

OUTPUTS: dict[Task, int] = {"regression": 2, "binary": 1, "multiclass": 4}
"""Numbers per sample of the drawn batch, if no study or ablation uses the objective."""

Tensor = torch.Tensor


def drawn_spec(objective: ObjectiveConfig) -> DataSpec:
    """Return the spec of a small data set that an objective fits."""
    task = objective.tasks[-1]
    weights = getattr(objective, "class_weights", None)
    outputs = len(weights) if weights else OUTPUTS[task]
    return DataSpec(task=task, layout="vector", shape=(4,), outputs=outputs, metric="loss")


def drawn_batch(objective: ObjectiveConfig, spec: DataSpec, samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    """Return normal outputs, as a network for this objective returns them, and targets that occur alike; in doubles."""
    generator = torch.Generator().manual_seed(0)
    steps = spec.shape[: int(spec.per_step)]
    outputs = torch.randn(samples, objective.outputs(spec), *steps, generator=generator, dtype=torch.float64)
    if spec.task == "regression":
        return outputs, torch.randn(samples, spec.outputs, generator=generator, dtype=torch.float64)
    labels = torch.arange(samples * math.prod(steps)) % max(2, spec.outputs)
    labels = labels[torch.randperm(len(labels), generator=generator)].view(samples, *steps)
    return outputs, labels.view(samples, 1).double() if spec.task == "binary" else labels


def check_loss_fits(objective: ObjectiveConfig, spec: DataSpec) -> None:
    """Raise `BadInputError`, with the user's line, if the loss raises, or is no mean and not one value per sample.

    The outputs are drawn. Targets at more steps than `MOST_NUMBERS` allows are not tried.
    """
    if math.prod((TRIED, objective.outputs(spec), *spec.shape[: int(spec.per_step)])) > MOST_NUMBERS:
        return
    outputs, targets = drawn_batch(objective, spec, TRIED)
    with torch.random.fork_rng(devices=[]):
        try:
            TrainingLoss(objective, lambda: targets).resolve(outputs, targets)
        except BadInputError:
            raise
        except Exception as error:
            raise user_error(error, f"loss() of objective {objective.kind}") from error


def check_loss(objective: ObjectiveConfig, spec: DataSpec) -> str:
    """Raise `FailedCheckError` or `BadInputError` if the loss of a drawn batch is no mean and not one value per sample.

    Nor may it be NaN, lack a finite gradient, or depend on the samples' order. Return the loss.
    """
    objective.check(spec)
    outputs, targets = drawn_batch(objective, spec)
    with torch.random.fork_rng(devices=[]):
        loss = TrainingLoss(objective, lambda: targets)
        given = outputs.requires_grad_()
        value = loss.compute(given, targets)
        if not math.isfinite(value.item()):
            raise _failed(objective, f"is {value.item()} for outputs from a normal distribution")
        if not value.requires_grad:
            raise _failed(objective, "does not depend on the outputs; something detaches them")
        (gradient,) = torch.autograd.grad(value, given, allow_unused=True)
        if gradient is None or not gradient.isfinite().all() or not gradient.any():
            raise _failed(objective, "has no finite gradient, or none at all")
        order = torch.randperm(len(outputs), generator=torch.Generator().manual_seed(1))
        other = loss.compute(outputs[order], targets[order])
    if not math.isclose(other.item(), value.item(), rel_tol=1e-6, abs_tol=1e-9):
        raise _failed(objective, f"depends on the samples' order, or on chance: {value.item():.6g}, {other.item():.6g}")
    return f"{value.item():.3g} for a drawn batch"


def check_metrics(objective: ObjectiveConfig, spec: DataSpec) -> str:
    """Raise `FailedCheckError` or `BadInputError` if a metric of a drawn split is no number or leaves its bounds.

    Return the metrics' names.
    """
    from knobs.training.metrics import evaluate  # imports Lightning, for which no launch should wait

    outputs, targets = drawn_batch(objective, spec)
    metrics = objective.recorded_metrics(spec)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        found = evaluate(metrics, outputs, targets)
    for name, value in found.items():
        low, high = metrics[name].bounds
        if not low - 1e-6 <= value <= high + 1e-6:  # NaN too
            raise FailedCheckError(str(metrics[name].refused(f"is {value}; its bounds are {low:g} and {high:g}")))
    return ", ".join(found)


def _failed(objective: ObjectiveConfig, reason: str) -> FailedCheckError:
    place = line_of(type(objective).loss)
    about = f"loss() of objective {objective.kind} {reason}"
    return FailedCheckError(f"{place}: {about}" if place else about)
