"""`knobs clean --larger-than`: large checkpoints of ended trials go, and nothing that anybody needs."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import reading
from support import Done, quick

from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

pytestmark = pytest.mark.slow

SMALL, LARGE = 1_000, 120_000
"""Bytes."""

RUNS: dict[str, tuple[dict[str, str], int]] = {
    "small": ({"knobs.kind": "trial"}, SMALL),
    "large": ({"knobs.kind": "trial"}, LARGE),
    "former winner": ({"knobs.kind": "trial", "knobs.winner": "false"}, LARGE),
    "trained": ({"knobs.kind": "trial"}, LARGE),
    "winner": ({"knobs.kind": "trial", "knobs.winner": "true"}, LARGE),
    "another winner": ({"knobs.kind": "trial", "knobs.winner": "true", "knobs.reused_from": "trained"}, 0),
    "single run": ({"knobs.kind": "run"}, LARGE),
}
"""Tags and the checkpoint's size, 0 for none: one winner reused the values, and so the checkpoint, of `trained`."""

GOES = {"large", "former winner"}


@dataclass(frozen=True)
class Project:
    """A folder with a record."""

    folder: Path
    checkpoints: dict[str, Path]
    """By the name of the run."""

    def clean(self, *arguments: str) -> Done:
        """`knobs clean`, which must succeed."""
        done = quick("clean", *arguments, store=self.folder / "mlruns", cwd=self.folder)
        assert (done.code, done.err) == (0, ""), done
        return done

    def left(self) -> set[str]:
        """Runs whose checkpoint is there, whole."""
        return {n for n, path in self.checkpoints.items() if path.exists() and path.stat().st_size == RUNS[n][1]}

    def record(self) -> list[reading.Run]:
        """What must never change."""
        return reading.runs(self.folder / "mlruns")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "studies").mkdir()
    tracker = Tracker(StoreLocations(folder, folder / "mlruns"))
    ids: dict[str, str] = {}
    for name, (tags, size) in RUNS.items():
        reused = {"knobs.reused_from": ids[tags["knobs.reused_from"]]} if "knobs.reused_from" in tags else {}
        ids[name] = tracker.create(tracker.experiment("e"), name, {**tags, **reused}, {"model.width": 1})
        if size:
            (folder / "best.ckpt").write_bytes(bytes(size))
            tracker.upload(ids[name], folder / "best.ckpt", "checkpoints")
        tracker.end(ids[name], "FINISHED", {"knobs.state": "finished"})
    (folder / "best.ckpt").unlink()
    held = {name: run for name, run in ids.items() if RUNS[name][1]}
    return Project(folder, {name: tracker.artifact(run, "checkpoints/best.ckpt") for name, run in held.items()})


def test_large_checkpoints_of_ended_trials_go_and_no_others(project: Project) -> None:
    before = project.record()
    assert project.left() == set(project.checkpoints)
    would = project.clean("--larger-than", "50K", "--dry-run")
    assert "would free 0.2 MB" in would.out
    for name, path in project.checkpoints.items():
        assert (str(path) in would.out) == (name in GOES)
    for arguments in (("--larger-than", "1M"), ("--larger-than", "50K", "--older-than", "1d"), ()):
        assert "freed 0.0 MB" in project.clean(*arguments).out
    assert project.left() == set(project.checkpoints)
    assert "freed 0.2 MB" in project.clean("--larger-than", "50K").out
    assert project.left() == set(project.checkpoints) - GOES
    assert "freed 0.0 MB" in project.clean("--larger-than", "50K").out
    assert project.record() == before
