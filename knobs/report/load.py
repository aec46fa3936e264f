"""Reading what a report is made of from the tracking store, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from knobs import definition, histories
from knobs.errors import BadInputError
from knobs.recorded import parent_of
from knobs.report.record import AblationRecord, CellRecord, Line, Ran, StudyRecord
from knobs.report.space import Knob, knob_of
from knobs.tracking import Row, Tracker

REUSED = "knobs.reused_from"
MOST_IDS = 100
"""In one question to the store."""


def load(tracker: Tracker, name: str) -> AblationRecord | StudyRecord:
    """The ablation or the study of this name. Raises `BadInputError` for an unknown one, or another version's."""
    parent, where = parent_of(tracker, name, ("ablation", "study"))
    told = _definition(tracker, parent, name)
    readers = tracker.search("tags.`knobs.test_read` = 'true'", where)
    if told["kind"] == "ablation":
        cells = _cells(tracker, where, told)
        lines = _references(tracker, where, told)
        packages, machines = _facts(tracker, [run for cell in cells for run in cell.runs])
        decided = _decided(tracker, parent)
        return AblationRecord(name, told, parent, readers, packages, machines, cells, lines, decided)
    rows = tracker.search(f"tags.`mlflow.parentRunId` = '{parent.id}' and tags.`knobs.kind` = 'trial'", where)
    ran = _reader(tracker, rows)
    trials = [ran(f"t{int(row.tags['knobs.trial']):03d}", row) for row in _by(rows, "knobs.trial")]
    packages, machines = _facts(tracker, trials)
    return StudyRecord(name, told, parent, readers, packages, machines, trials, _space(told["space"], trials))


def _definition(tracker: Tracker, parent: Row, name: str) -> dict[str, Any]:
    command = {"ablation": "ablate", "study": "study"}[parent.tags["knobs.kind"]]
    try:
        text = tracker.artifact(parent.id, definition.FILE).read_text(encoding="utf-8")
    except (BadInputError, OSError):
        raise BadInputError(
            f"{name} was recorded without its definition: by an older knobs, or its files were moved\n"
            f"`knobs {command} {name}` writes it again; what has ended is not trained again"
        ) from None
    return definition.from_json(text, name)


def _decided(tracker: Tracker, parent: Row) -> list[str]:
    if "knobs.verdicts" not in parent.tags:
        return []
    try:
        entries = json.loads(tracker.artifact(parent.id, "verdicts.json").read_text(encoding="utf-8"))
    except (BadInputError, OSError):
        return []
    return [str(entry["verdict"]) for entry in entries]


def _reader(tracker: Tracker, rows: Sequence[Row]) -> Callable[[str, Row], Ran]:
    """What makes a `Ran` of a key and one of these rows: their histories, and whom the reused ones have them from."""
    past = histories.read(tracker, rows)
    known = {row.id: row for row in rows}
    wanted = sorted({row.tags[REUSED] for row in rows if REUSED in row.tags} - known.keys())
    for start in range(0, len(wanted), MOST_IDS):
        ids = ", ".join(f"'{run}'" for run in wanted[start : start + MOST_IDS])
        known |= {row.id: row for row in tracker.search(f"attributes.run_id IN ({ids})")}
    return lambda key, row: Ran(key, row, past[row.id], known.get(row.tags.get(REUSED, "")))


def _facts(tracker: Tracker, runs: Sequence[Ran]) -> list[dict[str, dict[str, str]]]:
    """Packages and machines by the hashes that runs carry, each read from one run that has it."""
    rows = [run.trained or run.row for run in runs]
    found: list[dict[str, dict[str, str]]] = []
    for name in ("packages", "machine"):
        holders = {row.tags[f"knobs.{name}"]: row for row in rows if f"knobs.{name}" in row.tags}
        found.append({})
        for key, row in sorted(holders.items()):
            with suppress(BadInputError, OSError):
                found[-1][key] = json.loads(tracker.artifact(row.id, f"{name}.json").read_text(encoding="utf-8"))
    return found


def _cells(tracker: Tracker, where: str, told: Mapping[str, Any]) -> list[CellRecord]:
    rows = tracker.search("tags.`knobs.kind` = 'cell'", where)
    current = {row.tags["knobs.cell"]: row for row in reversed(rows) if "knobs.retired" not in row.tags}
    found: list[tuple[Mapping[str, Any], list[Row], list[Row]]] = []
    for entry in told["cells"]:
        cell = current.get(entry["name"])
        under = tracker.search(f"tags.`mlflow.parentRunId` = '{cell.id}'", where) if cell else []
        seeds = [r for r in under if r.tags.get("knobs.kind") == "seed" and "knobs.superseded" not in r.tags]
        trials = [r for r in under if r.tags.get("knobs.kind") == "trial"]
        within = [r for r in _by(trials, "knobs.trial") if int(r.tags["knobs.trial"]) < told["trials"]]
        found.append((entry, within, _by(seeds, "knobs.seed")))
    ran = _reader(tracker, [row for _, trials, seeds in found for row in (*trials, *seeds)])
    cells = []
    for entry, trials, seeds in found:
        name = entry["name"]
        tried = [ran(f"{name}/t{int(row.tags['knobs.trial']):03d}", row) for row in trials]
        fresh = [ran(f"{name}/s{row.tags['knobs.seed']}", row) for row in seeds]
        space, sample = _space(entry["space"], tried), _sample(tracker, fresh)
        cells.append(CellRecord(name, entry["levels"], tried, fresh, space, sample))
    return cells


def _sample(tracker: Tracker, seeds: Sequence[Ran]) -> str:
    for seed in seeds:
        if seed.finished and seed.tag("sample"):
            with suppress(BadInputError, OSError):
                return tracker.artifact(seed.row.id, "sample.txt").read_text(encoding="utf-8")
    return ""


def _references(tracker: Tracker, where: str, told: Mapping[str, Any]) -> list[Line]:
    rows = tracker.search("tags.`knobs.kind` = 'reference'", where)
    newest = {(row.tags["knobs.reference"], metric): row for row in reversed(rows) for metric in row.metrics}
    return [
        Line(entry["name"], entry["metric"], row.metrics[entry["metric"]], entry["source"], row)
        for entry in told["references"]
        if (row := newest.get((entry["name"], entry["metric"]))) is not None
    ]


def _space(told: Mapping[str, Any], trials: Sequence[Ran]) -> dict[str, Knob]:
    """Every knob that was asked for in any trial; conditional ones are known from trials only."""
    found = {name: knob_of(name, entry) for name, entry in told.items()}
    for trial in trials:
        found = {**trial.asked[1], **found}
    return dict(sorted(found.items()))


def _by(rows: Sequence[Row], tag: str) -> list[Row]:
    """In order of a number; one row each, the newest."""
    newest = {int(row.tags[tag]): row for row in reversed(rows)}
    return [newest[number] for number in sorted(newest)]
