"""Metrics that any objective can be asked for by name (`objective.extra_metrics`), most of them torchmetrics' own.

Torch is imported when a metric is computed. Predictions are (samples, outputs[, steps]): logits of classes, or values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from knobs.config.metric import Direction, Metric
from knobs.config.thresholds import RATIOS, at_threshold, balanced_accuracy_at_half, best_threshold, binary_scores, mcc
from knobs.errors import BadInputError, nearest

if TYPE_CHECKING:
    import torch

    from knobs.config.data import DataSpec, Task

    Tensor = torch.Tensor
    Compute = Callable[[Tensor, Tensor], Tensor]

UNIT, SIGNED, POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)

USUAL: dict[Task, tuple[str, ...]] = {
    "regression": ("rmse", "r2"),
    "binary": ("accuracy", "auroc", "average_precision", "calibration_error"),
    "multiclass": ("accuracy",),
}
"""Metrics of each task that an objective records unless it says otherwise."""

TOP = re.compile(r"top([1-9]\d*)_accuracy")

AT_BEST = "_at_best_threshold"


def named_metric(name: str, spec: DataSpec) -> Metric:
    """Return the metric of this name for data of this spec. Raise `BadInputError` if there is none."""
    if spec.task == "multiclass" and (found := TOP.fullmatch(name)):
        if int(found[1]) >= spec.outputs:
            raise BadInputError(f"metric {name}: there are {spec.outputs} classes, so it is always 1")
        return Metric(name=name, direction="maximize", bounds=UNIT, compute=partial(_top, int(found[1])), counts=True)
    if spec.task == "binary" and name.endswith(AT_BEST) and (ratio := RATIOS.get(name.removesuffix(AT_BEST))):
        return Metric(
            name=name,
            direction="maximize",
            bounds=SIGNED if ratio is mcc else UNIT,
            compute=partial(at_threshold, ratio),
            choose=partial(best_threshold, ratio),
        )
    if name not in _NAMED[spec.task]:
        raise BadInputError(f"no metric of a {spec.task} task is named {name!r}" + nearest(name, metric_names(spec)))
    direction, bounds, compute, counts = _NAMED[spec.task][name]
    return Metric(name=name, direction=direction, bounds=bounds, compute=compute, counts=counts)


def metric_names(spec: DataSpec) -> list[str]:
    """Return the names of all metrics that data of this spec can be asked for; of top-k accuracies, some."""
    more: list[str] = []
    if spec.task == "binary":
        more = [ratio + AT_BEST for ratio in RATIOS]
    if spec.task == "multiclass":
        more = [f"top{k}_accuracy" for k in (2, 3, 5, 10) if k < spec.outputs]
    return [*_NAMED[spec.task], *more]


def usual_direction(metric: str) -> Direction:
    """Return the better direction of a metric by its name alone: of a named metric its own, else `maximize`."""
    name = metric.rpartition("/")[2]
    found = [named[name][0] for named in _NAMED.values() if name in named]
    return "minimize" if name == "loss" else found[0] if found else "maximize"


def _rows(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (rows, classes) and labels (rows,): one row per target."""
    return outputs.movedim(1, -1).flatten(0, -2), targets.flatten()


def _multiclass(function: str, *, hard: bool = True, **options: Any) -> Compute:
    """Return a metric over classes. `hard`: it reads the likeliest class, and no probabilities."""

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        from torchmetrics.functional import classification

        logits, labels = _rows(outputs, targets)
        predicted = logits.argmax(1) if hard else logits.softmax(1)
        found: Tensor = getattr(classification, f"multiclass_{function}")(
            predicted, labels, num_classes=logits.shape[1], validate_args=False, **options
        )
        return found

    return compute


def _binary(function: str) -> Compute:
    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        from torchmetrics.functional import classification

        found: Tensor = getattr(classification, f"binary_{function}")(
            *binary_scores(outputs, targets), validate_args=False
        )
        return found

    return compute


def _regression(function: str, **options: Any) -> Compute:
    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        from torchmetrics import functional

        found: Tensor = getattr(functional, function)(outputs, targets, **options)
        return found.mean()  # of some, one number per target

    return compute


