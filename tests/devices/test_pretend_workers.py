"""A whole study on pretend devices, through real worker processes: each registers the kind when it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import ROOT, Done, command

from knobs.record.queries import runs_of_kind, runs_under
from knobs.record.schema import Kind
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pretend workers")]

AT_START = "import pretend\n\npretend.install()\n"
"""Python runs a `sitecustomize.py` on its path in every process: in the driver, and in each worker."""

STUDY = ("study", "mnist1d_mlp", "--trials", "4", "--pruner", "none")
SMALL = ("--training.max_steps", "60", "--training.val_every", "20")


def launch(devices: str, folder: Path) -> tuple[Done, list[Row]]:
    """Run a small study on these devices. Return its output and its trials."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(AT_START)
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    more = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "FAKEGPU_VISIBLE_DEVICES": "a,b"}
    done = command(*STUDY, *SMALL, "--devices", devices, store=folder / "m", **more)
    assert done.code == 0, done
    tracker = Tracker(StoreLocations(ROOT, folder / "m"))
    experiment = tracker.experiment("mnist1d_mlp")
    (parent,) = runs_of_kind(tracker, Kind.STUDY, experiment)
    return done, sorted(runs_under(tracker, parent.id, experiment), key=lambda row: row.trial)


def table(done: Done) -> str:
    """Return the table of the best trials."""
    return done.out.partition("the best 4 trials")[2].partition("best: ")[0]


def test_a_study_on_two_devices_gives_what_one_gives(tmp_path: Path) -> None:
    (one, trials), (two, others) = launch("fakegpu:0", tmp_path / "one"), launch("fakegpu", tmp_path / "two")
    assert table(one).strip()
    assert table(one) == table(two)
    for row, other in zip(trials, others, strict=True):
        assert row.tags["knobs.device"] == other.tags["knobs.device"] == "fakegpu"
        for name in row.metrics:
            assert name.startswith("system/") or row.metrics[name] == other.metrics[name]
