"""Recorded trainings, and what their rows say about how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution

from knobs.code import Reads, training_code_hash
from knobs.config import KINDED, RunConfig
from knobs.data import known_fingerprint
from knobs.errors import BadInputError
from knobs.record.curves import Curves, Points, read_curves
from knobs.record.knob_range import KnobRange
from knobs.record.schema import PROVENANCE, Artifact, Metric, Tag, metric_key
from knobs.record.spaces import SpaceStore
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

_IDS_PER_SEARCH = 100

BATCH = "batch of "
"""Start of `Tag.EXECUTION` for a run that is trained in a batch; the knobs in which its members differ follow."""


def execution_of(batch: Sequence[RunConfig]) -> str:
    """Return how a run is executed, as it is recorded and part of the digest. `batch`: all members of its batch."""
    if not batch:
        return "solo"
    members = [config.knobs() for config in batch]
    differing = {name: [member[name] for member in members] for name in members[0]}
    return BATCH + json.dumps({k: v for k, v in differing.items() if any(one != v[0] for one in v)})


def recorded_batch(config: RunConfig, execution: str) -> tuple[RunConfig, ...]:
    """Return the members of the batch of a run with this config, as its recorded execution names them.

    Empty for a run trained alone. Raise `BadInputError` if another version of knobs recorded it.
    """
    if not execution.startswith(BATCH):
        return ()
    try:
        differing = json.loads(execution.removeprefix(BATCH))
    except ValueError:
        raise BadInputError(f"another version of knobs recorded a run as {execution!r}; use that version") from None
    values = zip(*differing.values(), strict=True)
    return tuple(config.with_knobs(dict(zip(differing, member, strict=True))) for member in values)


def recorded_config(tracker: Tracker, row: Row) -> RunConfig:
    """Return a run's config: from its parameters if they give the recorded hash, else from its artifact.

    Raise `BadInputError` if the run was not recorded by knobs, or its model or data set no longer has these knobs.
    """
    if Tag.CONFIG not in row.tags:
        kind = f"a whole {row.kind}: name one of the runs under it" if row.kind else "not a training of knobs"
        raise BadInputError(f"run {row.id} has no config: it is {kind}")
    try:
        config = RunConfig.from_texts(row.params)
        if config.hash() == row.tags[Tag.CONFIG]:
            return config
    except BadInputError:
        pass
    text = tracker.text(row, Artifact.CONFIG)
    if text is None:
        raise BadInputError(f"the config of run {row.id} is gone: its artifact {Artifact.CONFIG} was removed")
    return RunConfig.from_json(text)


def content_of(row: Row) -> list[str]:
    """Return the content modules of a recorded run."""
    return [f"{folder}.{row.params.get(f'{part}.kind', '')}" for part, (folder, _) in KINDED.items()]


def changes_since(row: Row, config: RunConfig, tracker: Tracker) -> list[str]:
    """Return how a recorded run was trained differently from now: `by other code`, `on other data`."""
    found = ["by other code"] if row.tags.get(Tag.CODE) != training_code_hash(content_of(row)) else []
    if recorded_reads(tracker, row).difference():
        found.append("with other files or environment variables")
    now = known_fingerprint(config.data, tracker.places.cache)
    return [*found, "on other data"] if now and row.tags.get(Tag.DATA) != now else found


def recorded_reads(tracker: Tracker, row: Row) -> Reads:
    """Return what a run read besides its data; nothing if it read nothing."""
    text = tracker.text(row, Artifact.READS) if Tag.READS in row.tags else None
    return Reads.from_json(text) if text else Reads()


class RunReader:
    """Reads the curves of many runs, and the runs whose values reused ones took over, when first needed."""

    def __init__(self, tracker: Tracker, rows: Sequence[Row]) -> None:
        self.tracker, self.rows = tracker, rows

    @cached_property
    def curves(self) -> Mapping[str, Curves]:
        """Curves by run id."""
        return read_curves(self.tracker, self.rows)

    @cached_property
    def trained(self) -> Mapping[str, Row]:
        """The rows of trained runs by id."""
        known = {row.id: row for row in self.rows}
        wanted = sorted({row.trained_run for row in self.rows} - known.keys())
        for start in range(0, len(wanted), _IDS_PER_SEARCH):
            ids = ", ".join(f"'{run}'" for run in wanted[start : start + _IDS_PER_SEARCH])
            known |= {row.id: row for row in self.tracker.search(f"attributes.run_id IN ({ids})")}
        return known


@dataclass(frozen=True)
class RecordedRun:
    """One recorded training, under a key that is the same in every store: `plain 16/s1002`, `plain 16/t003`, `t003`."""

    key: str
    row: Row
    reader: RunReader
    spaces: SpaceStore | None = None
    """The spaces of its study or cell, if it is a trial."""

    @property
    def state(self) -> str:
        """How it ended."""
        return self.row.state

    @property
    def ended(self) -> bool:
        """True if it will not continue."""
        return self.row.ended

    @property
    def finished(self) -> bool:
        """True if it has values at the checkpoint that validation chose."""
        return self.row.finished

    @property
    def trained(self) -> Row:
        """The run that was trained: this one, or the one whose values it took over."""
        return self.reader.trained.get(self.row.trained_run, self.row)

    def tag(self, name: str) -> str:
        """Return a tag; empty if the run has none. Provenance is that of the run that was trained."""
        return (self.trained if name in PROVENANCE else self.row).tags.get(name, "")

    def value(self, metric: str) -> float | None:
        """Return a metric at the chosen checkpoint, or on the test split if it was read."""
        return self.row.metrics.get(metric_key(metric))

    def curve(self, metric: str) -> Points:
        """Return step and value of a curve."""
        return self.reader.curves[self.row.id].get(metric, [])

    @cached_property
    def left_out(self) -> Mapping[str, Sequence[float]]:
        """Test metrics without each group of test samples, by metric; empty if the record does not have them."""
        text = self.reader.tracker.text(self.trained, Artifact.LEFT_OUT) if self.tested else None
        found: Mapping[str, Sequence[float]] = json.loads(text) if text else {}
        return found

    @property
    def curves(self) -> Curves:
        """Every recorded value by metric."""
        return self.reader.curves[self.row.id]

    @property
    def tested(self) -> dict[str, float]:
        """The metrics of test splits, by name."""
        return {k: v for k, v in sorted(self.row.metrics.items()) if k.startswith(Metric.TEST)}

    @cached_property
    def config(self) -> RunConfig:
        """Its config."""
        return recorded_config(self.reader.tracker, self.row)

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """The search space of this trial, as Optuna has it."""
        known = self.spaces is not None and Tag.SPACE in self.row.tags
        return self.spaces.space(self.row) if known and self.spaces else {}

    @cached_property
    def searched(self) -> dict[str, KnobRange]:
        """The ranges of the knobs that the search chose for this trial."""
        return {name: KnobRange.of(name, d) for name, d in self.distributions.items()}

    @cached_property
    def chosen(self) -> dict[str, Any]:
        """The values that the search chose for this trial."""
        return {name: knob.parse(self.row.params[name]) for name, knob in self.searched.items()}


def config_json(config: RunConfig) -> str:
    """Return the text of the artifact `config.json`."""
    return json.dumps(json.loads(config.to_json()), indent=1)
