"""Links into MLflow's pages, one set per recorded name, and the saved views and descriptions that they open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from knobs.errors import BadInputError, StoreError
from knobs.pages.descriptions import note_tags_unless_edited
from knobs.pages.pages import Pages, pages_of
from knobs.pages.views import compare_link, deep_link, shared_link, shared_tag
from knobs.record.stores.locations import StoreLocations, without_password
from knobs.record.stores.mlflow_internals import MOST_VIEW_CHARACTERS, SHARED_VIEW, SHARED_VIEW_VERSIONS
from knobs.record.stores.mlflow_store import Tracker
from knobs.terminal.say import say

PORT = 5000
"""The port of `knobs ui`, unless another one is given."""


def pages_address(places: StoreLocations, port: int = PORT) -> str:
    """Return the address of MLflow's pages: a team's server, or the one that `knobs ui` starts."""
    uri = places.tracking_uri or ""
    return without_password(uri).rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"


def publish_pages(tracker: Tracker, name: str) -> None:
    """Write the saved views and descriptions of a name, as far as the store allows it."""
    with suppress(StoreError, BadInputError):
        ExperimentPage.read(tracker, name).publish()


def links(tracker: Tracker, name: str, port: int = PORT, *, pages: Pages | None = None) -> dict[str, str]:
    """Return the address of each view of a name, by title. Pass `pages` if they are read already."""
    return ExperimentPage.read(tracker, name, pages).links(pages_address(tracker.places, port))


def say_links(
    tracker: Tracker, name: str, port: int = PORT, *, run: str = "", most: int = 9, pages: Pages | None = None
) -> None:
    """Print the first `most` links of a name, and the link of one run."""
    found = dict(list(links(tracker, name, port, pages=pages).items())[:most])
    if run:
        base = f"{pages_address(tracker.places, port)}/#/experiments/{tracker.experiment(name)}/runs"
        found = {"this run": f"{base}/{run}?workflowType=machine_learning", **found}
    width = max(map(len, found))
    for title, link in found.items():
        say(f"    {title:<{width}}  {link}")


@dataclass
class ExperimentPage:
    """One MLflow experiment: its pages, and the tags that hold them."""

    tracker: Tracker
    name: str
    experiment: str
    pages: Pages
    tags: dict[str, str]
    """Tags of the experiment."""
    reads_views: bool
    """True if the version of MLflow's pages is known to read saved views."""

    @classmethod
    def read(cls, tracker: Tracker, name: str, pages: Pages | None = None) -> ExperimentPage:
        """Read the experiment, and its pages unless they are given."""
        experiment = tracker.experiment(name)
        reads_views = tracker.pages_version().startswith(SHARED_VIEW_VERSIONS)
        found = pages or pages_of(tracker, name, experiment)
        return cls(tracker, name, experiment, found, tracker.experiment_tags(experiment), reads_views)

    def links(self, base: str) -> dict[str, str]:
        """Return addresses by title. A view that the experiment does not hold, or pages cannot read, is a deep link."""
        found: dict[str, str] = {}
        for title, view in self.pages.views().items():
            make = shared_link if self.reads_views and SHARED_VIEW + view.key in self.tags else deep_link
            found[title] = make(base, self.experiment, view)
            if view.curves:
                found["curves"] = make(base, self.experiment, view, charts=True)
        if runs := self.pages.compared():
            found["compare"] = compare_link(base, self.experiment, runs)
        return found

    def publish(self) -> None:
        """Write the views and descriptions that changed, except those that somebody edited by hand."""
        self.pages.complete()
        if self.reads_views:
            for place, view in enumerate(reversed(self.pages.views().values())):  # the menu shows the latest first
                saved = shared_tag(view, place)
                self._tag({key: text for key, text in saved.items() if len(text) <= MOST_VIEW_CHARACTERS})
        links = {title: link.lstrip("/") for title, link in self.links("").items()}
        report = self.tracker.places.folder / "reports" / self.name / "report.html"
        note = self.pages.note(links, report if report.exists() else None)
        self._tag({**self.pages.headline_tags(), **note_tags_unless_edited(self.tags, note)})
        parent = self.pages.parent
        if parent is not None and (changed := note_tags_unless_edited(parent.tags, note)):
            self.tracker.tag(parent.id, changed)

    def _tag(self, tags: Mapping[str, str]) -> None:
        new = {key: value for key, value in tags.items() if self.tags.get(key) != value}
        self.tracker.tag_experiment(self.experiment, new)
        self.tags |= new
