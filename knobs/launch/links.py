"""Links into MLflow's pages, one set for each recorded name, and the shared views and descriptions that they open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from knobs.errors import BadInputError, StoreError
from knobs.launch import notes, study_views, views
from knobs.launch.session import say
from knobs.launch.tables import searched
from knobs.launch.views import View
from knobs.places import Places, without_password
from knobs.tracking import Row, Tracker

PORT = 5000
"""Where `knobs ui` serves unless it is told otherwise."""


def address(places: Places, port: int = PORT) -> str:
    """Where MLflow's pages are: a team's server, or what `knobs ui` starts."""
    uri = places.tracking_uri or ""
    return without_password(uri).rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"


def links(tracker: Tracker, name: str, port: int = PORT, *, publish: bool = False) -> dict[str, str]:
    """What there is to look at under a name, and the address of each.

    `publish` writes shared views and descriptions first, as far as the store lets it.
    """
    recorded = Recorded.read(tracker, name)
    if publish:
        with suppress(StoreError, BadInputError):
            recorded.publish()
    return recorded.links(address(tracker.places, port))


def say_links(
    tracker: Tracker, name: str, port: int = PORT, *, run: str = "", most: int = 9, publish: bool = False
) -> None:
    """Print a name's links, the first `most`, and that of one run."""
    found = dict(list(links(tracker, name, port, publish=publish).items())[:most])
    if run:
        base = f"{address(tracker.places, port)}/#/experiments/{tracker.experiment(name)}/runs"
        found = {"this run": f"{base}/{run}?workflowType=machine_learning", **found}
    width = max(map(len, found))
    for title, link in found.items():
        say(f"    {title:<{width}}  {link}")


@dataclass
class Recorded:
    """What is recorded under a name: a study that is not set aside and its trials, or single runs only."""

    tracker: Tracker
    name: str
    experiment: str
    parent: Row | None
    rows: list[Row]
    tags: dict[str, str]
    """The experiment's."""
    readable: bool
    """Whether MLflow's pages are known to read shared views."""

    @classmethod
    def read(cls, tracker: Tracker, name: str) -> Recorded:
        """From the store."""
        experiment = tracker.experiment(name)
        found = tracker.search("tags.`knobs.kind` = 'study'", experiment)
        current = [row for row in found if "knobs.retired" not in row.tags and "metric" in row.params]
        rows: list[Row] = []
        if current:
            rows = tracker.search(f"tags.`mlflow.parentRunId` = '{current[0].id}'", experiment)
            rows.sort(key=lambda row: int(row.tags["knobs.trial"]))
        tags = tracker.experiment_tags(experiment)
        readable = tracker.pages_version().startswith(views.KNOWN_TO)
        return cls(tracker, name, experiment, current[0] if current else None, rows, tags, readable)

    def views(self) -> dict[str, View]:
        """The views by their titles in the terminal; another kind of parent brings others."""
        if self.parent is None:
            return {"runs": study_views.runs(())}
        space = json.loads(self.parent.tags["knobs.identity"])["space"]
        trials = study_views.trials(self.parent, self.rows, searched(self.rows) or list(space))
        return {"trials": trials, "runs": study_views.runs((trials.order_by,))}

    def links(self, base: str) -> dict[str, str]:
        """Addresses by title; a view that the experiment does not carry, or that is not read, is a deep link."""
        found: dict[str, str] = {}
        for title, view in self.views().items():
            make = views.shared_link if self.readable and views.TAG + view.key in self.tags else views.deep_link
            found[title] = make(base, self.experiment, view)
            if view.curves:
                found["curves"] = make(base, self.experiment, view, charts=True)
        if self.parent and (runs := study_views.best_and_baseline(self.parent, self.rows)):
            found["compare"] = views.compare_link(base, self.experiment, runs)
        return found

    def publish(self) -> None:
        """Write views and descriptions: what has changed, and nothing that a person has edited."""
        if self.readable:
            for place, view in enumerate(reversed(self.views().values())):  # the menu shows the latest first
                self._tag(views.shared(view, place))
        if self.parent is None:
            self._tag(notes.unless_edited(self.tags, notes.question(self.name)))
            return
        pages = {title: link.lstrip("/") for title, link in self.links("").items()}
        report = self.tracker.places.folder / "reports" / self.name / "report.html"
        note = notes.of_study(self.parent, len(self.rows), pages, report if report.exists() else None)
        self._tag({**notes.headline(self.parent, len(self.rows)), **notes.unless_edited(self.tags, note)})
        if changed := notes.unless_edited(self.parent.tags, note):
            self.tracker.tag(self.parent.id, changed)

    def _tag(self, tags: Mapping[str, str]) -> None:
        new = {key: value for key, value in tags.items() if self.tags.get(key) != value}
        self.tracker.tag_experiment(self.experiment, new)
        self.tags |= new
