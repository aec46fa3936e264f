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

AT_START = """
import os
from pathlib import Path

import pretend
from pretend_tensor import card

pretend.install()
MARK = Path(__file__).with_name("poisoned")


def poison_once(name):
    if card.counted.total() == 2000 and not MARK.exists():
        MARK.touch()
        card.poison = os.environ["KNOBS_POISON"]


if os.environ.get("FAKEGPU_VISIBLE_DEVICES") == os.environ.get("KNOBS_BREAKS"):
    card.before = poison_once
"""
"""Python runs a `sitecustomize.py` on its path in every process: in the driver, and in each worker."""

BROKEN = "error: uncorrectable ECC error encountered"
STUDY = ("study", "mnist1d_mlp", "--trials", "4", "--pruner", "none")
SMALL = ("--training.max_steps", "60", "--training.val_every", "20")


def on_devices(folder: Path, *arguments: str, **more: str) -> Done:
    """Run a command that sees two pretend devices."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(AT_START)
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    more |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "FAKEGPU_VISIBLE_DEVICES": "a,b"}
    done = command(*arguments, store=folder / "m", **more)
    assert done.code == 0, done
    return done


def trials(folder: Path) -> list[Row]:
    """Return the recorded trials of the study."""
    tracker = Tracker(StoreLocations(ROOT, folder / "m"))
    experiment = tracker.experiment("mnist1d_mlp")
    (parent,) = runs_of_kind(tracker, Kind.STUDY, experiment)
    return sorted(runs_under(tracker, parent.id, experiment), key=lambda row: row.trial)


def table(done: Done) -> str:
    """Return the table of the best trials."""
    return done.out.partition("the best 4 trials")[2].partition("best: ")[0]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the study on one device. Return its folder and its table."""
    folder = tmp_path_factory.mktemp("one")
    return folder, table(on_devices(folder, *STUDY, *SMALL, "--devices", "fakegpu:0"))


def test_two_devices_give_what_one_gives_and_a_broken_one_changes_nothing(
    one: tuple[Path, str], tmp_path: Path
) -> None:
    folder, expected = one
    assert expected.strip()
    two = on_devices(tmp_path, *STUDY, *SMALL, "--devices", "fakegpu", KNOBS_BREAKS="b", KNOBS_POISON=BROKEN)
    assert (tmp_path / "poisoned").exists()
    assert table(two) == expected
    assert "fakegpu:1" in two.out + two.err
    rows = list(zip(trials(folder), trials(tmp_path), strict=True))
    assert len(rows) == 4
    for row, other in rows:
        assert row.tags["knobs.state"] == other.tags["knobs.state"] == "finished"
        assert row.tags["knobs.device"] == other.tags["knobs.device"] == "fakegpu"
        for name in row.metrics:
            assert name.startswith("system/") or row.metrics[name] == other.metrics[name]


def test_a_run_that_poisons_its_process_ends_and_spares_the_others(tmp_path: Path) -> None:
    more = {"KNOBS_BREAKS": "a", "KNOBS_POISON": "error: device-side assert triggered"}
    on_devices(tmp_path, *STUDY, "--training.max_steps", "20", "--devices", "fakegpu:0", **more)
    states = [row.tags["knobs.state"] for row in trials(tmp_path)]
    assert sorted(states) == ["failed", "finished", "finished", "finished"]


def test_a_run_of_a_device_is_reproduced_on_another(one: tuple[Path, str]) -> None:
    folder, _ = one
    again = on_devices(folder, "reproduce", trials(folder)[2].id, "--devices", "fakegpu:1")
    assert "identical: all" in again.out, again


def test_doctor_trains_on_every_device_in_workers(tmp_path: Path) -> None:
    done = on_devices(tmp_path, "doctor")
    for index in (0, 1):
        assert f"ok   a small training twice on fakegpu:{index} " in done.out, done
