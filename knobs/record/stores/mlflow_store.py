"""MLflow as the record. Every call is retried while the store is busy."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from knobs.config import text_of
from knobs.errors import BadInputError, KnobsError, StoreError
from knobs.record.schema import VERSION, MlflowTag, Tag, bounded
from knobs.record.stores.locations import StoreLocations, without_password
from knobs.training import CurvePoint

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # the address may hold a password
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # `retry` waits, says so and takes signals
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from knobs.record.stores.database import create_database, follow_move, open_client
from knobs.record.stores.mlflow_internals import LOGGERS, sqlite_uri
from knobs.record.stores.retry import PATIENCE, first_line, retry
from knobs.record.stores.rows import Row

T = TypeVar("T")

_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
"""The most that MLflow takes in one `log_batch`."""

for _name in LOGGERS:
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Tracker:
    """Reads and writes runs. Waits `patience` seconds for a store that is only busy."""

    def __init__(self, places: StoreLocations) -> None:
        self.places, self.patience = places, PATIENCE
        if places.tracking_uri is None:
            create_database(places)
        uri = places.tracking_uri or sqlite_uri(places.database)
        shown = without_password(places.tracking_uri or str(places.database))
        try:
            self.client = open_client(uri, shown)
        except (StoreError, BadInputError):
            raise
        except Exception as error:  # a missing driver, a malformed address
            raise StoreError(f"{shown} does not open as a tracking store: {first_line(error)}") from None
        if places.tracking_uri is None:
            follow_move(places)
            places.make()  # only now: nothing is written beside somebody else's file
        self._experiments: dict[str, str] = {}

    def experiment(self, name: str) -> str:
        """Return the id of the MLflow experiment of this name; create it if it is missing."""
        if name in self._experiments:
            return self._experiments[name]

        def get_or_create() -> str:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                served = (self.places.tracking_uri or "").startswith(("http://", "https://"))  # a server keeps its own
                location = None if served else (self.places.artifacts / name).as_uri()
                try:
                    return str(self.client.create_experiment(name, artifact_location=location))
                except MlflowException:
                    found = self.client.get_experiment_by_name(name)  # another driver was faster
                    if found is None:
                        raise
            if found.lifecycle_stage == "deleted":
                raise BadInputError(f"the MLflow experiment {name!r} was deleted; restore or purge it first")
            return str(found.experiment_id)

        self._experiments[name] = self._retry(get_or_create)
        return self._experiments[name]

    def create(self, experiment: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """Create a run, RUNNING, with its knobs as parameters. Return its id."""
        every = {Tag.SCHEMA: VERSION, MlflowTag.SOURCE_NAME: "knobs", MlflowTag.SOURCE_TYPE: "LOCAL", **tags}
        shown = {key: bounded(value) for key, value in every.items()}
        run = self._retry(lambda: self.client.create_run(experiment, tags=shown, run_name=name))
        self.params(run.info.run_id, params)
        return str(run.info.run_id)

    def params(self, run: str, params: Mapping[str, Any]) -> None:
        """Record knobs. Recording the same values again changes nothing."""
        entries = [Param(key, bounded(text_of(value))) for key, value in params.items()]
        for chunk in _chunks(entries, _PARAMS_PER_BATCH):
            self._retry(partial(self.client.log_batch, run, params=chunk))

    def log(self, run: str, points: Iterable[CurvePoint]) -> None:
        """Append to the curves. When this returns, the points are in the store."""
        batch: list[Metric] = []
        for point in points:
            new = [Metric(key, value, point.time_ms, point.step) for key, value in point.values.items()]
            if len(batch) + len(new) > _METRICS_PER_BATCH:
                self._log(run, batch)
                batch = []
            batch += new
        if batch:
            self._log(run, batch)

    def _log(self, run: str, batch: Sequence[Metric]) -> None:
        self._retry(lambda: self.client.log_batch(run, metrics=batch))

    def summary(self, run: str, values: Mapping[str, float], step: int = 0) -> None:
        """Record single values beside the curves. Values that the run already has are not written again."""
        there = self.get(run).metrics
        now = time.time_ns() // 1_000_000
        new = [Metric(key, value, now, step) for key, value in values.items() if there.get(key) != value]
        if new:
            self._log(run, new)

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        entries = [RunTag(key, bounded(value)) for key, value in tags.items()]
        self._retry(lambda: self.client.log_batch(run, tags=entries))

    def untag(self, run: str, name: str) -> None:
        """Remove a tag that is there."""
        self._retry(lambda: self.client.delete_tag(run, name))

    def end(self, run: str, status: str, tags: Mapping[str, str]) -> None:
        """Write tags, then the status: whoever sees the status sees the state."""
        self.tag(run, tags)
        self._retry(lambda: self.client.set_terminated(run, status))

    def reopen(self, run: str, tags: Mapping[str, str]) -> None:
        """Set an interrupted run to RUNNING again."""
        self.tag(run, tags)
        self._retry(lambda: self.client.update_run(run, status="RUNNING"))

    def upload(self, run: str, file: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artifacts."""
        self._retry(lambda: self.client.log_artifact(run, str(file), folder))

    def upload_texts(self, run: str, texts: Mapping[str, str]) -> None:
        """Write small text artifacts by name; a name may hold a folder."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                file = Path(folder) / name
                file.parent.mkdir(exist_ok=True)
                file.write_text(text, encoding="utf-8")
            self._retry(lambda: self.client.log_artifacts(run, folder))

    def artifact(self, run: str | Row, path: str) -> Path:
        """Return a local copy of an artifact, or the file itself. Raise `BadInputError` if it is gone."""
        row = run if isinstance(run, Row) else self.get(run)
        if row.folder is not None and (row.folder / path).exists():
            return row.folder / path
        try:
            return Path(self._retry(lambda: self.client.download_artifacts(row.id, path)))
        except (OSError, KnobsError, MlflowException) as error:
            raise BadInputError(f"run {row.id} has no artifact {path}: {error}") from None

    def text(self, run: str | Row, path: str) -> str | None:
        """Return the text of an artifact; None if it is gone."""
        try:
            return self.artifact(run, path).read_text(encoding="utf-8")
        except (BadInputError, OSError):
            return None

    def get(self, run: str) -> Row:
        """Return one run. Raise `BadInputError` for an unknown id."""
        try:
            return Row.of(self._retry(lambda: self.client.get_run(run)))
        except BadInputError:
            raise BadInputError(f"no run {run!r} in this store; `knobs status` lists what there is") from None

    def search(self, filters: str, experiment: str | None = None, limit: int | None = None) -> list[Row]:
        """Return runs that match MLflow's filter, newest first."""
        within = [experiment] if experiment else [e.experiment_id for e in self.experiments()]
        rows: list[Row] = []
        token: str | None = None
        while within:
            size = min(limit - len(rows), 1000) if limit else 1000
            order = ["attributes.start_time DESC"]
            page = self._retry(
                partial(self.client.search_runs, within, filters, ViewType.ACTIVE_ONLY, size, order, token)
            )
            rows += [Row.of(run) for run in page]
            token = page.token
            if not token or (limit and len(rows) >= limit):
                break
        return rows

    def experiments(self) -> list[Any]:
        """Return every experiment that is not deleted."""
        return list(self._retry(lambda: self.client.search_experiments(max_results=5000)))

    def experiment_tags(self, experiment: str) -> dict[str, str]:
        """Return an experiment's tags."""
        return dict(self._retry(lambda: self.client.get_experiment(experiment)).tags)

    def tag_experiment(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set an experiment's tags. They may be longer than those of runs; MLflow refuses over 20,000 characters."""
        for key, value in tags.items():
            self._retry(partial(self.client.set_experiment_tag, experiment, key, value))

    def inputs(self, run: str, name: str, fingerprint: str, source: Mapping[str, str]) -> None:
        """Record the data set that a run is trained on."""
        dataset = Dataset(name, fingerprint[:12], "code", json.dumps(source))
        given = DatasetInput(dataset, [InputTag(MlflowTag.DATA_CONTEXT, "training")])
        self._retry(lambda: self.client.log_inputs(run, [given]))

    def pages_version(self) -> str:
        """Return the version of MLflow that serves the pages; empty if a team's server does not report it."""
        uri = self.places.tracking_uri or ""
        if not uri.startswith("http"):
            return str(mlflow.__version__)
        with suppress(OSError, ValueError), urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=3) as answer:
            return str(answer.read(40).decode())
        return ""

    def points(self, run: str, metric: str) -> list[tuple[int, float, int]]:
        """Return step, value and time (ms) of every point of a curve, in order of steps."""
        history = self._retry(lambda: self.client.get_metric_history(run, metric))
        return sorted((point.step, point.value, point.timestamp) for point in history)

    def curve(self, run: str, metric: str) -> list[tuple[int, float]]:
        """Return step and value of every point of a curve, in order of steps."""
        return [(step, value) for step, value, _ in self.points(run, metric)]

    def _retry(self, call: Callable[[], T]) -> T:
        return retry(call, (MlflowException,), self.patience)


def _chunks(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
