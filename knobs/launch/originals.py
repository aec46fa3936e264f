"""Recorded runs that can be trained again, read from the store or from a report's receipts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knobs.code import Reads
from knobs.config import RunConfig
from knobs.errors import BadInputError, nearest
from knobs.launch.plans.recorded_trials import recorded_replicates
from knobs.record.curves import Curves, first_difference, values_hash
from knobs.record.runs import RecordedRun, RunReader, recorded_config, recorded_reads
from knobs.record.schema import RECEIPTS_VERSION, Artifact, Metric, Tag, is_test
from knobs.record.states import STATES, StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

FACTS = {
    Tag.CODE: "code",
    Tag.EXECUTION: "execution",
    Tag.COMMIT: "commit",
    Tag.DATA: "data",
    Tag.THREADS: "threads",
    Tag.DEVICE: "",
    Tag.DEVICE_NAME: "device",
    Tag.CPU_CAPABILITY: "cpu_capability",
}
"""Facts about a training: their tag, and their name in receipts (empty: receipts lack it)."""


@dataclass(frozen=True)
class Original:
    """A run as it was recorded."""

    label: str
    config: RunConfig
    state: str
    """How it ended; a reused run counts as finished."""
    run: str
    """Id of its MLflow run."""
    experiment: str
    read_test: bool
    facts: dict[str, str]
    """One text per tag in `FACTS`; empty if unknown."""
    reads: Reads
    """Reads of its training besides its data; receipts hold none."""
    packages: dict[str, str]
    """Versions by name; empty if they were not kept."""
    curves: Curves
    """Every recorded value. Receipts hold the single values only."""
    values_hash: str
    """Hash of every recorded value."""

    @property
    def last_step(self) -> int:
        """The last step of the training loss: a pruned run was stopped there. -1 if there is none."""
        return max((points[-1][0] for name, points in self.curves.items() if name == Metric.TRAIN_LOSS), default=-1)

    def difference(self, state: str, curves: Curves) -> str:
        """Describe the first difference of another training from this run; empty if there is none.

        Args:
            state: How the other training ended.
            curves: Every value that it recorded.
        """
        if state != self.state:
            return f"it ended as {self.state} when recorded, as {state} now"
        if values_hash(curves) == self.values_hash:
            return ""
        all_recorded = any(len(points) > 1 for points in self.curves.values())
        compared = curves if all_recorded else {name: points for name, points in curves.items() if name in self.curves}
        first = first_difference(self.curves, compared)
        return first or "its curves are not those of the receipt, which has only their hash"


def originals_from_store(tracker: Tracker, row: Row) -> list[Original]:
    """Return a recorded run, or the replicates of a trial that has some. Raise `BadInputError` as for one run."""
    if not row.replicated:
        return [_original_from_store(tracker, row)]
    if not (found := [one for one in recorded_replicates(tracker, row) if _is_reproducible(one.state)]):
        raise BadInputError(f"no replicate of run {row.id} finished, so there is nothing to reproduce")
    return [_original_from_store(tracker, one) for one in found]


def _original_from_store(tracker: Tracker, row: Row) -> Original:
    """Return a recorded run. Raise `BadInputError` if it is no training, or if its end cannot be reproduced."""
    config = recorded_config(tracker, row)
    if not _is_reproducible(row.state):
        raise BadInputError(f"run {row.id} ended as {row.state}, so there is nothing to reproduce")
    run = RecordedRun(row.name, row, RunReader(tracker, [row]))
    packages = tracker.text(run.trained, Artifact.PACKAGES)
    names = [row.tags.get(tag, "") for tag in (Tag.ABLATION, Tag.STUDY, Tag.NAME)]
    return Original(
        label=row.name,
        config=config,
        state=_as_trained(row.state),
        run=row.id,
        experiment=next((name for name in names if name), "runs"),
        read_test=any(map(is_test, row.metrics)),
        facts={tag: run.tag(tag) for tag in FACTS},
        reads=recorded_reads(tracker, run.trained),
        packages=json.loads(packages) if packages else {},
        curves=run.curves,
        values_hash=values_hash(run.curves),
    )


def originals_from_receipts(label: str, folder: Path) -> list[Original]:
    """Return the seeds of an ablation's cell, or one trial of a study, from the report in `folder`.

    Raise `BadInputError` if there is no report, if it cannot be read, or if no such run can be reproduced.
    """
    try:
        receipts: dict[str, Any] = json.loads((folder / "receipts.json").read_text(encoding="utf-8"))
        if receipts["version"] != RECEIPTS_VERSION:
            raise BadInputError(f"{folder} was made by another version of knobs (receipts {receipts['version']})")
        return _runs_of_label(label, receipts, folder)
    except OSError:
        raise BadInputError(f"no report in {folder}: it holds no receipts.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{folder}: its receipts cannot be read: {type(error).__name__}: {error}") from None


def _runs_of_label(label: str, receipts: dict[str, Any], folder: Path) -> list[Original]:
    configs, runs = receipts["configs"], receipts["runs"]
    labels = {" ".join(name.split()): name for name in configs}
    name = labels.get(" ".join(label.split()))
    if name is None:
        raise BadInputError(f"no cell {label!r} with config and seeds in {folder}{nearest(label, labels)}")
    replicate = re.compile(rf"{re.escape(name)}\.\d+")
    keys = [key for key in runs if key == name or key.startswith(f"{name}/s") or replicate.fullmatch(key)]
    keys = [key for key in keys if "replicates" not in runs[key]]  # a trial that trained nothing itself
    found = [_original_from_receipt(key, configs[name], receipts) for key in sorted(keys)]
    found = [original for original in found if _is_reproducible(original.state)]
    if not found:
        raise BadInputError(f"no seed of {label!r} in {folder} finished")
    return found


def _original_from_receipt(key: str, config: dict[str, Any], receipts: dict[str, Any]) -> Original:
    run = receipts["runs"][key]
    receipt = {**receipts["origins"][run["origin"]], **run}  # facts that many runs share are stored once, as an origin
    step = int(receipt["single"].get(Metric.BEST_STEP, 0))
    own = {**receipt.get("tuned", {}), "seed": receipt["seed"]}
    return Original(
        label=key,
        config=RunConfig.from_json(json.dumps(config)).with_knobs(own),
        state=_as_trained(receipt["state"]),
        run=receipt["id"],
        experiment=receipts["name"],
        read_test=any(map(is_test, receipt["single"])),
        facts={tag: str(receipt.get(name, "")) for tag, name in FACTS.items()},
        reads=Reads(),
        packages=receipts["packages"].get(receipt["packages"], {}),
        curves={name: [(step, value)] for name, value in receipt["single"].items()},
        values_hash=receipt["values"],
    )


def _as_trained(state: str) -> str:
    return StateName.FINISHED if state == StateName.REUSED else state


def _is_reproducible(state: str) -> bool:
    return state in STATES and STATES[state].reproducible
