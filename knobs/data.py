"""What a data set is to the engine: a spec, and three splits of arrays. NumPy only.

The arrays of a data set are made once a machine, fingerprinted, and cached as `.npy` files that every worker maps into
memory, so that eight workers hold one copy.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from knobs import sources
from knobs.errors import BadInputError, StoreError, nearest

if TYPE_CHECKING:
    from knobs.config import DataConfig

MAIN = ("train", "val", "test")

INDEX = "index.json"
"""What a prepared data set's arrays are called, and from which files they were read."""

Task = Literal["regression", "binary", "multiclass"]
Layout = Literal["vector", "sequence", "image"]
Array = np.ndarray[Any, np.dtype[Any]]

METRICS: dict[str, tuple[str, ...]] = {
    "regression": ("rmse", "r2"),
    "binary": ("accuracy", "auroc", "average_precision", "calibration_error"),
    "multiclass": ("accuracy",),
}
"""Metrics of each task, beside `loss`."""

LOWER_IS_BETTER = frozenset({"loss", "rmse", "calibration_error"})

BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("accuracy", "auroc", "average_precision", "calibration_error"), (0.0, 1.0)),
    **dict.fromkeys(("loss", "rmse"), (0.0, math.inf)),
    "r2": (-math.inf, 1.0),
}
"""What a metric can be: an interval that leaves this is cut there, which loses nothing."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Shapes and task of a data set, from which networks take their input and output sizes."""

    task: Task
    layout: Layout
    """vector: (features,); sequence: (steps, features); image: (channels, height, width)."""
    shape: tuple[int, ...]
    """One sample's shape, without the batch."""
    outputs: int
    """Numbers the network returns for a sample: classes (multiclass), 1 (binary), targets (regression)."""
    metric: str
    """The metric that chooses checkpoints unless `training.monitor` names another."""
    tokens: int = 0
    """Size of the vocabulary where a sequence (steps, 1) holds whole numbers below it; 0: numbers are quantities."""
    per_step: bool = False
    """One target a time step: `y` is (samples, steps), and networks answer (batch, outputs, steps)."""
    shard: int = 0
    """Training samples that are read from disk at a time, where all do not fit into memory; 0: all."""

    def __post_init__(self) -> None:
        ranks = {"vector": 1, "sequence": 2, "image": 3}
        if self.layout not in get_args(Layout) or len(self.shape) != ranks[self.layout]:
            raise BadInputError(f"a {self.layout} cannot have shape {self.shape}")
        if (self.tokens or self.per_step) and self.layout != "sequence":
            raise BadInputError(f"tokens, and a target a step, are for sequences, not for a {self.layout}")
        if self.per_step and self.task != "multiclass":
            raise BadInputError(f"a target a step is a class, not one of {self.task}")

    @property
    def features(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)


def monitored(spec: DataSpec, named: str | None) -> str:
    """The validation metric that chooses checkpoints: the one named in `training.monitor`, or the data set's own.

    Raises `BadInputError` for one that this task does not have.
    """
    valid = ("loss", *METRICS[spec.task])
    if named is not None and named not in valid:
        raise BadInputError(f"training.monitor = {named!r}: no metric of this task" + nearest(named, valid))
    return named or spec.metric


@dataclass(frozen=True)
class Split:
    """`x`: (samples, *spec.shape) float32; `y`: (samples,) or (samples, steps) int64 for classes, else
    (samples, outputs) float32, or float64 where targets are known that well."""

    x: Array
    y: Array


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The three disjoint parts of a data set. Scaling statistics come from `train` alone."""

    train: Split
    val: Split
    test: Split
    extra: Mapping[str, Split] = field(default_factory=dict)
    """More test splits, each by a name of its own; read whenever `test` is, as `test/<name>/<metric>`."""

    def items(self) -> list[tuple[str, Split]]:
        """Name and split, in the order train, val, test, then the others."""
        return [("train", self.train), ("val", self.val), ("test", self.test), *self.extra.items()]


_checked: dict[Path, sources.Made | None] = {}
"""Data sets that load; the first is kept until it is written (several may not fit into memory)."""


def prepare(config: DataConfig, cache: Path) -> str:
    """Make the data set if this machine's `cache` lacks it, and return the fingerprint of its arrays.

    The fingerprint is a hash over names, shapes, types and bytes of what was really loaded. Several processes may call
    this at once: each writes a folder of its own, and one rename wins.
    """
    folder = _folder(config, cache)
    if found := _known(folder):
        return found
    made = _checked.pop(folder, None) or sources.load(config)
    fingerprint = hash_splits(made.splits)
    try:
        _write(made.splits, folder / fingerprint[:16])
        _replace(folder / INDEX, json.dumps({"fingerprint": fingerprint, "sources": made.sources}))
    except OSError as error:
        raise StoreError(f"{cache} cannot be written: {error.strerror or error}") from None
    return fingerprint


def check(config: DataConfig, cache: Path) -> None:
    """Raise `BadInputError` where there is no such data set; write nothing. What was loaded is kept for `prepare`."""
    folder = _folder(config, cache)
    if not (folder in _checked or _known(folder)):
        made = sources.load(config)
        _checked[folder] = None if _checked else made


def known(config: DataConfig, cache: Path) -> str:
    """The fingerprint of a data set that this machine has prepared; empty where it has not."""
    return _known(_folder(config, cache))


def _known(folder: Path) -> str:
    """What `prepare` noted, as long as every file that was read for it is what it was."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    fingerprint = str(index["fingerprint"])
    same = all(sources.content(path) == content for path, content in index["sources"].items())
    return fingerprint if same and (folder / fingerprint[:16]).is_dir() else ""


def _write(splits: Splits, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        for name, split in splits.items():
            np.save(made / f"{name}_x.npy", np.ascontiguousarray(split.x))
            np.save(made / f"{name}_y.npy", np.ascontiguousarray(split.y))
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.is_dir():  # else it is there already: its name is its content
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def open_prepared(config: DataConfig, cache: Path, fingerprint: str = "") -> Splits:
    """The prepared arrays, mapped into memory (copy on write: nobody changes another's).

    With a fingerprint those very arrays, whatever became of the files since. Raises `BadInputError` if they are gone.
    """
    folder = _folder(config, cache)
    if not (fingerprint and (folder / fingerprint[:16]).is_dir()):
        now = prepare(config, cache)
        if fingerprint not in ("", now):
            raise BadInputError(f"data set {config.kind} is not what it was: {fingerprint[:12]} then, {now[:12]} now")
        fingerprint = now
    arrays = folder / fingerprint[:16]

    def split(name: str) -> Split:
        return Split(*(np.load(arrays / f"{name}_{part}.npy", mmap_mode="c") for part in "xy"))

    names = sorted(path.name.removesuffix("_x.npy") for path in arrays.glob("*_x.npy"))
    extra = {name: split(name) for name in names if name not in MAIN}
    return Splits(train=split("train"), val=split("val"), test=split("test"), extra=extra)


def hash_splits(splits: Splits) -> str:
    """Hash over names, shapes, types and bytes of all arrays."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        for part, array in (("x", split.x), ("y", split.y)):
            digest.update(f"{name}.{part} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _folder(config: DataConfig, cache: Path) -> Path:
    """Named by the data knobs (the batch size is no property of the arrays) and the loader's code."""
    from knobs.provenance import code_hash

    knobs = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "batch_size"}
    key = json.dumps([config.kind, knobs, code_hash([type(config).__module__])], sort_keys=True)
    return cache / f"{config.kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
