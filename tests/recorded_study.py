"""One small study, run through the installed command once per session. Shared by tests."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from support import ROOT, Done, command

from knobs.record.queries import runs_of_kind, runs_under
from knobs.record.schema import Kind, Metric
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

SMALL = ("--training.max_steps", "140", "--training.val_every", "20")
STUDY = ("study", "mnist1d_mlp", "--trials", "8", "--pruner", "halving", *SMALL)


@dataclass
class Ran:
    """A finished study: its store, its output and its rows."""

    store: Path
    done: Done
    tracker: Tracker
    parent: Row
    trials: list[Row]


@functools.cache
def the_study(base: Path) -> Ran:
    """Run eight trials on two workers, some of them pruned, in a folder whose name has a space."""
    store = base / "two workers" / "m"
    store.parent.mkdir()
    done = command(*STUDY, "--devices", "cpu:2", store=store)
    assert done.code == 0, done
    tracker = Tracker(StoreLocations(ROOT, store))
    experiment = tracker.experiment("mnist1d_mlp")
    (parent,) = runs_of_kind(tracker, Kind.STUDY, experiment)
    trials = runs_under(tracker, parent.id, experiment)
    return Ran(store, done, tracker, parent, sorted(trials, key=lambda row: row.trial))


def curves(tracker: Tracker, row: Row) -> dict[str, list[tuple[int, float]]]:
    """Return every recorded value that the config determines to the bit."""
    return {name: tracker.curve(row.id, name) for name in row.metrics if not name.startswith(Metric.SYSTEM)}


def run_of(ran: Ran, done: Done) -> Row:
    """Return the run that a `knobs run` recorded."""
    assert done.code == 0, done
    found = re.search(r"run ([0-9a-f]{32})", done.out)
    assert found is not None
    return ran.tracker.get(found[1])
