"""An ablation as the store holds it: its current cells with their seeds, means and verdicts, and what lies aside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from knobs import definition, stats
from knobs.data import BOUNDS
from knobs.errors import BadInputError
from knobs.recorded import ENDED, FINISHED, levels_of, metric_key
from knobs.tracking import Row, Tracker

VERDICTS = "verdicts.json"
"""The parent's artifact that holds what was decided of each claim."""

ASIDE = "knobs.aside"
"""Tag of a cell or a seed that no longer speaks for the ablation, so that a filter can leave it out."""

COUNTED = "seeds/in_mean"
"""Metric of a cell: how many seeds its means are over."""


@dataclass(frozen=True)
class RecordedCell:
    """A cell's run, and the seeds that speak for it."""

    row: Row
    seeds: Sequence[Row]

    @cached_property
    def levels(self) -> dict[str, str]:
        """Level by factor."""
        return levels_of(self.row)

    def values(self, metric: str) -> list[float]:
        """A metric of the seeds that finished."""
        key = metric_key(metric)
        return [row.metrics[key] for row in self.seeds if row.state in FINISHED and key in row.metrics]

    def mean(self, metric: str) -> tuple[float, float | None, float | None, bool] | None:
        """Mean, the ends of its 95% interval, and whether that is in doubt; no ends for one seed, None for none."""
        values = self.values(metric)
        if len(values) < 2:
            return (values[0], None, None, False) if values else None
        made = stats.mean_interval(values, bounds=BOUNDS.get(metric.rpartition("/")[2]))
        return float(made.value), float(made.low), float(made.high), bool(str(made.doubt))

    def summary(self, metrics: Sequence[str]) -> dict[str, float]:
        """The means over the seeds as metrics of the cell's own run; counted are the seeds of the first."""
        found = {COUNTED: float(len(self.values(metrics[0])))}
        for metric in metrics:
            value, low, high, _ = self.mean(metric) or (None, None, None, False)
            named = {f"mean/{metric}": value, f"low/{metric}": low, f"high/{metric}": high}
            found |= {name: number for name, number in named.items() if number is not None}
        return found


@dataclass
class RecordedAblation:
    """An ablation that is not set aside."""

    tracker: Tracker
    name: str
    parent: Row
    told: Mapping[str, Any]
    """The definition, as the launch wrote it; empty where it is gone."""
    cells: list[RecordedCell]
    others: list[Row] = field(default_factory=list)
    """Cells and seeds that lie aside."""

    @classmethod
    def read(cls, tracker: Tracker, name: str, parent: Row) -> RecordedAblation:
        """From the store."""
        rows = tracker.search("tags.`knobs.kind` = 'cell'", parent.experiment)
        told = _told(tracker, parent, name)
        newest = {row.tags["knobs.cell"]: row for row in reversed(rows) if "knobs.retired" not in row.tags}
        names = [cell["name"] for cell in told["cells"]] if told else list(newest)
        seeds = tracker.search("tags.`knobs.kind` = 'seed'", parent.experiment)
        cells = []
        for row in (newest[name] for name in names if name in newest):
            mine = [s for s in seeds if s.tags["mlflow.parentRunId"] == row.id and "knobs.superseded" not in s.tags]
            by_number = {int(seed.tags["knobs.seed"]): seed for seed in reversed(mine)}
            cells.append(RecordedCell(row, [by_number[number] for number in sorted(by_number)]))
        shown = {run.id for cell in cells for run in (cell.row, *cell.seeds)}
        return cls(tracker, name, parent, told, cells, [run for run in (*rows, *seeds) if run.id not in shown])

    @property
    def factors(self) -> list[str]:
        """Names of the factors, in the definition's order."""
        if self.told:
            return [factor["name"] for factor in self.told["factors"]]
        return list(self.cells[0].levels) if self.cells else []

    @property
    def metrics(self) -> list[str]:
        """What there are means of: what is reported first, then what the claims ask for."""
        shown = self.told.get("shown") or self.parent.params["metric"].replace("val/", "test/", 1)
        asked = [claim["metric"] for claim in self.told.get("claims", ()) if claim["metric"]]
        return list(dict.fromkeys([shown, *asked]))

    @property
    def tuned(self) -> list[str]:
        """The nuisance knobs of any cell."""
        return sorted({knob for cell in self.told.get("cells", ()) for knob in cell["space"]})

    @property
    def seeds(self) -> list[Row]:
        """Of all cells."""
        return [seed for cell in self.cells for seed in cell.seeds]

    @property
    def progress(self) -> str:
        """Cells and seeds so far: `8 of 8 cells, 80 of 80 seeds`; a cell is done once all of its seeds have ended."""
        ended = [sum(seed.state in ENDED for seed in cell.seeds) for cell in self.cells]
        wanted, cells = self.told.get("seeds", max(ended, default=0)), len(self.told.get("cells", self.cells))
        done = sum(0 < wanted <= count for count in ended)
        return f"{done} of {cells} cells, {sum(ended)} of {max(wanted * cells, sum(ended))} seeds"

    @cached_property
    def verdicts(self) -> list[dict[str, Any]]:
        """What was last decided of each claim; empty before that, or where the artifact is gone."""
        if "knobs.verdicts" not in self.parent.tags:
            return []
        try:
            text = self.tracker.artifact(self.parent.id, VERDICTS).read_text(encoding="utf-8")
        except (BadInputError, OSError):
            return []
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def settle(self) -> None:
        """Write what the pages need of this, where it has changed: the cells' means, and who lies aside."""
        for cell in self.cells:
            summary = cell.summary(self.metrics)
            if any(cell.row.metrics.get(name) != value for name, value in summary.items()):
                self.tracker.summary(cell.row.id, summary)
            for row in (cell.row, *cell.seeds):
                if ASIDE in row.tags:  # its level came back
                    self.tracker.untag(row.id, ASIDE)
        for row in self.others:
            if ASIDE not in row.tags:
                self.tracker.tag(row.id, {ASIDE: "true"})


def _told(tracker: Tracker, parent: Row, name: str) -> dict[str, Any]:
    try:
        text = tracker.artifact(parent.id, definition.FILE).read_text(encoding="utf-8")
        return definition.from_json(text, name)
    except (BadInputError, OSError):
        return {}
