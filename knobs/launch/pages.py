"""What there is to look at of a study, of an ablation, and of single runs: one class each, the same four questions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from knobs.launch import ablation_views, notes, study_views
from knobs.launch.recorded_ablation import RecordedAblation
from knobs.launch.tables import searched
from knobs.launch.views import View
from knobs.tracking import Row, Tracker


class Pages(Protocol):
    """Of one name."""

    @property
    def parent(self) -> Row | None:
        """The run above all others."""

    def views(self) -> dict[str, View]:
        """By their titles in the terminal, what to look at first first."""

    def compared(self) -> Sequence[str]:
        """Runs to put side by side."""

    def headline(self) -> dict[str, str]:
        """Tags of the experiment, so that MLflow's page of experiments reads as a list of results."""

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """The description, in Markdown."""

    def settle(self) -> None:
        """Write to the runs what the views show and nobody has written yet."""


class Single:
    """Single runs only."""

    parent = None

    def __init__(self, name: str) -> None:
        self.name = name

    def views(self) -> dict[str, View]:
        """All of them."""
        return {"runs": study_views.runs(())}

    def compared(self) -> Sequence[str]:
        """None."""
        return ()

    def headline(self) -> dict[str, str]:
        """None."""
        return {}

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """What their file asks."""
        del links, report
        return notes.question(self.name)

    def settle(self) -> None:
        """Nothing."""


class OfStudy:
    """A study that is not set aside, and its trials."""

    def __init__(self, tracker: Tracker, parent: Row, rows: Sequence[Row] | None = None) -> None:
        self.parent = parent
        if rows is None:
            rows = tracker.search(f"tags.`mlflow.parentRunId` = '{parent.id}'", parent.experiment)
        self.rows = sorted(rows, key=lambda row: int(row.tags["knobs.trial"]))

    def views(self) -> dict[str, View]:
        """Trials; studies and single runs."""
        space = json.loads(self.parent.tags["knobs.identity"])["space"]
        trials = study_views.trials(self.parent, self.rows, searched(self.rows) or list(space))
        return {"trials": trials, "runs": study_views.runs((trials.order_by,))}

    def compared(self) -> Sequence[str]:
        """The five best and the baseline."""
        return study_views.best_and_baseline(self.parent, self.rows)

    def headline(self) -> dict[str, str]:
        """The best so far."""
        return notes.headline(self.parent, len(self.rows))

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """Question, best so far, where to look, command."""
        return notes.of_study(self.parent, len(self.rows), links, report)

    def settle(self) -> None:
        """Nothing: the driver has."""


class OfAblation:
    """An ablation that is not set aside, its cells and their seeds."""

    def __init__(self, tracker: Tracker, name: str, parent: Row) -> None:
        self.parent, self.ablation = parent, RecordedAblation.read(tracker, name, parent)

    def views(self) -> dict[str, View]:
        """Cells; seeds, and their curves; the rest."""
        return {
            "cells": ablation_views.cells(self.ablation),
            "seeds": ablation_views.seeds(self.ablation),
            "runs": ablation_views.others(self.ablation),
        }

    def compared(self) -> Sequence[str]:
        """None: the cells are few, and side by side already."""
        return ()

    def headline(self) -> dict[str, str]:
        """Verdicts and progress."""
        return {"knobs.verdicts": notes.standing(self.parent, self.ablation.progress)}

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """Question, claim, verdicts so far, where to look, command."""
        told, verdicts = self.ablation.told, self.ablation.verdicts
        return notes.of_ablation(self.parent, self.ablation.progress, told, verdicts, links, report)

    def settle(self) -> None:
        """The cells' means, and who lies aside."""
        self.ablation.settle()


def pages_of(tracker: Tracker, name: str, experiment: str) -> Pages:
    """What is recorded under a name: a study or an ablation that is not set aside, or single runs only."""
    for kind in ("study", "ablation"):
        for row in tracker.search(f"tags.`knobs.kind` = '{kind}'", experiment):
            if "knobs.retired" not in row.tags and "metric" in row.params:
                return OfStudy(tracker, row) if kind == "study" else OfAblation(tracker, name, row)
    return Single(name)
