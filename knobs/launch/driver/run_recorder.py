"""Write a run to MLflow, from its first parameter to its end. Every step can be repeated after a crash."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from knobs import provenance, signals
from knobs.code import Reads
from knobs.config import KINDED, RunConfig
from knobs.data import about_prepared, prepare
from knobs.errors import BadInputError
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.run_notes import run_note
from knobs.pages.descriptions import note_tags
from knobs.record.runs import config_json, execution_of
from knobs.record.schema import Artifact, Tag
from knobs.record.states import STATES, StateName
from knobs.record.stores.locations import without_password
from knobs.record.stores.mlflow_store import Tracker
from knobs.training import Outcome

_FROM_ENVIRONMENT = {
    "cpu_capability": Tag.CPU_CAPABILITY,
    "deterministic_algorithms": Tag.DETERMINISTIC,
    "cublas_workspace": Tag.CUBLAS_WORKSPACE,
    "torch": Tag.TORCH,
    "device_name": Tag.DEVICE_NAME,
    "device_uuid": Tag.DEVICE_UUID,
    "driver": Tag.DRIVER,
    "cudnn": Tag.CUDNN,
    "tf32": Tag.TF32,
}
"""Facts of the worker that trained a run, and the tags that hold them."""


_IDENTITY = ("torch", "device", "device_name", "driver", "cudnn", "tf32")
"""Facts of the worker that are part of a run's identity: an equal run elsewhere may have other bits."""


