"""The record: the only file that imports mlflow. Every write is retried while the store is busy."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from knobs.errors import BadInputError, KnobsError, StoreError
from knobs.part import text_of
from knobs.places import Places, without_password
from knobs.stores import PATIENCE, create_database, retry

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

if TYPE_CHECKING:
    from knobs.job import Record

T = TypeVar("T")

_BATCH = 1000
"""Most metrics that MLflow takes in one `log_batch`."""

for _name in ("mlflow.store.db.utils", "alembic", "mlflow.utils.requirements_utils"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # every failure reaches the caller as an exception


@dataclass(frozen=True)
class Row:
    """One recorded run as it is read back: MLflow's fields under our words."""

    id: str
    experiment: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    start_ms: int
    end_ms: int | None
    artifacts: str

    @property
    def state(self) -> str:
        """`knobs.state`."""
        return self.tags.get("knobs.state", "")

    @property
    def folder(self) -> Path | None:
        """Where its artifacts lie, if that is on this machine."""
        scheme, _, path = self.artifacts.rpartition("://")
        return Path(unquote(path) if scheme else path) if scheme in ("", "file") else None


class Tracker:
    """Reads and writes runs. Waits `patience` seconds for a store that is merely busy."""

    def __init__(self, places: Places) -> None:
        self.places, self.patience = places, PATIENCE
        if places.tracking_uri is None:
            create_database(places, _make_tables)
        uri = places.tracking_uri or f"sqlite:///{places.database}"
        try:
            self.client = self._retry(lambda: MlflowClient(tracking_uri=uri))
        except StoreError as error:
            if "database schema" not in str(error):
                raise
            raise BadInputError(
                f"{without_password(uri)} was made by another version of MLflow; "
                f"back it up, then try: mlflow db upgrade {without_password(uri)}"
            ) from None
        except Exception as error:  # a driver that is not there, an address that is none
            text = without_password(str(error)).strip().partition("\n")[0]
            raise StoreError(f"{without_password(uri)} does not open as a tracking store: {text}") from None
        if places.tracking_uri is None:
            places.make()  # only now: of a folder that holds somebody else's file nothing is touched
        self._experiments: dict[str, str] = {}

    def experiment(self, name: str) -> str:
        """The id of the MLflow experiment of this name, made if it is missing."""
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
        """A new run, RUNNING, with its knobs as parameters. Returns its id."""
        shown = {"mlflow.source.name": "knobs", "mlflow.source.type": "LOCAL", **tags}
        run = self._retry(lambda: self.client.create_run(experiment, tags=shown, run_name=name))
        self.params(run.info.run_id, params)
        return str(run.info.run_id)

    def params(self, run: str, params: Mapping[str, Any]) -> None:
        """Record knobs; writing the same again is nothing."""
        entries = [Param(key, text_of(value)[:6000]) for key, value in params.items()]
        for part in _chunks(entries, 100):
            self._retry(partial(self.client.log_batch, run, params=part))

    def log(self, run: str, records: Iterable[Record]) -> None:
        """Append to the curves. Returns when they are in the store: they are then acknowledged."""
        batch: list[Metric] = []
        for record in records:
            new = [Metric(key, value, record.time_ms, record.step) for key, value in record.values.items()]
            if len(batch) + len(new) > _BATCH:
                self._log(run, batch)
                batch = []
            batch += new
        if batch:
            self._log(run, batch)

    def _log(self, run: str, batch: Sequence[Metric]) -> None:
        self._retry(lambda: self.client.log_batch(run, metrics=batch))

    def summary(self, run: str, values: Mapping[str, float], step: int = 0) -> None:
        """Single values beside the curves; those that the run has already are not written again."""
        there = self.get(run).metrics
        now = time.time_ns() // 1_000_000
        new = [Metric(key, value, now, step) for key, value in values.items() if there.get(key) != value]
        if new:
            self._log(run, new)

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        entries = [RunTag(key, value) for key, value in tags.items()]
        self._retry(lambda: self.client.log_batch(run, tags=entries))

    def untag(self, run: str, name: str) -> None:
        """Remove a tag that is there."""
        self._retry(lambda: self.client.delete_tag(run, name))

    def end(self, run: str, status: str, tags: Mapping[str, str]) -> None:
        """Tags first, then the status: whoever sees the status sees the state."""
        self.tag(run, tags)
        self._retry(lambda: self.client.set_terminated(run, status))

    def rename(self, run: str, name: str) -> None:
        """Change a run's name."""
        self._retry(lambda: self.client.update_run(run, name=name))

    def reopen(self, run: str, tags: Mapping[str, str]) -> None:
        """An interrupted run goes on: RUNNING again."""
        self.tag(run, tags)
        self._retry(lambda: self.client.update_run(run, status="RUNNING"))

    def upload(self, run: str, file: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artifacts."""
        self._retry(lambda: self.client.log_artifact(run, str(file), folder))

    def upload_texts(self, run: str, texts: Mapping[str, str]) -> None:
        """Write small text artifacts, by name."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            self._retry(lambda: self.client.log_artifacts(run, folder))

    def artifact(self, run: str, path: str) -> Path:
        """A local copy (or the file itself) of an artifact. Raises `BadInputError` where it is gone."""
        folder = self.get(run).folder
        if folder is not None and (folder / path).exists():
            return folder / path
        try:
            return Path(self._retry(lambda: self.client.download_artifacts(run, path)))
        except (OSError, KnobsError, MlflowException) as error:
            raise BadInputError(f"run {run} has no artifact {path}: {error}") from None

    def get(self, run: str) -> Row:
        """One run. Raises `BadInputError` for an id that is not there."""
        try:
            return _row(self._retry(lambda: self.client.get_run(run)))
        except BadInputError:
            raise BadInputError(f"no run {run!r} in this store; `knobs status` lists what there is") from None

    def search(self, filters: str, experiment: str | None = None, limit: int | None = None) -> list[Row]:
        """Runs that match MLflow's filter, newest first."""
        where = [experiment] if experiment else [e.experiment_id for e in self.experiments()]
        rows: list[Row] = []
        token: str | None = None
        while where:
            size = min(limit - len(rows), 1000) if limit else 1000
            order = ["attributes.start_time DESC"]
            page = self._retry(
                partial(self.client.search_runs, where, filters, ViewType.ACTIVE_ONLY, size, order, token)
            )
            rows += [_row(run) for run in page]
            token = page.token
            if not token or (limit and len(rows) >= limit):
                break
        return rows

    def experiments(self) -> list[Any]:
        """Every experiment that is not deleted."""
        return list(self._retry(lambda: self.client.search_experiments(max_results=5000)))

    def experiment_tags(self, experiment: str) -> dict[str, str]:
        """An experiment's tags: its description, its shared views."""
        return dict(self._retry(lambda: self.client.get_experiment(experiment)).tags)

    def tag_experiment(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set an experiment's tags."""
        for key, value in tags.items():
            self._retry(partial(self.client.set_experiment_tag, experiment, key, value))

    def inputs(self, run: str, name: str, fingerprint: str, source: Mapping[str, str]) -> None:
        """Name the data set that a run is trained on."""
        made = Dataset(name, fingerprint[:12], "code", json.dumps(source))
        given = DatasetInput(made, [InputTag("mlflow.data.context", "training")])
        self._retry(lambda: self.client.log_inputs(run, [given]))

    def pages_version(self) -> str:
        """The version of MLflow that serves the pages; empty where a team's server does not say."""
        uri = self.places.tracking_uri or ""
        if not uri.startswith("http"):
            return str(mlflow.__version__)
        with suppress(OSError, ValueError), urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=3) as answer:
            return str(answer.read(40).decode())
        return ""

    def curve(self, run: str, metric: str) -> list[tuple[int, float]]:
        """Step and value of every point, in order of steps."""
        return [(step, value) for step, value, _ in self.points(run, metric)]

    def points(self, run: str, metric: str) -> list[tuple[int, float, int]]:
        """Step, value and time (ms) of every point, in order of steps."""
        history = self._retry(lambda: self.client.get_metric_history(run, metric))
        return sorted((point.step, point.value, point.timestamp) for point in history)

    def _retry(self, call: Callable[[], T]) -> T:
        return retry(call, (MlflowException,), self.patience)


def _make_tables(file: Path) -> None:
    retry(lambda: MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments(max_results=1), (MlflowException,))


def is_single(name: str) -> bool:
    """Whether a metric of a run is one value, not a curve."""
    return name.startswith(("best/", "test/", "system/", "derived/")) or name == "parameters"


def _row(run: Run) -> Row:
    return Row(
        id=run.info.run_id,
        experiment=str(run.info.experiment_id),
        name=run.info.run_name,
        status=run.info.status,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        start_ms=run.info.start_time,
        end_ms=run.info.end_time,
        artifacts=run.info.artifact_uri,
    )


def _chunks(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
