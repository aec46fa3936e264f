"""`knobs status`: what is in the record."""

from __future__ import annotations

import csv
import sys

from rich.table import Table

from knobs.errors import BadInputError
from knobs.launch import ablation_tables
from knobs.launch.links import say_links
from knobs.launch.pages import OfStudy, Pages
from knobs.launch.recorded_ablation import RecordedAblation
from knobs.launch.session import how_to_call, say
from knobs.launch.tables import console, searched, short
from knobs.recorded import experiments, open_store, parent_of, trials_of
from knobs.tracking import Row, Tracker

SAME = {"reused": "finished"}
"""States that differ by how a value was come by, not in the value."""


MOST_RUNS = 100
"""Single runs that are listed, the newest."""


def show(name: str | None, *, as_csv: bool) -> None:
    """All that is recorded, one study's trials (as CSV: what is the same wherever it ran), or an ablation's cells."""
    tracker = open_store()
    if name is None:
        if as_csv:
            raise BadInputError("--csv needs the name of a study")
        _overview(tracker)
        return
    parent, _ = parent_of(tracker, name, ("study", "ablation"))
    known: Pages | None = None
    if parent.tags["knobs.kind"] == "ablation":
        if as_csv:
            raise BadInputError(f"--csv is for studies; knobs report {name} writes the ablation's table.csv")
        ablation = RecordedAblation.read(tracker, name, parent)
        say(f"{name}: {ablation.progress}, {parent.state}")
        ablation_tables.show(ablation)
    else:
        _, rows = trials_of(tracker, name)
        if as_csv:
            _csv(parent, rows)
            return
        _table(name, parent, rows)
        known = OfStudy(tracker, parent, rows)
    say(f"{how_to_call('knobs')} ui, then")
    say_links(tracker, name, known=known)


def _csv(parent: Row, rows: list[Row]) -> None:
    metric = parent.params["metric"]
    knobs = list(dict.fromkeys(knob for row in rows for knob in row.params))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["trial", "state", metric, "steps", *knobs])
    for row in rows:
        value = row.metrics.get(f"best/{metric}")
        steps = row.metrics.get("best/step")
        shown = ["" if value is None else repr(value), "" if steps is None else int(steps)]
        cells = [row.params.get(knob, "") for knob in knobs]
        out.writerow([row.tags["knobs.trial"], SAME.get(row.state, row.state), *shown, *cells])


def _table(name: str, parent: Row, rows: list[Row]) -> None:
    metric = parent.params["metric"]
    knobs = searched(rows)
    table = Table(title=f"{name}: {len(rows)} trials, {parent.state}", title_justify="left", box=None, pad_edge=False)
    for title in ("trial", "state", metric, *knobs):
        table.add_column(title.replace(".", ".\n"), justify="left" if title in ("trial", "state") else "right")
    sign = -1 if parent.params["direction"] == "maximize" else 1
    missing = float("inf")
    for row in sorted(rows, key=lambda row: sign * row.metrics.get(f"best/{metric}", sign * missing)):
        value = row.metrics.get(f"best/{metric}")
        shown = f"{value:.4f}" if value is not None else "-"
        label = f"t{int(row.tags['knobs.trial']):03d}" + (" *" if row.tags.get("knobs.winner") == "true" else "")
        table.add_row(label, row.state, shown, *(short(row.params.get(knob, "-")) for knob in knobs))
    console().print(table)


def _overview(tracker: Tracker) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("name", "kind", "state", "done", "best", "trial or run"):
        table.add_column(title, justify="right" if title in ("done", "best") else "left")
    names = {number: name for name, number in experiments(tracker).items()}
    rows = tracker.search("tags.`knobs.kind` = 'study'") + tracker.search("tags.`knobs.kind` = 'ablation'")
    rows = [row for row in rows if "knobs.retired" not in row.tags]  # one search for all: each costs as much as many
    rows += tracker.search("tags.`knobs.kind` = 'run'", limit=MOST_RUNS)
    for number, name in names.items():
        for row in (row for row in rows if row.experiment == number):
            table.add_row(name, row.tags["knobs.kind"], row.state, *_line(row))
    console().print(table)


def _line(row: Row) -> tuple[str, str, str]:
    """How much is done, what came of it, and where to look."""
    if row.tags["knobs.kind"] == "study":
        metric = row.params.get("metric", "")
        best = row.metrics.get(f"best/{metric}")
        shown = "-" if best is None else f"{metric} {best:.4f}"
        return str(int(row.metrics.get("trials/done", 0))), shown, row.tags.get("knobs.best_trial", "")
    if row.tags["knobs.kind"] == "ablation":
        return str(int(row.metrics.get("runs/done", 0))), row.tags.get("knobs.verdicts", "-"), ""
    values = [f"{k} {v:.4f}" for k, v in row.metrics.items() if k.startswith("best/val/") and "loss" not in k]
    return "", "".join(values[:1]).removeprefix("best/"), row.id
