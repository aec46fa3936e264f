"""Losses and metrics of each task against scikit-learn's and against the definitions."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from knobs import DataSpec
from knobs.config import usual_objective
from knobs.training.metrics import evaluate
from objectives.binary_cross_entropy import BinaryCrossEntropy
from objectives.cross_entropy import CrossEntropy

random = np.random.default_rng(0)
REGRESSION = DataSpec(task="regression", layout="vector", shape=(4,), outputs=2, metric="r2")
BINARY = DataSpec(task="binary", layout="vector", shape=(4,), outputs=1, metric="auroc")
MULTICLASS = DataSpec(task="multiclass", layout="vector", shape=(4,), outputs=5, metric="accuracy")


def evaluated(spec: DataSpec, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    metrics = usual_objective(spec.task).recorded_metrics(spec)
    return evaluate(metrics, torch.from_numpy(outputs), torch.from_numpy(targets))


def test_regression() -> None:
    targets = random.standard_normal((500, 2))
    outputs = 0.7 * targets + 0.3 * random.standard_normal((500, 2)) * [1, 4]
    found = evaluated(REGRESSION, outputs, targets)
    assert found["loss"] == pytest.approx(sk.mean_squared_error(targets, outputs))
    assert found["rmse"] == pytest.approx(sk.mean_squared_error(targets, outputs) ** 0.5)
    assert found["r2"] == pytest.approx(sk.r2_score(targets, outputs))


@pytest.mark.parametrize("ties", [False, True])
def test_binary(ties: bool) -> None:
    logits = random.standard_normal((700, 1)) * 3
    if ties:
        logits = logits.round()
    targets = (random.random((700, 1)) < 1 / (1 + np.exp(-0.5 * logits))).astype(np.float64)
    found = evaluated(BINARY, logits, targets)
    scores, labels = 1 / (1 + np.exp(-logits.ravel())), targets.ravel().astype(int)
    assert found["loss"] == pytest.approx(sk.log_loss(labels, scores))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(labels, scores))
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(labels, scores))
    if not ties:  # a score of exactly 0.5 may be rounded to either side
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, scores > 0.5))


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    logits = random.standard_normal((4000, 1)) * 2
    targets = (random.random((4000, 1)) < 0.7).astype(np.float64)
    scores, labels = 1 / (1 + np.exp(-logits.ravel())), targets.ravel()
    edges = np.linspace(0, 1, 16)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, 14)
    gaps = [
        (bins == b).mean() * abs(labels[bins == b].mean() - scores[bins == b].mean())
        for b in range(15)
        if any(bins == b)
    ]
    assert evaluated(BINARY, logits, targets)["calibration_error"] == pytest.approx(sum(gaps), abs=1e-6)


def test_multiclass() -> None:
    logits = random.standard_normal((600, 5))
    targets = random.integers(0, 5, 600)
    found = evaluated(MULTICLASS, logits, targets)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found["loss"] == pytest.approx(sk.log_loss(targets, scores, labels=range(5)))
    assert found["accuracy"] == np.sum(targets == logits.argmax(1)) / 600  # exactly: counted, not averaged in 32 bits


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_moves_mass_to_all_classes_alike(smoothing: float) -> None:
    logits, targets = random.standard_normal((50, 5)), random.integers(0, 5, 50)
    soft = np.full((50, 5), smoothing / 5)
    soft[np.arange(50), targets] += 1 - smoothing
    expected = -(soft * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean()
    found = CrossEntropy(label_smoothing=smoothing).loss(torch.from_numpy(logits), torch.from_numpy(targets))
    assert found.item() == pytest.approx(expected)

    one, label = random.standard_normal((50, 1)), random.integers(0, 2, (50, 1)).astype(np.float64)
    half = label * (1 - smoothing) + smoothing / 2
    expected = (np.logaddexp(0, one) - half * one).mean()
    found = BinaryCrossEntropy(label_smoothing=smoothing).loss(torch.from_numpy(one), torch.from_numpy(label))
    assert found.item() == pytest.approx(expected)
