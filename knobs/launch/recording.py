"""What the driver writes of a run, from its first parameter to its end. Every step can be repeated after a crash."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from knobs import data, picture, provenance, signals
from knobs.config import RunConfig
from knobs.design import DERIVED
from knobs.errors import BadInputError
from knobs.job import Outcome, Record
from knobs.launch import notes
from knobs.launch.task import ENDS, Task
from knobs.places import without_password
from knobs.tracking import Row, Tracker, is_single


class Recorder:
    """Writes runs to MLflow; the driver's hand."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.places = tracker, tracker.places
        self._fingerprints: dict[str, str] = {}

    def open(self, task: Task, experiment: str, environment: Mapping[str, str]) -> None:
        """Make the task's MLflow run. One that is there already may lack what a killed driver had yet to write."""
        config = task.config
        fingerprint = task.fingerprint = self._fingerprint(config)
        digest = config.digest(fingerprint, task.execution)
        code = provenance.training_code_hash(config.model.kind, config.data.kind)
        same = [digest, code, environment["torch"], str(config.training.threads), environment["device"]]
        task.identity = hashlib.sha256(json.dumps(same).encode()).hexdigest()
        commit, diff = provenance.git_state(self.places.root)
        tags = {
            "knobs.digest": digest,
            "knobs.identity": task.identity,
            "knobs.code": code,
            "knobs.data_fingerprint": fingerprint,
            "knobs.seed": str(config.seed),
            "knobs.config": config.to_json(),
            "knobs.git_commit": commit,
            "knobs.git_dirty": str(bool(diff)).lower(),
            "knobs.diff": provenance.short_hash(diff),
            "knobs.packages": provenance.short_hash(provenance.packages()),
            "knobs.machine": provenance.short_hash(provenance.machine()),
            "knobs.execution": task.execution,
            "knobs.device": environment["device"],
            "knobs.threads": str(config.training.threads),
            "knobs.state": "attempt 1",
            "knobs.attempt": "1",
            **task.tags,
        }
        if not task.run:
            task.run = self.tracker.create(self.tracker.experiment(experiment), task.name, tags, config.knobs())
        else:
            self.tracker.params(task.run, config.knobs())
        kind = config.data.kind
        self.tracker.inputs(task.run, kind, fingerprint, {"file": f"datamodules/{kind}.py", "fingerprint": fingerprint})
        texts = {
            "config.json": json.dumps(json.loads(config.to_json()), indent=1),
            "packages.json": json.dumps(provenance.packages(), indent=1),
            "machine.json": json.dumps({**provenance.machine(), **environment}, indent=1),
        }
        if diff:
            texts["git.diff"] = without_password(diff)
        self.tracker.upload_texts(task.run, texts)

    def attempt(self, task: Task) -> None:
        """The task is handed to a worker once more."""
        task.attempt += 1
        if task.attempt > 1 and not task.closed:
            state = {"knobs.state": f"attempt {task.attempt}", "knobs.attempt": str(task.attempt)}
            self.tracker.reopen(task.run, state)

    def died(self, task: Task) -> None:
        """A worker was lost under the task."""
        self.flush(task)
        self.tracker.tag(task.run, {"knobs.deaths": str(task.deaths)})

    def hear(self, task: Task, record: Record) -> None:
        """Keep values to be written; those of a step that is written already are a replay."""
        task.step, task.value = record.step, record.values.get(task.metric)
        last = task.pending[-1].step if task.pending else task.recorded
        if record.step > last:
            task.pending.append(record)

    def flush(self, task: Task) -> None:
        """Write what has been heard; it is acknowledged when this returns."""
        if task.pending:
            self.tracker.log(task.run, task.pending)
            task.recorded = task.pending[-1].step
            task.pending.clear()

    def finished_twin(self, task: Task) -> Row | None:
        """A finished run that already answers the task, if there is one."""
        found = self.tracker.search(
            f"tags.`knobs.identity` = '{task.identity}' and attributes.status = 'FINISHED'", limit=1
        )
        return found[0] if found else None

    def reuse(self, task: Task, source: Row) -> Outcome | None:
        """Carry a finished run's values over; None where a worker has to read the test split with its checkpoint.

        None too, and nothing carried, where that checkpoint is gone: then it is trained again.
        """
        holder = source.tags.get("knobs.reused_from", source.id)
        weights: Path | None = None
        if task.test and not any(name.startswith("test/") for name in source.metrics):
            try:
                weights = self.tracker.artifact(holder, "checkpoints/best.ckpt")
            except BadInputError:
                return None
        task.reused_from = holder
        steps: dict[int, tuple[int, dict[str, float]]] = {}
        for name in source.metrics:
            if not is_single(name):
                for step, value, time_ms in self.tracker.points(source.id, name):
                    steps.setdefault(step, (time_ms, {}))[1][name] = value
        self.tracker.tag(task.run, {"knobs.reused_from": task.reused_from})
        records = [Record(step=step, values=values, time_ms=time) for step, (time, values) in sorted(steps.items())]
        for record in records:
            self.hear(task, record)
            if task.report is not None and not task.report(record.step, record.values[task.metric]):
                return Outcome(state="pruned", message="pruned")
        summary = {n: v for n, v in source.metrics.items() if is_single(n) and not n.startswith(DERIVED)}
        tested = {name: value for name, value in summary.items() if name.startswith("test/")}
        summary = {name: value for name, value in summary.items() if name not in tested}
        best_step = int(summary["best/step"])
        if weights is not None:
            self.flush(task)
            task.carried = summary
            task.evaluate = weights
            return None
        summary |= tested if task.test else {}
        drawn = picture.draw(records, best_step)
        return Outcome(state="finished", best_step=best_step, summary=summary, picture=drawn)

    def summary(self, task: Task, values: Mapping[str, float], step: int) -> None:
        """Single values, each once; inf and NaN are no values."""
        new = {k: v for k, v in values.items() if k not in task.summarised and math.isfinite(v)}
        if new:
            self.tracker.summary(task.run, new, step)
            task.summarised |= new.keys()

    def end(self, task: Task, outcome: Outcome, more_tags: Mapping[str, str]) -> str:
        """Write a run's end: values, files, then the state, then the status. Returns the state."""
        self.flush(task)
        run, state = task.run, "reused" if task.reused_from and outcome.state == "finished" else outcome.state
        self.summary(task, outcome.summary, max(outcome.best_step, 0))
        if outcome.state == "finished" and outcome.checkpoint is not None:
            self.tracker.upload(run, outcome.checkpoint, "checkpoints")
        texts = {
            "run.log": without_password(outcome.log),
            "curves.svg": outcome.picture,
            "sample.txt": outcome.sample,
        }
        if texts := {name: text for name, text in texts.items() if text}:
            self.tracker.upload_texts(run, texts)
        tags = {"knobs.state": state, **({} if task.closed else notes.signed(notes.of_run(task, outcome, state)))}
        if outcome.message:
            tags["knobs.message"] = without_password(outcome.message)[:500]
        if task.deaths:
            tags["knobs.deaths"] = str(task.deaths)
        if task.test and outcome.state == "finished":
            tags["knobs.test_read"] = "true"
        if outcome.sample:
            tags["knobs.sample"] = "true"
        if outcome.environment:
            kept = ("cpu_capability", "deterministic_algorithms", "cublas_workspace", "torch", "device_name")
            tags |= {f"knobs.{name}": outcome.environment[name] for name in kept}
        if task.closed:  # a finished run whose test split was read: its status and end stand
            self.tracker.tag(run, {**tags, "knobs.state": task.closed})
        else:
            self.tracker.end(run, ENDS[state], {**task.tags, **tags, **more_tags})
        return state

    def interrupted(self, task: Task) -> None:
        """The task is left to be gone on with."""
        self.flush(task)
        if not task.closed:
            self.tracker.end(task.run, ENDS["interrupted"], {"knobs.state": "interrupted"})

    def scratch(self, task: Task) -> Path:
        """Where the run's checkpoints lie until it ends."""
        return self.places.scratch / task.run

    def clear(self, task: Task) -> None:
        """Remove the checkpoints of an ended run."""
        shutil.rmtree(self.scratch(task), ignore_errors=True)

    def _fingerprint(self, config: RunConfig) -> str:
        key = json.dumps([config.data.kind, json.loads(config.to_json())["data"]])
        if key not in self._fingerprints:
            with signals.let_through():  # making a data set may take long
                self._fingerprints[key] = data.prepare(config.data, self.places.cache)
        return self._fingerprints[key]
