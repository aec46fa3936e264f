"""What a worker is asked to do and what it answers. Imports no torch: the driver speaks this too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

State = Literal["finished", "pruned", "diverged", "out_of_memory", "interrupted", "unsaved", "failed", "lost"]
"""How a job ends; unsaved: its checkpoint could not be written, which is the disk's failure and not the run's."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training (or its continuation) by one worker."""

    run: str
    """The MLflow run's id."""
    config: str
    """`RunConfig.to_json()`."""
    folder: Path
    """Where this attempt, and no other, writes its checkpoints."""
    cache: Path
    """Prepared data sets of this machine."""
    fingerprint: str = ""
    """Of the arrays to be trained on; empty: as the data set is now."""
    resume: tuple[Path, ...] = ()
    """Checkpoints of earlier attempts, the furthest first; a damaged one falls back to the next."""
    seeds: tuple[int, ...] = ()
    """Of all members of the population in which it is trained, its own among them; empty: alone."""
    test: bool = False
    """Whether the test split is read at the end."""
    asks: str | None = None
    """A metric whose value is reported after each validation, for a pruner's answer."""
    evaluate: Path | None = None
    """Do not train: read the test split with this checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Values of the curves at one optimizer step."""

    step: int
    values: dict[str, float]
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    state: State
    message: str = ""
    """One line: what happened, where it did not finish."""
    best_step: int = -1
    summary: dict[str, float] = field(default_factory=dict)
    """Values at the checkpoint that validation chose: `best/...`, `test/...`, and `system/...`."""
    checkpoint: Path | None = None
    """The chosen weights, or, interrupted, where to go on from."""
    environment: dict[str, str] = field(default_factory=dict)
    """Torch's version, instruction set, device, threads, flags: what could change a bit."""
    log: str = ""
    """What happened in the worker while it ran: warnings, checkpoints, a traceback."""
    picture: str = ""
    """Its curves as SVG."""
    sample: str = ""
    """What the data set makes of the trained network in words."""


def newest_checkpoints(*folders: Path) -> list[Path]:
    """The resumable checkpoints under runs' folders (one subfolder an attempt), the furthest first."""
    found = [path for folder in folders for path in folder.glob("*/step-*.ckpt")]
    return sorted(found, key=lambda path: (path.name, path.parent.name), reverse=True)
