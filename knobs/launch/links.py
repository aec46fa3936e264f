"""Links into MLflow's pages, one set for each recorded name, and the shared views and descriptions that they open."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from contextlib import suppress

from knobs.errors import BadInputError, StoreError
from knobs.launch import notes, views
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


def links(tracker: Tracker, name: str, port: int = PORT) -> dict[str, str]:
    """What there is to look at under a name, and the address of each; nothing is written.

    A view that the experiment does not carry as a tag (see `publish`) is a deep link.
    """
    experiment = tracker.experiment(name)
    parent = current(tracker, experiment)
    if parent is None:
        return {"runs": views.deep_link(address(tracker.places, port), experiment, views.of_parents(()))}
    rows = children(tracker, experiment, parent)
    known = tracker.pages_version().startswith(views.KNOWN_TO)
    shared = tracker.experiment_tags(experiment) if known else {}
    return _pages(address(tracker.places, port), experiment, parent, rows, shared)


def publish(tracker: Tracker, name: str) -> None:
    """Write shared views and descriptions; only what has changed, and nothing that a person has edited.

    Best effort: whatever the store says, links fall back to what they can do without.
    """
    with suppress(StoreError, BadInputError):
        experiment = tracker.experiment(name)
        parent = current(tracker, experiment)
        if parent is None:
            return
        rows = children(tracker, experiment, parent)
        there = tracker.experiment_tags(experiment)
        wanted: dict[str, str] = {}
        for age, view in enumerate(_views(parent, rows).values()):
            wanted |= views.shared(view, parent.start_ms - age)
        changed = {key: value for key, value in wanted.items() if there.get(key) != value}
        pages = _pages("", experiment, parent, rows, wanted)
        note = notes.of_study(parent, len(rows), {title: link.lstrip("/") for title, link in pages.items()})
        best = {key: text for key, text in notes.headline(parent, len(rows)).items() if there.get(key) != text}
        tracker.tag_experiment(experiment, {**changed, **best, **notes.unless_edited(there, note)})
        if tags := notes.unless_edited(parent.tags, note):
            tracker.tag(parent.id, tags)


def say_links(tracker: Tracker, name: str, port: int = PORT, *, run: str = "", most: int = 9) -> None:
    """Print a name's links, the first `most`, and that of one run."""
    found = dict(list(links(tracker, name, port).items())[:most])
    if run:
        base = f"{address(tracker.places, port)}/#/experiments/{tracker.experiment(name)}/runs"
        found = {"this run": f"{base}/{run}?workflowType=machine_learning", **found}
    width = max(map(len, found))
    for title, link in found.items():
        say(f"    {title:<{width}}  {link}")


def current(tracker: Tracker, experiment: str) -> Row | None:
    """The experiment's study that is not set aside."""
    found = tracker.search("tags.`knobs.kind` = 'study'", experiment)
    return next((row for row in found if "knobs.retired" not in row.tags and "metric" in row.params), None)


def children(tracker: Tracker, experiment: str, parent: Row) -> list[Row]:
    """The trials of a study."""
    return tracker.search(f"tags.`mlflow.parentRunId` = '{parent.id}'", experiment)


def _views(parent: Row, rows: Sequence[Row]) -> dict[str, View]:
    """The views of a recorded name by their titles in the terminal; another kind of parent brings others."""
    ordered = sorted(rows, key=lambda row: int(row.tags["knobs.trial"]))
    space = json.loads(parent.tags["knobs.identity"])["space"]
    trials = views.of_study(parent, ordered, searched(ordered) or list(space))
    return {"trials": trials, "runs": views.of_parents((trials.order_by,))}


def _pages(base: str, experiment: str, parent: Row, rows: Sequence[Row], shared: Container[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for title, view in _views(parent, rows).items():
        make = views.shared_link if views.TAG + view.key in shared else views.deep_link
        found[title] = make(base, experiment, view)
        if view.curves:
            found["curves"] = make(base, experiment, view, charts=True)
    if runs := views.best_and_baseline(parent, rows):
        found["compare"] = views.compare_link(base, experiment, runs)
    return found
