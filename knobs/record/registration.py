"""When an ablation's design was recorded, how it changed afterwards, and how often its claims were decided.

A design that is written down before the first run cannot be fitted to the results. So it is recorded before that run;
every later change is kept with the number of runs that had begun by then. A second decision with more seeds is a
second look: to add seeds until a claim holds makes chance findings likelier.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from knobs.record.definition import AblationDefinition
from knobs.record.queries import runs_of_kind
from knobs.record.schema import Artifact, Kind, MlflowTag
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.search import identity_changes

UNREGISTERED = ("version", "kind", "name", "quick", "caveats")
"""Fields of a definition that are no part of the design."""

Design = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A change of the design."""

    time_ms: int
    runs: int
    """Runs of the ablation that had begun."""
    changes: tuple[str, ...]
    """Dotted names, with both values if they are short."""
    design: Design


@dataclass(frozen=True, kw_only=True)
class Look:
    """One decision on the claims."""

    time_ms: int
    seeds: dict[str, list[int]]
    """Seeds that the decision used, by cell."""
    evidence: str
    """Hash of the runs that it used."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The history of an ablation's design."""

    time_ms: int
    """When the design was recorded, before its first run."""
    design: Design
    revisions: tuple[Revision, ...] = ()
    """Changes after the first run."""
    looks: tuple[Look, ...] = ()

    @property
    def newest(self) -> Design:
        """The design as it was launched last."""
        return self.revisions[-1].design if self.revisions else self.design

    def revised(self, design: Design, runs: int) -> Registration:
        """Return the registration of a launch with this design, if so many runs had begun before it."""
        if design == self.newest:
            return self
        if not runs:
            return Registration(time_ms=_now_ms(), design=design)
        changes = tuple(identity_changes(self.newest, design))
        revision = Revision(time_ms=_now_ms(), runs=runs, changes=changes, design=design)
        return replace(self, revisions=(*self.revisions, revision))

    def looked(self, seeds: Mapping[str, Sequence[int]], evidence: str) -> Registration:
        """Return the registration after a decision. The same runs again are no new look."""
        if self.looks and self.looks[-1].evidence == evidence:
            return self
        look = Look(time_ms=_now_ms(), seeds={cell: list(found) for cell, found in seeds.items()}, evidence=evidence)
        return replace(self, looks=(*self.looks, look))


def design_of(definition: AblationDefinition) -> Design:
    """Return the registered part of a definition, as JSON has it; lists of named things are mappings by name."""
    tree = json.loads(json.dumps(asdict(definition)))
    for field in ("claims", "factors", "cells", "derived", "references"):
        listed = tree[field]
        key = "text" if field == "claims" else "name"
        tree[field] = {f"{item.pop(key)}": item for item in listed}
        tree[f"order of {field}"] = list(tree[field])
    return {name: value for name, value in tree.items() if name not in UNREGISTERED}


def register_design(tracker: Tracker, parent: str, definition: AblationDefinition) -> Registration:
    """Record the design of an ablation that is about to launch, and how it differs from the recorded one."""
    row = tracker.get(parent)
    old = read_registration(tracker, row)
    design = design_of(definition)
    new = (old or Registration(time_ms=_now_ms(), design=design)).revised(design, _runs_begun(tracker, row))
    if new != old:
        _write(tracker, parent, new)
    return new


def register_look(
    tracker: Tracker, parent: str, seeds: Mapping[str, Sequence[int]], evidence: str
) -> Registration | None:
    """Record a decision on the claims. Without a registration, whose artifact was removed, nothing is recorded."""
    old = read_registration(tracker, tracker.get(parent))
    if old is None:
        return None
    new = old.looked(seeds, evidence)
    if new != old:
        _write(tracker, parent, new)
    return new


def read_registration(tracker: Tracker, row: Row) -> Registration | None:
    """Return an ablation's registration; None if it has none that can be read."""
    text = tracker.text(row, Artifact.REGISTRATION)
    try:
        return None if text is None else TypeAdapter(Registration).validate_json(text)
    except ValidationError:
        return None


def _write(tracker: Tracker, parent: str, registration: Registration) -> None:
    tracker.upload_texts(parent, {Artifact.REGISTRATION: json.dumps(asdict(registration), indent=1, sort_keys=True)})


def _runs_begun(tracker: Tracker, parent: Row) -> int:
    """Return how many trials and seeds of an ablation have begun, those of cells that were set aside included."""
    cells = {row.id for row in runs_of_kind(tracker, Kind.CELL, parent.experiment) if _parent_of(row) == parent.id}
    rows = [row for kind in (Kind.TRIAL, Kind.SEED) for row in runs_of_kind(tracker, kind, parent.experiment)]
    return sum(_parent_of(row) in cells for row in rows)


def _parent_of(row: Row) -> str:
    return row.tags.get(MlflowTag.PARENT, "")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
