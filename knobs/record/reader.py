"""Read a recorded study or ablation. Launching, pages, status and reports all use this."""

from __future__ import annotations

from knobs.errors import BadInputError
from knobs.record.definition import AblationDefinition, Definition, definition_from_json, partial_definition
from knobs.record.queries import counted_trials, current, parent_of, runs_of_kind, runs_under
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Artifact, Kind
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row


def read_recorded(tracker: Tracker, name: str, *, strict: bool = False) -> RecordedStudy | RecordedAblation:
    """Return the study or ablation of this name. Raise `BadInputError` if there is none.

    If its definition is gone, return what the runs themselves show; with `strict`, raise `BadInputError`.
    """
    return recorded_under(tracker, name, parent_of(tracker, name), strict=strict)


def recorded_under(
    tracker: Tracker, name: str, parent: Row, *, strict: bool = False
) -> RecordedStudy | RecordedAblation:
    """Return the study or ablation whose run is `parent`; see `read_recorded`."""
    text = tracker.text(parent, Artifact.DEFINITION)
    definition: Definition
    if text is not None:
        definition = definition_from_json(text, name)
    elif strict:
        command = {Kind.ABLATION: "ablate", Kind.STUDY: "study"}[parent.kind]
        raise BadInputError(
            f"the definition of {name} is gone: its files were moved or removed\n"
            f"`knobs {command} {name}` writes it again; ended runs are not trained again"
        )
    else:
        cells = current(runs_of_kind(tracker, Kind.CELL, parent.experiment)) if parent.kind == Kind.ABLATION else []
        definition = partial_definition(name, parent, cells)
    if isinstance(definition, AblationDefinition):
        return RecordedAblation(tracker, parent, definition)
    return RecordedStudy(tracker, parent, definition, counted_trials(runs_under(tracker, parent.id, parent.experiment)))
