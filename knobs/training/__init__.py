"""Training one run, or a batch of runs.

This package's `__init__` imports no torch, because the driver imports it: it exports the names of `messages` only.
Import everything else from its module.

- `messages`: what driver and worker exchange: `TrainJob`, `CurvePoint`, `Outcome`
- `run`: trains one run from its `TrainJob` to its `Outcome`
- `batch/`: trains runs of one shape as one batch
- `learner`: the LightningModule with the training loop and the validation
- `state`: how far a training is, and its best checkpoint so far
- `monitor`: writes checkpoints, sends curve points, reports to the pruner
- `endings`: builds the `Outcome` of a finished training, and of one that raised
- `environment`: the training process: seeds, flags, warnings, clock
- `metrics`: losses and metrics of each task
- `checkpoint`, `snapshots`: checkpoint files, and their writing beside the steps
- `network`: builds a network
- `weight_averaging`: the running mean of the weights
- `one_sample_batch`: refuses batch normalisation on batches of one sample
- `graphed_steps`: optimizer steps as replays of a CUDA graph
- `curves_svg`: a run's curves as a small SVG
"""

from __future__ import annotations

from knobs.training.messages import CurvePoint, Outcome, State, TrainJob, newest_checkpoints

__all__ = [
    "CurvePoint",
    "Outcome",
    "State",
    "TrainJob",
    "newest_checkpoints",
]
