"""The schema of the record: every tag, kind, artifact and metric name that knobs writes.

No other file spells one of these names. MLflow cuts a tag at 8,000 characters, on SQLite without a word, so long values
(configs, search spaces, definitions) are artifacts, and tags hold their hashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from knobs.ablation import DERIVED

VERSION: Final = "1"
"""Version of this schema; in every run as the tag `knobs.schema`."""

RECEIPTS_VERSION: Final = 3
"""Version of a report's `receipts.json`."""

MOST_TAG_CHARACTERS: Final = 5000
"""Longer tag values are shortened, visibly, before MLflow cuts them."""


class Tag:
    """Tags of runs."""

    SCHEMA: Final = "knobs.schema"
    KIND: Final = "knobs.kind"
    """One of `Kind`."""
    STATE: Final = "knobs.state"
    """One of `knobs.record.states.STATES`."""
    NAME: Final = "knobs.name"
    """The study or ablation whose baseline a single run trained."""
    STUDY: Final = "knobs.study"
    TRIAL: Final = "knobs.trial"
    """A trial's number."""
    REPLICATE: Final = "knobs.replicate"
    """A replicate's number within its trial."""
    REPLICATES: Final = "knobs.replicates"
    """The number of replicates of a trial whose replicates are the runs below it."""
    REPETITION: Final = "knobs.repetition"
    """The repetition of an ablation that a trial or a fresh seed belongs to."""
    ABLATION: Final = "knobs.ablation"
    CELL: Final = "knobs.cell"
    LEVEL: Final = "knobs.level."
    """Followed by a factor's name: the level of that factor."""
    REFERENCE: Final = "knobs.reference"
    SOURCE: Final = "knobs.source"
    """Where a reference's number comes from."""

    CONFIG: Final = "knobs.config"
    """Hash of a run's config; the config itself is an artifact."""
    SEED: Final = "knobs.seed"
    DIGEST: Final = "knobs.digest"
    IDENTITY: Final = "knobs.identity"
    """Hash that is equal in runs, studies or cells that must come out the same."""
    EXECUTION: Final = "knobs.execution"
    """`solo`, or the knobs in which the members of its batch differ, with all values."""
    CODE: Final = "knobs.code"
    """Hash of the code that trained the run, as its worker had imported it."""
    READS: Final = "knobs.reads"
    """Hash of what the training read besides its data; the artifact names it."""
    UNPROVEN: Final = "knobs.unproven"
    """Why the run's identity does not show all that determines it. No other run reuses it."""
    DATA: Final = "knobs.data_fingerprint"
    DATA_ROWS: Final = "knobs.data_rows"
    """Rows of each split, as JSON."""
    DATA_WARNINGS: Final = "knobs.data_warnings"
    """Oddities of the arrays, one line each."""
    SPACE: Final = "knobs.space"
    """Hash of a trial's search space; the space is an artifact of the study's or cell's run."""
    NOTED: Final = "knobs.noted"
    """What Optuna's sampler and pruner noted on a trial, as JSON: its generation, values at rungs."""

    COMMIT: Final = "knobs.git_commit"
    DIRTY: Final = "knobs.git_dirty"
    DIFF: Final = "knobs.diff"
    PACKAGES: Final = "knobs.packages"
    MACHINE: Final = "knobs.machine"
    DEVICE: Final = "knobs.device"
    DEVICE_NAME: Final = "knobs.device_name"
    DEVICE_UUID: Final = "knobs.device_uuid"
    CONTINUED_ON: Final = "knobs.continued_on"
    """The device on which an interrupted run continued, if it is another model."""
    DRIVER: Final = "knobs.driver"
    CUDNN: Final = "knobs.cudnn"
    TF32: Final = "knobs.tf32"
    THREADS: Final = "knobs.threads"
    TORCH: Final = "knobs.torch"
    CPU_CAPABILITY: Final = "knobs.cpu_capability"
    DETERMINISTIC: Final = "knobs.deterministic_algorithms"
    CUBLAS_WORKSPACE: Final = "knobs.cublas_workspace"

    ATTEMPT: Final = "knobs.attempt"
    """How often the run was handed to a worker."""
    LOST_WORKERS: Final = "knobs.lost_workers"
    MESSAGE: Final = "knobs.message"
    """Why a run did not finish, one line."""
    TEST_READ: Final = "knobs.test_read"
    SAMPLE: Final = "knobs.sample"
    REUSED_FROM: Final = "knobs.reused_from"
    """The run that was trained, if this run took over its values."""
    COPIED_FROM: Final = "knobs.from"
    """The run whose config `knobs run --from` trained again."""
    REPRODUCES: Final = "knobs.reproduces"
    REPRODUCED: Final = "knobs.reproduced"
    WINNER: Final = "knobs.winner"
    """`true` for a study's best trial; `false` if it was the best one once."""
    WINNER_TRIAL: Final = "knobs.winner_trial"
    """The trial whose knobs a seed trains."""

    FRESH: Final = "knobs.fresh"
    """A study was started with `--fresh`, so it reuses nothing."""
    RETIRED: Final = "knobs.retired"
    """A study, ablation or cell was set aside by `--fresh` or by a change."""
    SUPERSEDED: Final = "knobs.superseded"
    """A seed of an earlier winner, or one that is no longer planned; it does not count."""
    ASIDE: Final = "knobs.aside"
    """A cell or seed that pages leave out."""
    COMMAND: Final = "knobs.command"
    """The command that repeats or continues this."""
    BEST: Final = "knobs.best"
    BEST_TRIAL: Final = "knobs.best_trial"
    VERDICTS: Final = "knobs.verdicts"
    """How many claims are supported, contradicted, undecided."""


