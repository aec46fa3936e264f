"""New York Stock Exchange 1962-1986: predict log volume from the days before (ISLP)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from datamodules._files import FOLDER, read_table
from knobs import DataConfig, DataSpec, Split, Splits, part

SERIES = ("DJ_return", "log_volume", "log_volatility")
DAYS = ("mon", "tues", "wed", "thur", "fri")


@part
class NYSE(DataConfig):
    """Section 10.9.6 of James et al., An Introduction to Statistical Learning with Python (2023), with its split.

    A sample is the `lags` days before a day, oldest first: Dow-Jones return, log volume, log volatility. The target is
    that day's log volume. Training and validation are before 1980, test from 1980 on.
    """

    lags: Annotated[int, Field(ge=1, le=250)] = 5
    """Days in a sample."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Fraction of the training period in the validation split: its last days."""
    scaling: Literal["train", "book"] = "train"
    """Days that give each series' mean and standard deviation. train: the training split. book: all days, test
    included, as in the book's lab (a small leak)."""
    day_of_week: bool = False
    """Add the weekday of the day to predict to each step, as five more features (0 or 1)."""

    def spec(self) -> DataSpec:
        """Return the spec: (lags, 3) numbers per sample, or (lags, 8) with the weekday; one output, in deviations."""
        features = len(SERIES) + (len(DAYS) if self.day_of_week else 0)
        return DataSpec(task="regression", layout="sequence", shape=(self.lags, features), outputs=1, metric="r2")

    def files(self) -> list[Path]:
        """Return the table."""
        return [FOLDER / "nyse.csv.gz"]

    def load(self) -> Splits:
        """Read the series, cut the windows and scale them."""
        table = read_table("nyse")
        series = np.stack([np.array(table[name], dtype=np.float64) for name in SERIES], axis=1)
        before = table["train"].index("False")  # days are in order; test starts here
        days = np.arange(self.lags, len(series))  # days after a full window
        known = days[days < before]
        held = max(1, round(self.validation * len(known)))
        first_held = known[-held]
        fitted = series if self.scaling == "book" else series[:first_held]
        series = (series - fitted.mean(0)) / fitted.std(0)
        x = series[days[:, None] - np.arange(self.lags, 0, -1)]
        if self.day_of_week:
            one_hot = np.array([[day == name for name in DAYS] for day in table["day_of_week"]], dtype=np.float64)
            x = np.concatenate([x, np.repeat(one_hot[days][:, None], self.lags, axis=1)], axis=2)
        x, y = x.astype(np.float32), series[days, SERIES.index("log_volume"), None].astype(np.float32)
        masks = (days < first_held, (days >= first_held) & (days < before), days >= before)
        train, val, test = (Split(x[mask], y[mask]) for mask in masks)
        return Splits(train=train, val=val, test=test)
