"""Gradient-boosted trees on credit default: the reference for networks on tables."""

from __future__ import annotations

import functools

from datamodules.credit_default import CreditDefault

SETTINGS = (
    {"learning_rate": 0.1, "max_iter": 100, "max_leaf_nodes": 8},
    {"learning_rate": 0.1, "max_iter": 100, "max_leaf_nodes": 31},
    {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 15},
    {"learning_rate": 0.05, "max_iter": 200, "max_leaf_nodes": 31},
    {"learning_rate": 0.03, "max_iter": 250, "max_leaf_nodes": 8},
    {"learning_rate": 0.03, "max_iter": 250, "max_leaf_nodes": 15},
    {"learning_rate": 0.02, "max_iter": 400, "max_leaf_nodes": 8},
    {"learning_rate": 0.02, "max_iter": 400, "max_leaf_nodes": 15},
)
"""Eight settings, as many as each network has trials."""


@functools.cache
def measured() -> dict[str, float]:
    """Return AUROC and average precision on the test split, with the setting that is best on validation."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import average_precision_score, roc_auc_score
    from threadpoolctl import threadpool_limits

    splits = CreditDefault().load()
    train, val, test = (split for _, split in splits.items())
    best = None
    for setting in SETTINGS:
        trees = HistGradientBoostingClassifier(**setting, min_samples_leaf=50, random_state=0)
        with threadpool_limits(1):  # more threads would wait for each other beside busy workers
            trees.fit(train.x, train.y[:, 0])
        reached = roc_auc_score(val.y[:, 0], trees.decision_function(val.x))
        if best is None or reached > best[0]:
            best = (reached, trees)
    assert best is not None
    scores = best[1].decision_function(test.x)
    return {
        "auroc": float(roc_auc_score(test.y[:, 0], scores)),
        "average_precision": float(average_precision_score(test.y[:, 0], scores)),
    }


def auroc() -> float:
    """Return the trees' AUROC on the test split."""
    return measured()["auroc"]


def average_precision() -> float:
    """Return the trees' average precision on the test split."""
    return measured()["average_precision"]


@functools.cache
def majority() -> float:
    """Return the test accuracy of predicting that nobody defaults."""
    return float(1.0 - CreditDefault().load().test.y.mean())