PROVENANCE: Final = (
    Tag.COMMIT, Tag.DIRTY, Tag.DIFF, Tag.CODE, Tag.UNPROVEN, Tag.PACKAGES, Tag.MACHINE, Tag.THREADS, Tag.DEVICE,
    Tag.DEVICE_NAME, Tag.TORCH, Tag.CPU_CAPABILITY,
)  # fmt: skip
"""Tags that say how values were made. A reused run shows those of the run that was trained."""


class MlflowTag:
    """Tags that MLflow's own pages read."""

    PARENT: Final = "mlflow.parentRunId"
    NOTE: Final = "mlflow.note.content"
    """The description."""
    NOTE_HASH: Final = "mlflow.knobs.note"
    """Hash of the description that we wrote last. Another text was edited by hand and stays. Pages hide `mlflow.*`."""
    DATA_CONTEXT: Final = "mlflow.data.context"
    SOURCE_NAME: Final = "mlflow.source.name"
    SOURCE_TYPE: Final = "mlflow.source.type"


class Kind:
    """Values of `Tag.KIND`."""

    STUDY: Final = "study"
    TRIAL: Final = "trial"
    REPLICATE: Final = "replicate"
    ABLATION: Final = "ablation"
    CELL: Final = "cell"
    SEED: Final = "seed"
    RUN: Final = "run"
    REFERENCE: Final = "reference"
    REPRODUCTION: Final = "reproduction"


class Artifact:
    """Names of artifacts."""

    CONFIG: Final = "config.json"
    PACKAGES: Final = "packages.json"
    MACHINE: Final = "machine.json"
    DIFF: Final = "git.diff"
    READS: Final = "reads.json"
    LOG: Final = "run.log"
    CURVES: Final = "curves.svg"
    SAMPLE: Final = "sample.txt"
    CHECKPOINTS: Final = "checkpoints"
    BEST_CHECKPOINT: Final = "checkpoints/best.ckpt"
    DEFINITION: Final = "definition.json"
    REGISTRATION: Final = "registration.json"
    IDENTITY: Final = "identity.json"
    SPACES: Final = "spaces"
    """Folder of the search spaces that a study's trials were asked from, by hash."""
    VERDICTS: Final = "verdicts.json"
    PREDICTIONS: Final = "predictions"
    """Folder of `test.npz`: outputs and targets of every test split, as 32-bit numbers."""
    LEFT_OUT: Final = "test_left_out.json"
    """Test metrics without each group of test samples in turn, by metric."""


class Metric:
    """Prefixes and names of metrics."""

    BEST: Final = "best/"
    """Value at the checkpoint that validation chose: `best/val/accuracy`, `best/train/loss`, `best/chosen/<metric>`."""
    TEST: Final = "test/"
    VAL: Final = "val/"
    TRAIN: Final = "train/"
    SYSTEM: Final = "system/"
    """What the clock measured; outside of every comparison."""
    DERIVED: Final = DERIVED
    BEST_STEP: Final = "best/step"
    PARAMETERS: Final = "parameters"
    TRAIN_LOSS: Final = "train/loss"
    ERROR: Final = "se/"
    """Standard error of the mean over a trial's replicates: `se/val/accuracy`."""
    REPLICATES: Final = "replicates/"
    """Followed by a metric: its value in each replicate of a trial; the step is the number of the replicate."""
    SECONDS: Final = "system/seconds"
    STEPS_PER_SECOND: Final = "system/steps_per_second"

    MEAN: Final = "mean/"
    LOW: Final = "low/"
    HIGH: Final = "high/"
    SEEDS_IN_MEAN: Final = "seeds/in_mean"
    """Of a cell: how many seeds its means are over."""
    TRIALS: Final = "trials/"
    """Followed by a state, or `done`: how many trials ended so."""
    SEEDS: Final = "seeds/"
    RUNS_DONE: Final = "runs/done"
    RUNS_LEFT: Final = "runs/left"
    CELLS: Final = "cells"
    CELLS_DONE: Final = "cells/done"
    BUDGET_TRIALS: Final = "budget/trials"
    BUDGET_STEPS: Final = "budget/steps_per_trial"


DONE: Final = "done"
"""After `Metric.TRIALS` or `Metric.SEEDS`: how many ended in any state."""


def is_single(metric: str) -> bool:
    """Return whether a metric of a run is one value, not a curve."""
    single = (Metric.BEST, Metric.TEST, Metric.SYSTEM, Metric.ERROR, DERIVED)
    return metric.startswith(single) or metric == Metric.PARAMETERS


def is_test(metric: str) -> bool:
    """Return whether a metric was read on a test split."""
    return metric.startswith(Metric.TEST)


def metric_key(metric: str) -> str:
    """Return the name under which a run holds a metric's value at the checkpoint that validation chose."""
    return metric if metric.startswith((Metric.TEST, DERIVED)) else Metric.BEST + metric


def on_test(metric: str) -> str:
    """Return the test metric for a validation metric: `test/accuracy` for `val/accuracy`."""
    return metric.replace(Metric.VAL, Metric.TEST, 1)


def level_tags(levels: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tags that hold a cell's levels."""
    return {Tag.LEVEL + factor: level for factor, level in levels}


def has_tag(tag: str, value: str) -> str:
    """Return MLflow's filter for runs whose tag has this value. The value must hold no quotes."""
    return f"tags.`{tag}` = '{value}'"


def bounded(value: str) -> str:
    """Return a tag value short enough for every store."""
    return value if len(value) <= MOST_TAG_CHARACTERS else f"{value[: MOST_TAG_CHARACTERS - 4]} ..."
