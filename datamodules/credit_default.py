"""Default of 30,000 Taiwanese credit-card clients, 2005: 23 features, binary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from datamodules._files import FOLDER, read_table
from datamodules._splits import stratified
from knobs import DataConfig, DataSpec, Split, Splits, part


@part
class CreditDefault(DataConfig):
    """Clients who fail to pay next month (22%): limit, sex, education, marriage, age, six months of payments (Yeh
    2016)."""

    scaling: Literal["standard", "quantile"] = "standard"
    """standard: mean 0 and standard deviation 1. quantile: each feature's ranks mapped to a standard normal. Both use
    the training split only."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Fraction of the clients in the validation split."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Fraction of the clients in the test split."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the split of each client. Classes keep their shares."""

    def spec(self) -> DataSpec:
        """Return the spec: 23 numbers per client; one output, 1 for default."""
        return DataSpec(task="binary", layout="vector", shape=(23,), outputs=1, metric="auroc")

    def files(self) -> list[Path]:
        """Return the table."""
        return [FOLDER / "credit_default.csv.gz"]

    def load(self) -> Splits:
        """Read the table, split it and scale it by the training split's statistics."""
        from sklearn.preprocessing import QuantileTransformer, StandardScaler

        columns = {name: np.array(texts, dtype=np.float64) for name, texts in read_table("credit_default").items()}
        y = columns.pop("default")
        x = np.stack(list(columns.values()), axis=1)
        parts = stratified(x, y, self.validation, self.test, self.split_seed)
        if self.scaling == "standard":
            scaler = StandardScaler()
        else:
            scaler = QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None)
        scaler.fit(x[parts[0]])
        scaled = np.ascontiguousarray(scaler.transform(x), dtype=np.float32)
        train, val, test = (Split(scaled[rows], y[rows, None].astype(np.float32)) for rows in parts)
        return Splits(train=train, val=val, test=test)