def _correlation(function: str) -> Compute:
    """Return the mean over targets of a correlation of predictions with targets."""

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        import torch
        from torchmetrics import functional

        columns = zip(outputs.unbind(1), targets.unbind(1), strict=True)
        return torch.stack([getattr(functional, function)(*both) for both in columns]).mean()

    return compute


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).sum()


def _right_binary(outputs: Tensor, targets: Tensor) -> Tensor:
    scores, labels = binary_scores(outputs, targets)
    return ((scores > 0.5) == (labels == 1)).sum()


def _top(k: int, outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.topk(k, dim=1).indices == targets.unsqueeze(1)).any(1).sum()


def _perplexity(outputs: Tensor, targets: Tensor) -> Tensor:
    from torch.nn import functional as F

    return F.cross_entropy(*_rows(outputs, targets)).exp()


def _mean_recall(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean recall over the classes that occur, as scikit-learn does; torchmetrics counts those predicted."""
    import torch

    logits, labels = _rows(outputs, targets)
    classes = logits.shape[1]
    right = torch.bincount(labels[logits.argmax(1) == labels], minlength=classes)
    there = torch.bincount(labels, minlength=classes)
    return (right[there > 0].to(logits.dtype) / there[there > 0]).mean()


_NAMED: dict[Task, dict[str, tuple[Direction, tuple[float, float], Compute, bool]]] = {
    "multiclass": {
        "accuracy": ("maximize", UNIT, _right, True),
        "balanced_accuracy": ("maximize", UNIT, _mean_recall, False),
        "f1": ("maximize", UNIT, _multiclass("f1_score", average="macro"), False),
        "precision": ("maximize", UNIT, _multiclass("precision", average="macro"), False),
        "recall": ("maximize", UNIT, _multiclass("recall", average="macro"), False),
        "mcc": ("maximize", SIGNED, _multiclass("matthews_corrcoef"), False),
        "cohen_kappa": ("maximize", SIGNED, _multiclass("cohen_kappa"), False),
        "auroc": ("maximize", UNIT, _multiclass("auroc", hard=False), False),
        "average_precision": ("maximize", UNIT, _multiclass("average_precision", hard=False), False),
        "calibration_error": ("minimize", UNIT, _multiclass("calibration_error", hard=False), False),
        "perplexity": ("minimize", (1.0, math.inf), _perplexity, False),
    },
    "binary": {
        "accuracy": ("maximize", UNIT, _right_binary, True),
        "auroc": ("maximize", UNIT, _binary("auroc"), False),
        "average_precision": ("maximize", UNIT, _binary("average_precision"), False),
        "calibration_error": ("minimize", UNIT, _binary("calibration_error"), False),
        "balanced_accuracy": ("maximize", UNIT, balanced_accuracy_at_half, False),
        "f1": ("maximize", UNIT, _binary("f1_score"), False),
        "precision": ("maximize", UNIT, _binary("precision"), False),
        "recall": ("maximize", UNIT, _binary("recall"), False),
        "specificity": ("maximize", UNIT, _binary("specificity"), False),
        "mcc": ("maximize", SIGNED, _binary("matthews_corrcoef"), False),
        "cohen_kappa": ("maximize", SIGNED, _binary("cohen_kappa"), False),
    },
    "regression": {
        "rmse": ("minimize", POSITIVE, _regression("mean_squared_error", squared=False, num_outputs=1), False),
        "r2": ("maximize", (-math.inf, 1.0), _regression("r2_score"), False),
        "mse": ("minimize", POSITIVE, _regression("mean_squared_error"), False),
        "mae": ("minimize", POSITIVE, _regression("mean_absolute_error"), False),
        "mape": ("minimize", POSITIVE, _regression("mean_absolute_percentage_error"), False),
        "smape": ("minimize", (0.0, 2.0), _regression("symmetric_mean_absolute_percentage_error"), False),
        "explained_variance": ("maximize", (-math.inf, 1.0), _regression("explained_variance"), False),
        "pearson": ("maximize", SIGNED, _correlation("pearson_corrcoef"), False),
        "spearman": ("maximize", SIGNED, _correlation("spearman_corrcoef"), False),
    },
}
"""Of each task and name: direction, bounds, how it is computed, and whether that counts targets."""
