"""Links into MLflow's pages, one set for each recorded name, and the shared views and descriptions that they open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from knobs.errors import BadInputError, StoreError
from knobs.launch import notes, views
from knobs.launch.pages import Pages, pages_of
from knobs.launch.session import say
from knobs.places import Places, without_password
from knobs.tracking import Tracker

PORT = 5000
"""Where `knobs ui` serves unless it is told otherwise."""


def address(places: Places, port: int = PORT) -> str:
    """Where MLflow's pages are: a team's server, or what `knobs ui` starts."""
    uri = places.tracking_uri or ""
    return without_password(uri).rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"


def links(
    tracker: Tracker, name: str, port: int = PORT, *, publish: bool = False, known: Pages | None = None
) -> dict[str, str]:
    """What there is to look at under a name, and the address of each.

    `publish` writes shared views and descriptions first, as far as the store lets it. `known`: for those who have
    read the runs already; 500 trials take a second or two.
    """
    recorded = Recorded.read(tracker, name, known)
    if publish:
        with suppress(StoreError, BadInputError):
            recorded.publish()
    return recorded.links(address(tracker.places, port))


def say_links(
    tracker: Tracker,
    name: str,
    port: int = PORT,
    *,
    run: str = "",
    most: int = 9,
    publish: bool = False,
    known: Pages | None = None,
) -> None:
    """Print a name's links, the first `most`, and that of one run."""
    found = dict(list(links(tracker, name, port, publish=publish, known=known).items())[:most])
    if run:
        base = f"{address(tracker.places, port)}/#/experiments/{tracker.experiment(name)}/runs"
        found = {"this run": f"{base}/{run}?workflowType=machine_learning", **found}
    width = max(map(len, found))
    for title, link in found.items():
        say(f"    {title:<{width}}  {link}")


@dataclass
class Recorded:
    """What is recorded under a name, and how the experiment's tags say it to MLflow's pages."""

    tracker: Tracker
    name: str
    experiment: str
    pages: Pages
    tags: dict[str, str]
    """The experiment's."""
    readable: bool
    """Whether MLflow's pages are known to read shared views."""

    @classmethod
    def read(cls, tracker: Tracker, name: str, known: Pages | None = None) -> Recorded:
        """From the store, as far as it is not known."""
        experiment = tracker.experiment(name)
        readable = tracker.pages_version().startswith(views.KNOWN_TO)
        pages = known or pages_of(tracker, name, experiment)
        return cls(tracker, name, experiment, pages, tracker.experiment_tags(experiment), readable)

    def links(self, base: str) -> dict[str, str]:
        """Addresses by title; a view that the experiment does not carry, or that is not read, is a deep link."""
        found: dict[str, str] = {}
        for title, view in self.pages.views().items():
            make = views.shared_link if self.readable and views.TAG + view.key in self.tags else views.deep_link
            found[title] = make(base, self.experiment, view)
            if view.curves:
                found["curves"] = make(base, self.experiment, view, charts=True)
        if runs := self.pages.compared():
            found["compare"] = views.compare_link(base, self.experiment, runs)
        return found

    def publish(self) -> None:
        """Write views and descriptions: what has changed, and nothing that a person has edited."""
        self.pages.settle()
        if self.readable:
            for place, view in enumerate(reversed(self.pages.views().values())):  # the menu shows the latest first
                self._tag(views.shared(view, place))
        links = {title: link.lstrip("/") for title, link in self.links("").items()}
        report = self.tracker.places.folder / "reports" / self.name / "report.html"
        note = self.pages.note(links, report if report.exists() else None)
        self._tag({**self.pages.headline(), **notes.unless_edited(self.tags, note)})
        parent = self.pages.parent
        if parent is not None and (changed := notes.unless_edited(parent.tags, note)):
            self.tracker.tag(parent.id, changed)

    def _tag(self, tags: Mapping[str, str]) -> None:
        new = {key: value for key, value in tags.items() if self.tags.get(key) != value}
        self.tracker.tag_experiment(self.experiment, new)
        self.tags |= new
