"""A worker verifies that it has imported the code that a run is recorded under, and notes what the training reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from knobs.code import Reads, training_code, training_code_hash
from knobs.code.reads import collect_reads
from knobs.config import KINDED, RunConfig
from knobs.errors import KnobsError

if TYPE_CHECKING:
    from knobs.code.reads import Notes
    from knobs.training import Outcome, TrainJob

DATA_FOLDER = KINDED["data"][0]

NATIVE_READERS = {"duckdb", "fsspec", "h5py", "netCDF4", "polars", "pyarrow", "safetensors", "tables", "zarr"}
"""Libraries that read files in C or Rust, unheard by Python."""


def has_code_of(job: TrainJob) -> bool:
    """Import the content of a job. Return whether this process has the code that the job is recorded under."""
    if not job.code:
        return True
    try:
        return training_code_hash(_content(job)) == job.code
    except KnobsError:  # its content does not import; the training fails and says so
        return True


def reads_of(job: TrainJob, notes: Notes) -> Reads:
    """Return what a job has read so far, besides its data: these are known by their fingerprint."""
    try:
        content = _content(job)
    except KnobsError:
        return Reads()
    found = collect_reads(notes, training_code(content).files)
    own = training_code([module for module in content if not module.startswith(f"{DATA_FOLDER}.")])
    reasons = [f"{place} executes code that the source does not name" for place in own.dynamic]
    reasons += [f"it imports {name}, which reads files unheard" for name in sorted(NATIVE_READERS & own.libraries)]
    return replace(found, unproven=(*found.unproven, *reasons))


def with_reads(outcome: Outcome, job: TrainJob, notes: Notes) -> Outcome:
    """Return the outcome with what the training read. Say so if a module that it imported late was edited."""
    reads = reads_of(job, notes)
    if not has_code_of(job):
        reads = replace(reads, unproven=(*reads.unproven, "its code was edited while it was being imported"))
    return replace(outcome, reads=reads)


def _content(job: TrainJob) -> list[str]:
    return RunConfig.from_json(job.config).content()
