"""The pages of a study, of an ablation, and of single runs: one class each, with the same methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from knobs.discover import launch_docstring
from knobs.pages.ablation_views import cells_view, others_view, seeds_view
from knobs.pages.cell_means import write_cell_means
from knobs.pages.notes import ablation_note, best_so_far, standing, study_note
from knobs.pages.study_views import best_and_baseline, replicates_view, runs_view, trials_view
from knobs.pages.views import View
from knobs.record.queries import current, runs_of_kind
from knobs.record.reader import recorded_under
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Kind, Tag
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row


class Pages(Protocol):
    """What MLflow's pages show under one name."""

    @property
    def parent(self) -> Row | None:
        """The run of the study or ablation."""

    def views(self) -> dict[str, View]:
        """Return the views by their titles in the terminal, the most important first."""

    def compared(self) -> Sequence[str]:
        """Return the ids of runs to compare side by side."""

    def headline_tags(self) -> dict[str, str]:
        """Return tags of the MLflow experiment: its page of experiments then reads as a list of results."""

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """Return the description, in Markdown."""

    def complete(self) -> None:
        """Write what the views show and the driver did not write."""


class SingleRunPages:
    """Single runs only."""

    parent = None

    def __init__(self, name: str) -> None:
        self.name = name

    def views(self) -> dict[str, View]:
        """Return one view of all runs."""
        return {"runs": runs_view(())}

    def compared(self) -> Sequence[str]:
        """Return no runs."""
        return ()

    def headline_tags(self) -> dict[str, str]:
        """Return no tags."""
        return {}

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """Return the docstring of the file whose baseline was trained."""
        del links, report
        return launch_docstring(self.name)

    def complete(self) -> None:
        """Do nothing."""


class StudyPages:
    """A study and its trials."""

    def __init__(self, study: RecordedStudy) -> None:
        self.study, self.parent = study, study.parent

    def views(self) -> dict[str, View]:
        """Return the views of the trials, and of studies and single runs."""
        trials = trials_view(self.study)
        below = {"replicates": replicates_view(self.study)} if self.study.replicates else {}
        return {"trials": trials, **below, "runs": runs_view((trials.order_by,))}

    def compared(self) -> Sequence[str]:
        """Return the five best trials and the baseline."""
        return best_and_baseline(self.study)

    def headline_tags(self) -> dict[str, str]:
        """Return a tag with the best value so far."""
        return {Tag.BEST: best} if (best := best_so_far(self.study)) else {}

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """Return question, best value so far, links and command."""
        return study_note(self.study, links, report)

    def complete(self) -> None:
        """Do nothing."""


class AblationPages:
    """An ablation, its cells and their seeds."""

    def __init__(self, ablation: RecordedAblation) -> None:
        self.ablation, self.parent = ablation, ablation.parent

    def views(self) -> dict[str, View]:
        """Return the views of the cells, of the seeds, and of the rest."""
        return {
            "cells": cells_view(self.ablation),
            "seeds": seeds_view(self.ablation),
            "runs": others_view(self.ablation),
        }

    def compared(self) -> Sequence[str]:
        """Return no runs: the cells are few, and side by side already."""
        return ()

    def headline_tags(self) -> dict[str, str]:
        """Return a tag with verdicts and progress."""
        return {Tag.VERDICTS: standing(self.ablation)}

    def note(self, links: Mapping[str, str], report: Path | None) -> str:
        """Return question, claim, verdicts so far, links and command."""
        return ablation_note(self.ablation, links, report)

    def complete(self) -> None:
        """Write the cells' means, and mark cells and seeds that do not count."""
        write_cell_means(self.ablation)


def pages_of_recorded(recorded: RecordedStudy | RecordedAblation) -> Pages:
    """Return the pages of a recorded study or ablation."""
    return StudyPages(recorded) if isinstance(recorded, RecordedStudy) else AblationPages(recorded)


def pages_of(tracker: Tracker, name: str, experiment: str) -> Pages:
    """Return the pages of the current study or ablation of this name, or of single runs if there is neither."""
    for kind in (Kind.STUDY, Kind.ABLATION):
        for row in current(runs_of_kind(tracker, kind, experiment)):
            if "metric" in row.params:  # a driver killed at its start has not written them yet
                return pages_of_recorded(recorded_under(tracker, name, row))
    return SingleRunPages(name)
