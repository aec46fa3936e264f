"""Shared by tests: one small study through the installed command, run once a session."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from support import ROOT, Done, command

from knobs.places import Places
from knobs.tracking import Row, Tracker

SMALL = ("--training.max_steps", "140", "--training.val_every", "20")
STUDY = ("study", "mnist1d_mlp", "--trials", "8", "--pruner", "halving", *SMALL)


@dataclass
class Ran:
    """A study that has ended, its store and what it printed."""

    store: Path
    done: Done
    tracker: Tracker
    parent: Row
    trials: list[Row]


@functools.cache
def the_study(base: Path) -> Ran:
    """Eight trials on two workers, some of them pruned, in a folder whose name has a space."""
    store = base / "two workers" / "m"
    store.parent.mkdir()
    done = command(*STUDY, "--devices", "cpu:2", store=store)
    assert done.code == 0, done
    tracker = Tracker(Places(ROOT, store))
    experiment = tracker.experiment("mnist1d_mlp")
    (parent,) = tracker.search("tags.`knobs.kind` = 'study'", experiment)
    trials = tracker.search(f"tags.`mlflow.parentRunId` = '{parent.id}'", experiment)
    return Ran(store, done, tracker, parent, sorted(trials, key=lambda row: int(row.tags["knobs.trial"])))


def curves(tracker: Tracker, row: Row) -> dict[str, list[tuple[int, float]]]:
    """All that is recorded of a run and is a matter of its config, to the bit."""
    return {name: tracker.curve(row.id, name) for name in row.metrics if not name.startswith("system/")}


def run_of(ran: Ran, done: Done) -> Row:
    """The run that a `knobs run` made."""
    assert done.code == 0, done
    found = re.search(r"run ([0-9a-f]{32})", done.out)
    assert found is not None
    return ran.tracker.get(found[1])
