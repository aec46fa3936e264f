"""The messages that driver and worker exchange about one training. Imports no torch: the driver imports this too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from knobs.code import Reads

State = Literal["finished", "pruned", "diverged", "out_of_memory", "interrupted", "unsaved", "failed", "lost"]
"""How a training ends. unsaved: its checkpoint could not be written, which is the disk's failure and not the run's."""


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One training, or its continuation, by one worker."""

    run: str
    """Id of the MLflow run."""
    config: str
    """The run's config: `RunConfig.to_json()`."""
    folder: Path
    """Folder for the checkpoints of this attempt; no other attempt writes there."""
    cache: Path
    """Folder of this machine's prepared data sets."""
    fingerprint: str = ""
    """Fingerprint of the arrays to train on. Empty: the data set's current arrays."""
    code: str = ""
    """Hash of the code that the run is recorded under. Empty: the worker's code, whatever it is."""
    initial: Path | None = None
    """Checkpoint of the run whose weights are the initial ones."""
    resume: tuple[Path, ...] = ()
    """Checkpoints of earlier attempts, the furthest first. If one is damaged, the next is used."""
    batch: tuple[str, ...] = ()
    """Configs of all members of the batch that this run is trained in, its own among them. Empty: trained alone."""
    read_test: bool = False
    """Read the test split at the end."""
    pruning_metric: str | None = None
    """The metric whose value the pruner gets after each validation. None: no pruning."""
    evaluate_checkpoint: Path | None = None
    """Do not train: evaluate this checkpoint on the test split."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Values of a run's curves at one optimizer step."""

    step: int
    values: dict[str, float]
    time_ms: int
    """Milliseconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training ended."""

    state: State
    message: str = ""
    """One line: what happened, if it did not finish."""
    best_step: int = -1
    summary: dict[str, float] = field(default_factory=dict)
    """Values at the checkpoint that validation chose: `best/...`, `test/...`; and costs: `system/...`."""
    left_out: dict[str, list[float]] = field(default_factory=dict)
    """Test metrics without each group of test samples (`training/tested.py`)."""
    predictions: Path | None = None
    """File with the outputs and targets of the test splits."""
    lasting_failure: Literal["", "config", "device"] = ""
    """If the error stays in the process: what caused it. The process must end."""
    checkpoint: Path | None = None
    """The chosen weights; if interrupted, the checkpoint to continue from."""
    environment: dict[str, str] = field(default_factory=dict)
    """Facts that could change a bit: torch's version, instruction set, device, threads, flags."""
    reads: Reads = field(default_factory=Reads)
    """Reads of the training besides its data."""
    log: str = ""
    """The worker's log of this run: warnings, checkpoints, a traceback."""
    curves_svg: str = ""
    """The run's curves as SVG."""
    sample: str = ""
    """Text that the data set makes with the trained network."""


def newest_checkpoints(*folders: Path) -> list[Path]:
    """Return the resumable checkpoints in these runs' folders (one subfolder per attempt), the furthest first."""
    found = [path for folder in folders for path in folder.glob("*/step-*.ckpt")]
    return sorted(found, key=lambda path: (path.name, path.parent.name), reverse=True)
