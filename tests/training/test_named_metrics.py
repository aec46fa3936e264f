"""Metrics by name, against scikit-learn's and against definitions; and metrics of one's own."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk

from knobs import BadInputError, DataSpec, Metric
from knobs.config import metric_names
from knobs.config.named_metrics import named_metric
from knobs.training.metrics import evaluate, evaluate_members

random = np.random.default_rng(1)
REGRESSION = DataSpec(task="regression", layout="vector", shape=(4,), outputs=2, metric="r2")
BINARY = DataSpec(task="binary", layout="vector", shape=(4,), outputs=1, metric="auroc")
MULTICLASS = DataSpec(task="multiclass", layout="vector", shape=(4,), outputs=4, metric="accuracy")
STEPS = DataSpec(
    task="multiclass", layout="sequence", shape=(6, 1), outputs=4, metric="accuracy", tokens=4, per_step=True
)

LABELS = np.concatenate([np.repeat([0, 2, 3], [90, 40, 20]), random.integers(0, 4, 150)])
LOGITS = random.standard_normal((300, 4)) + 1.5 * np.eye(4)[LABELS]
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
CHOSEN = LOGITS.argmax(1)

TRUTH = (random.random(300) < 0.3).astype(float)
LOGIT = random.standard_normal(300) + 1.2 * TRUTH - 1.0
SCORE = 1 / (1 + np.exp(-LOGIT))
DECIDED = SCORE > 0.5

TARGETS = random.standard_normal((300, 2)) + 3
PREDICTED = 0.8 * TARGETS + 0.4 * random.standard_normal((300, 2))

MULTICLASS_VALUES: dict[str, float] = {
    "accuracy": sk.accuracy_score(LABELS, CHOSEN),
    "balanced_accuracy": sk.balanced_accuracy_score(LABELS, CHOSEN),
    "f1": sk.f1_score(LABELS, CHOSEN, average="macro"),
    "precision": sk.precision_score(LABELS, CHOSEN, average="macro"),
    "recall": sk.recall_score(LABELS, CHOSEN, average="macro"),
    "mcc": sk.matthews_corrcoef(LABELS, CHOSEN),
    "cohen_kappa": sk.cohen_kappa_score(LABELS, CHOSEN),
    "auroc": sk.roc_auc_score(LABELS, PROBABILITIES, multi_class="ovr", average="macro"),
    "average_precision": np.mean([sk.average_precision_score(k == LABELS, PROBABILITIES[:, k]) for k in range(4)]),
    "perplexity": math.exp(sk.log_loss(LABELS, PROBABILITIES)),
    "top2_accuracy": sk.top_k_accuracy_score(LABELS, PROBABILITIES, k=2),
    "top3_accuracy": sk.top_k_accuracy_score(LABELS, PROBABILITIES, k=3),
}
BINARY_VALUES: dict[str, float] = {
    "accuracy": sk.accuracy_score(TRUTH, DECIDED),
    "auroc": sk.roc_auc_score(TRUTH, SCORE),
    "average_precision": sk.average_precision_score(TRUTH, SCORE),
    "balanced_accuracy": sk.balanced_accuracy_score(TRUTH, DECIDED),
    "f1": sk.f1_score(TRUTH, DECIDED),
    "precision": sk.precision_score(TRUTH, DECIDED),
    "recall": sk.recall_score(TRUTH, DECIDED),
    "specificity": sk.recall_score(TRUTH, DECIDED, pos_label=0),
    "mcc": sk.matthews_corrcoef(TRUTH, DECIDED),
    "cohen_kappa": sk.cohen_kappa_score(TRUTH, DECIDED),
}
REGRESSION_VALUES: dict[str, float] = {
    "rmse": math.sqrt(sk.mean_squared_error(TARGETS, PREDICTED)),
    "r2": sk.r2_score(TARGETS, PREDICTED),
    "mse": sk.mean_squared_error(TARGETS, PREDICTED),
    "mae": sk.mean_absolute_error(TARGETS, PREDICTED),
    "mape": sk.mean_absolute_percentage_error(TARGETS, PREDICTED),
    "smape": np.mean(2 * np.abs(TARGETS - PREDICTED) / (np.abs(TARGETS) + np.abs(PREDICTED))),
    "explained_variance": sk.explained_variance_score(TARGETS, PREDICTED),
    "pearson": np.mean([stats.pearsonr(TARGETS[:, i], PREDICTED[:, i]).statistic for i in range(2)]),
    "spearman": np.mean([stats.spearmanr(TARGETS[:, i], PREDICTED[:, i]).statistic for i in range(2)]),
}
RATIOS: dict[str, Callable[..., Any]] = {
    "accuracy": sk.accuracy_score,
    "f1": sk.f1_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "mcc": sk.matthews_corrcoef,
}


def calibration_error(confidence: Any, right: Any) -> float:
    """Return the mean gap between confidence and share of right ones, over 15 equal bins."""
    bins = np.clip((confidence * 15).astype(int), 0, 14)
    gaps = [(bins == b).mean() * abs(right[bins == b].mean() - confidence[bins == b].mean()) for b in np.unique(bins)]
    return float(sum(gaps))


MULTICLASS_VALUES["calibration_error"] = calibration_error(PROBABILITIES.max(1), CHOSEN == LABELS)
BINARY_VALUES["calibration_error"] = calibration_error(SCORE, TRUTH)

CASES = [
    *((MULTICLASS, name, LOGITS, LABELS, value) for name, value in MULTICLASS_VALUES.items()),
    *((BINARY, name, LOGIT[:, None], TRUTH[:, None], value) for name, value in BINARY_VALUES.items()),
    *((REGRESSION, name, PREDICTED, TARGETS, value) for name, value in REGRESSION_VALUES.items()),
]


def value_of(metric: Metric, outputs: Any, targets: Any, chosen: dict[str, float] | None = None) -> float:
    return evaluate({metric.name: metric}, torch.from_numpy(outputs), torch.from_numpy(targets), chosen)[metric.name]


@pytest.mark.parametrize(
    ("spec", "name", "outputs", "targets", "expected"), CASES, ids=[f"{case[0].task} {case[1]}" for case in CASES]
)
def test_a_named_metric_is_what_scikit_learn_says(
    spec: DataSpec, name: str, outputs: Any, targets: Any, expected: float
) -> None:
    metric = named_metric(name, spec)
    assert value_of(metric, outputs, targets) == pytest.approx(expected, rel=1e-5)
    assert metric.bounds[0] <= expected <= metric.bounds[1]
    perfect = {"multiclass": 40 * np.eye(4)[LABELS], "binary": 40 * (2 * TRUTH - 1)[:, None], "regression": TARGETS}
    best = value_of(metric, perfect[spec.task], targets)
    assert metric.is_better(best, expected)


def test_every_name_is_tested() -> None:
    for spec, values in ((MULTICLASS, MULTICLASS_VALUES), (BINARY, BINARY_VALUES), (REGRESSION, REGRESSION_VALUES)):
        assert {name for name in metric_names(spec) if not name.endswith("_at_best_threshold")} == set(values)


@pytest.mark.parametrize("name", MULTICLASS_VALUES)
def test_a_target_at_every_step_counts_as_a_row(name: str) -> None:
    outputs, targets = LOGITS.reshape(50, 6, 4).swapaxes(1, 2).copy(), LABELS.reshape(50, 6)
    assert value_of(named_metric(name, STEPS), outputs, targets) == pytest.approx(MULTICLASS_VALUES[name], rel=1e-5)


def test_balanced_accuracy_is_over_the_classes_that_occur() -> None:
    targets = np.where(LABELS == 1, 0, LABELS)
    there = [0, 2, 3]
    recalls = [(CHOSEN[targets == k] == k).mean() for k in there]
    found = value_of(named_metric("balanced_accuracy", MULTICLASS), LOGITS, targets)
    assert found == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("name", RATIOS)
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_threshold_is_found_on_one_split_and_applied_to_another(name: str, ties: bool) -> None:
    logits = LOGIT.round(1) if ties else LOGIT
    metric = named_metric(f"{name}_at_best_threshold", BINARY)
    held, truth = logits[:150, None], TRUTH[:150, None]
    assert metric.choose is not None
    threshold = float(metric.choose(torch.from_numpy(held), torch.from_numpy(truth)))
    scores = torch.from_numpy(held).sigmoid().numpy().ravel()
    tried = {t: RATIOS[name](truth.ravel(), scores >= t) for t in np.unique(scores)}
    best = max(tried.values())
    assert value_of(metric, held, truth) == pytest.approx(best)
    assert threshold == max(t for t, value in tried.items() if value == pytest.approx(best, abs=1e-12))
    rest, labels = logits[150:, None], TRUTH[150:, None]
    expected = RATIOS[name](labels.ravel(), torch.from_numpy(rest).sigmoid().numpy().ravel() >= threshold)
    assert value_of(metric, rest, labels, {metric.name: threshold}) == pytest.approx(expected)


@pytest.mark.parametrize("name", RATIOS)
def test_a_threshold_of_one_label_only_is_a_number(name: str) -> None:
    metric = named_metric(f"{name}_at_best_threshold", BINARY)
    assert math.isfinite(value_of(metric, LOGIT[:9, None], np.ones((9, 1))))


# Metrics of one's own


def mean_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).mean()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "bias", "compute": mean_error}, "metric bias: it has no direction; write direction='maximize' or"),
        ({"name": "bias", "compute": mean_error, "direction": "up"}, "direction = 'up'"),
        ({"name": "a b", "compute": mean_error, "direction": "minimize"}, "metric 'a b': a name is"),
        ({"name": "bias", "compute": 3, "direction": "minimize"}, "3 is no function"),
        ({"name": "b", "compute": mean_error, "direction": "minimize", "bounds": (1, 0)}, "the lower one comes first"),
    ],
)
def test_a_metric_that_says_too_little_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        Metric(**given)


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        (lambda o, t: o, r"metric own returns a tensor of shape \(300, 2\); return one number"),
        (lambda o, t: "much", "metric own returns str; return one number"),
        (lambda o, t: None, "metric own returns NoneType; return one number"),
    ],
)
def test_a_metric_that_is_no_number_is_refused_with_its_line(compute: Any, said: str) -> None:
    metric = Metric(name="own", direction="minimize", compute=compute)
    with pytest.raises(BadInputError, match=rf"test_named_metrics.py:\d+: {said}"):
        value_of(metric, PREDICTED, TARGETS)


def test_members_have_metrics_of_their_own() -> None:
    def times(factor: float) -> dict[str, Metric]:
        return {"own": Metric(name="own", direction="minimize", compute=lambda o, t: factor * o.sum())}

    outputs = [torch.ones(3, 1), torch.ones(3, 1)]
    found = evaluate_members([times(1.0), times(2.0)], outputs, torch.ones(3, 1))
    assert found == [{"own": 3.0}, {"own": 6.0}]


def test_a_plain_float_is_a_number_too() -> None:
    metric = Metric(name="own", direction="maximize", compute=lambda o, t: float(len(o)))
    assert value_of(metric, PREDICTED, TARGETS) == 300.0
