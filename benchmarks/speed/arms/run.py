"""Arms of the comparison of runs, each a process of its own: `python -m benchmarks.speed.arms.run ARM STEPS FOLDER`.

All train the same network (MLP 40-100-100-10) on the same data (MNIST-1D) with AdamW at a cosine rate, batch 100, and
validate once an epoch of 35 steps.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, BATCH, RATE, DECAY = 100, 100, 3e-3, 0.01


@functools.cache
def data() -> tuple[torch.Tensor, ...]:
    """Return the arrays that knobs trains on, as plain tensors. The first call takes about a second."""
    from knobs import discover
    from knobs.config import kind_class

    discover.activate(discover.SHIPPED)
    splits = kind_class("data", "mnist1d")().load()  # type: ignore[attr-defined]
    arrays = (splits.train.x, splits.train.y, splits.val.x, splits.val.y)
    return tuple(torch.from_numpy(array) for array in arrays)


def network() -> nn.Module:
    """Return the network that `models/mlp.py` builds for depth 2 and width 100."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(40, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)
    )


def bare(steps: int, _folder: Path, rate: float = RATE) -> float:
    """Run the hand-written loop on the network of the comparison."""
    torch.manual_seed(0)
    return loop(network(), data(), steps, rate)


def loop(net: nn.Module, arrays: Sequence[torch.Tensor], steps: int, rate: float) -> float:
    """Train as one does by hand if nothing is recorded. Return the best validation accuracy."""
    x, y, x_val, y_val = arrays
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    done, best = 0, 0.0
    while done < steps:
        order = torch.randperm(len(x))
        for i in range(min(len(x) // BATCH, steps - done)):
            rows = order[i * BATCH : (i + 1) * BATCH]
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
        with torch.no_grad():
            outputs = net(x_val)
            accuracy, loss = (outputs.argmax(1) == y_val).float().mean().item(), F.cross_entropy(outputs, y_val).item()
        best = max(best, 0.0 if math.isnan(loss) else accuracy)
    return best


def lightning(steps: int, folder: Path, rate: float = RATE) -> float:
    """Train with plain Lightning as its users do: DataLoader, `self.log`, MLFlowLogger, default checkpoints."""
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import MLFlowLogger
    from torch.utils.data import DataLoader, TensorDataset
    from torchmetrics.classification import MulticlassAccuracy

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.accuracy = MulticlassAccuracy(10, average="micro")

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            loss = F.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train/loss", loss)
            return loss

        def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
            outputs = self.net(batch[0])
            self.accuracy(outputs, batch[1])
            self.log("val/loss", F.cross_entropy(outputs, batch[1]))
            self.log("val/accuracy", self.accuracy)

        def configure_optimizers(self) -> dict[str, object]:
            optimizer = torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=DECAY)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    x, y, x_val, y_val = data()
    pl.seed_everything(0)
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=MLFlowLogger("bench", tracking_uri=f"sqlite:///{folder / 'mlflow.db'}"),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True, drop_last=True)
    trainer.fit(Module(), train, DataLoader(TensorDataset(x_val, y_val), batch_size=500))
    return float(trainer.callback_metrics["val/accuracy"])


def main() -> None:
    """Run the arm that the command line names, on one thread."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    arm, steps, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    os.chdir(folder)
    print({"bare": bare, "lightning": lightning}[arm](steps, folder))


if __name__ == "__main__":
    main()