class RunRecorder:
    """Writes runs to MLflow. Only the driver uses it."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.places = tracker, tracker.places
        self._fingerprints: dict[str, str] = {}

    def open(self, run: OpenRun, experiment: str, environment: Mapping[str, str]) -> None:
        """Create the MLflow run, or complete one that a killed driver left incomplete."""
        planned, config = run.planned, run.config
        run.fingerprint = self._fingerprint(run)
        digest = config.digest(run.fingerprint, execution_of(planned.batch))
        run.identity = _identity(digest, run.code, config, environment)
        commit, diff = provenance.git_state(self.places.root)
        tags = {
            Tag.KIND: planned.kind,
            Tag.STATE: StateName.RUNNING,
            Tag.ATTEMPT: "1",
            Tag.CONFIG: config.hash(),
            Tag.SEED: str(config.seed),
            Tag.DIGEST: digest,
            Tag.IDENTITY: run.identity,
            Tag.EXECUTION: execution_of(planned.batch),
            Tag.CODE: run.code,
            Tag.DATA: run.fingerprint,
            **self._about_data(config),
            Tag.COMMIT: commit,
            Tag.DIRTY: str(bool(diff)).lower(),
            Tag.DIFF: provenance.short_hash(diff),
            Tag.PACKAGES: provenance.short_hash(provenance.packages()),
            Tag.MACHINE: provenance.short_hash(provenance.machine()),
            Tag.DEVICE: environment["device"],
            Tag.DEVICE_NAME: environment["device_name"],
            Tag.THREADS: str(config.training.threads),
            **planned.tags,
        }
        if not run.id:
            run.id = self.tracker.create(self.tracker.experiment(experiment), planned.name, tags, config.knobs())
        else:
            self.tracker.params(run.id, config.knobs())
            if planned.continues is None:  # its code was edited before a worker began to train it
                self.tracker.tag(run.id, tags)
            self._note_other_device(run, environment)
        file = f"{KINDED['data'][0]}/{config.data.kind}.py"
        source = {"file": file, "fingerprint": run.fingerprint}
        self.tracker.inputs(run.id, config.data.kind, run.fingerprint, source)
        texts = {
            Artifact.CONFIG: config_json(config),
            Artifact.PACKAGES: json.dumps(provenance.packages(), indent=1),
            Artifact.MACHINE: json.dumps({**provenance.machine(), **environment}, indent=1),
        }
        if diff:
            texts[Artifact.DIFF] = without_password(diff)
        self.tracker.upload_texts(run.id, texts)

    def _note_other_device(self, run: OpenRun, environment: Mapping[str, str]) -> None:
        """If a run continues on another model of device, say so, and let no later run reuse its values."""
        old = run.planned.continues
        if old is not None and old.identity != run.identity:
            run.identity = f"continued on another device: {run.id}"
            self.tracker.tag(run.id, {Tag.IDENTITY: run.identity, Tag.CONTINUED_ON: environment["device_name"]})

    def note_reads(self, run: OpenRun, reads: Reads) -> None:
        """Record what the training reads besides its data. If that is not known for sure, no later run reuses it."""
        if run.reads and (gone := next((k for k, v in reads.files.items() if run.reads.files.get(k, v) != v), "")):
            reads = replace(reads, unproven=(*reads.unproven, f"{gone} changed while it trained"))
        if not reads or reads == run.reads:
            return
        run.reads, text = reads, reads.to_json()
        tags = {Tag.READS: provenance.short_hash(text)}
        if reads.unproven:
            run.identity = f"not proven: {run.id}"
            tags |= {Tag.IDENTITY: run.identity, Tag.UNPROVEN: "; ".join(reads.unproven)[:500]}
        self.tracker.upload_texts(run.id, {Artifact.READS: text})
        self.tracker.tag(run.id, tags)

    def count_attempt(self, run: OpenRun) -> None:
        """Record that the run is handed to a worker once more."""
        run.attempt += 1
        if run.attempt > 1 and run.trains:
            self.tracker.reopen(run.id, {Tag.STATE: StateName.RUNNING, Tag.ATTEMPT: str(run.attempt)})

    def count_lost_worker(self, run: OpenRun) -> None:
        """Record that a worker was lost while it trained the run."""
        self.flush(run)
        self.tracker.tag(run.id, {Tag.LOST_WORKERS: str(run.lost_workers)})

    def mark_reused(self, run: OpenRun, trained: str) -> None:
        """Record that the run takes over the values of a finished one."""
        run.reused_from = trained
        self.tracker.tag(run.id, {Tag.REUSED_FROM: trained})

    def flush(self, run: OpenRun) -> None:
        """Write the points that were received. When this returns, they are in the store."""
        if run.pending:
            self.tracker.log(run.id, run.pending)
            run.last_step = run.pending[-1].step
            run.pending.clear()

    def end(self, run: OpenRun, outcome: Outcome, tags: Mapping[str, str]) -> str:
        """Write a run's end: values, files, then tags, then the status. Return the recorded state."""
        self.flush(run)
        self.note_reads(run, outcome.reads)
        state = StateName.REUSED if run.reused_from and outcome.state == StateName.FINISHED else outcome.state
        self._write_values(run, outcome)
        written = {
            **run.planned.tags,
            **note_tags(run_note(run, outcome, state)),
            **self._end_tags(run, outcome),
            Tag.STATE: state,
            **tags,
        }
        self.tracker.end(run.id, STATES[state].mlflow, written)
        return state

    def add_test(self, run: OpenRun, outcome: Outcome, tags: Mapping[str, str]) -> str:
        """Add the test metrics of a run that has ended: its status, end and state stay. Return its state."""
        assert run.planned.reads_test_of is not None
        self._write_values(run, outcome)
        self.tracker.tag(run.id, {**self._end_tags(run, outcome), **tags})
        return run.planned.reads_test_of.row.state

    def leave_interrupted(self, run: OpenRun) -> None:
        """Leave the run to be continued later."""
        self.flush(run)
        if run.trains:
            status = STATES[StateName.INTERRUPTED].mlflow
            self.tracker.end(run.id, status, {Tag.STATE: StateName.INTERRUPTED})

    def traceback_line(self, run: str) -> str:
        """Return a line that says where the log of a recorded run is, with its traceback; empty if it has none."""
        try:
            return f"the full traceback: {self.tracker.artifact(run, Artifact.LOG)}\n"
        except BadInputError:
            return ""

    def scratch(self, run: OpenRun) -> Path:
        """Return the folder of the run's checkpoints; it exists until the run ends."""
        return self.places.scratch / run.id

    def clear(self, run: OpenRun) -> None:
        """Remove the checkpoints of an ended run."""
        shutil.rmtree(self.scratch(run), ignore_errors=True)

    def _write_values(self, run: OpenRun, outcome: Outcome) -> None:
        """Write single values, each once and only finite ones, and the files of an outcome."""
        new = {k: v for k, v in outcome.summary.items() if k not in run.singles and math.isfinite(v)}
        if new:
            self.tracker.summary(run.id, new, max(outcome.best_step, 0))
            run.singles |= new.keys()
        if outcome.state == StateName.FINISHED and outcome.checkpoint is not None:
            self.tracker.upload(run.id, outcome.checkpoint, Artifact.CHECKPOINTS)
        if outcome.predictions is not None:
            self.tracker.upload(run.id, outcome.predictions, Artifact.PREDICTIONS)
        texts = {
            Artifact.LOG: without_password(outcome.log),
            Artifact.CURVES: outcome.curves_svg,
            Artifact.SAMPLE: outcome.sample,
            Artifact.LEFT_OUT: json.dumps(outcome.left_out) if outcome.left_out else "",
        }
        if texts := {name: text for name, text in texts.items() if text}:
            self.tracker.upload_texts(run.id, texts)

    def _end_tags(self, run: OpenRun, outcome: Outcome) -> dict[str, str]:
        tags: dict[str, str] = {}
        if outcome.message:
            tags[Tag.MESSAGE] = without_password(outcome.message)[:500]
        if run.lost_workers:
            tags[Tag.LOST_WORKERS] = str(run.lost_workers)
        if run.planned.read_test and outcome.state == StateName.FINISHED:
            tags[Tag.TEST_READ] = "true"
        if outcome.sample:
            tags[Tag.SAMPLE] = "true"
        if outcome.environment:
            facts = outcome.environment
            tags |= {tag: facts[name] for name, tag in _FROM_ENVIRONMENT.items() if name in facts}
        return tags

    def _fingerprint(self, run: OpenRun) -> str:
        config = run.config
        key = json.dumps([config.data.kind, json.loads(config.to_json())["data"], run.code])
        if key not in self._fingerprints:
            with signals.let_through():  # preparing a data set may take long
                self._fingerprints[key] = prepare(config.data, self.places.cache)
        return self._fingerprints[key]

    def _about_data(self, config: RunConfig) -> dict[str, str]:
        """Return the tags that say how many rows a run's data have, and what is odd about them."""
        about = about_prepared(config.data, self.places.cache)
        if about is None:
            return {}
        warnings = {Tag.DATA_WARNINGS: "\n".join(about.warnings)} if about.warnings else {}
        return {Tag.DATA_ROWS: json.dumps(about.rows), **warnings}


def _identity(digest: str, code: str, config: RunConfig, environment: Mapping[str, str]) -> str:
    """Return a hash that is equal in runs that must come out the same."""
    facts = [digest, code, str(config.training.threads), *(environment.get(name, "") for name in _IDENTITY)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
