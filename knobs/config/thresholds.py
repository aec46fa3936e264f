"""Metrics of decisions by a threshold on a probability, and the threshold at which one of them is greatest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor

Counts = tuple[Any, Any, Any, Any]
"""True positives, false positives, false negatives, true negatives."""

Ratio = Callable[[Counts], Any]


def binary_scores(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and labels, (samples,) each."""
    return outputs.squeeze(1).sigmoid(), targets.squeeze(1).long()


def accuracy(counts: Counts) -> Any:
    """Return the share of right decisions."""
    tp, fp, fn, tn = counts
    return (tp + tn) / (tp + fp + fn + tn)


def f1(counts: Counts) -> Any:
    """Return the harmonic mean of precision and recall."""
    tp, fp, fn, _ = counts
    return 2 * tp / (2 * tp + fp + fn).clamp(min=1)


def balanced_accuracy(counts: Counts) -> Any:
    """Return the mean of both classes' recall."""
    tp, fp, fn, tn = counts
    return (tp / (tp + fn).clamp(min=1) + tn / (tn + fp).clamp(min=1)) / 2


def mcc(counts: Counts) -> Any:
    """Return Matthews' correlation of decisions with labels (Matthews 1975)."""
    tp, fp, fn, tn = counts
    return (tp * tn - fp * fn) / ((tp + fp).sqrt() * (tp + fn).sqrt() * (tn + fp).sqrt() * (tn + fn).sqrt()).clamp(
        min=1
    )


def at_threshold(ratio: Ratio, outputs: Tensor, targets: Tensor, threshold: Tensor) -> Tensor:
    """Return the metric if probabilities from the threshold on are positive."""
    scores, labels = binary_scores(outputs, targets)
    return _of_decisions(ratio, scores >= threshold, labels, scores.dtype)


def balanced_accuracy_at_half(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the balanced accuracy if probabilities above a half are positive."""
    scores, labels = binary_scores(outputs, targets)
    return _of_decisions(balanced_accuracy, scores > 0.5, labels, scores.dtype)


def _of_decisions(ratio: Ratio, positive: Tensor, labels: Tensor, floats: torch.dtype) -> Tensor:
    true = labels == 1
    pairs = (positive & true, positive & ~true, ~positive & true, ~positive & ~true)
    tp, fp, fn, tn = (pair.sum().to(floats) for pair in pairs)
    found: Tensor = ratio((tp, fp, fn, tn))
    return found


def best_threshold(ratio: Ratio, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the probability at which the metric is greatest if all from there on are positive; of equals the highest.

    All thresholds are tried in one pass over the sorted probabilities.
    """
    import torch

    scores, labels = binary_scores(outputs, targets)
    scores, order = scores.sort(descending=True)
    hits = labels[order]  # sums of whole numbers: on CUDA those of others are not deterministic
    tp, fp = hits.cumsum(0).to(scores.dtype), (1 - hits).cumsum(0).to(scores.dtype)
    values = ratio((tp, fp, tp[-1] - tp, fp[-1] - fp))
    ends = torch.cat([scores[1:] != scores[:-1], scores.new_ones(1, dtype=torch.bool)])  # equal ones go together
    best: Tensor = scores[values.masked_fill(~ends, -2.0).argmax()]
    return best


RATIOS = {"accuracy": accuracy, "f1": f1, "balanced_accuracy": balanced_accuracy, "mcc": mcc}
"""Metrics of a threshold on the probability: those at or above it are positive."""
