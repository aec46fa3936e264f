"""Exact references: linear autoregression of the NYSE's log volume by least squares, on all days before 1980."""

from __future__ import annotations

import functools

import numpy as np

from datamodules.nyse import NYSE


@functools.cache
def r2(day_of_week: bool = False, lags: int = 5, validation: bool = True) -> float:
    """Return the R2 from 1980 on of log volume regressed on `lags` days of all three series, and on the weekday.

    As in the book, the fit uses the whole training period, since there is nothing to choose. If `validation` is false,
    it leaves out the validation split. Scaling changes no least-squares prediction.
    """
    splits = NYSE(lags=lags, day_of_week=day_of_week).load()
    seen = [splits.train, splits.val] if validation else [splits.train]
    known = np.concatenate([_regressors(split.x) for split in seen])
    targets = np.concatenate([split.y for split in seen]).astype(np.float64)
    weights = np.linalg.lstsq(known, targets, rcond=None)[0]
    wanted = splits.test.y.astype(np.float64)
    error = wanted - _regressors(splits.test.x) @ weights
    return float(1.0 - (error**2).sum() / ((wanted - wanted.mean()) ** 2).sum())


def _regressors(
    x: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """An intercept, the series of every lag and the weekday once, because it is equal at all steps of a window."""
    table = x.astype(np.float64)
    return np.concatenate([np.ones((len(x), 1)), table[:, :, :3].reshape(len(x), -1), table[:, -1, 3:]], axis=1)
