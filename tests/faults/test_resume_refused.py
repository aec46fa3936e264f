"""A run that was interrupted goes on under the code and on the data that it began with, or not at all."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import Done, quick

from faults import reading
from faults.audit import audit_quiet
from faults.fixtures import ended, trains
from faults.processes import fork, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

MODEL = '''"""A linear map, as slow as `KNOBS_SLOW` says."""

import os
import time

import torch
from knobs import DataSpec, ModelConfig, part

SCALE = 1.0


@part
class Mine(ModelConfig):
    """Scaled, then an affine map."""

    bump: int = 0

    def build(self, spec: DataSpec) -> torch.nn.Module:
        return torch.nn.Sequential(Wait(), torch.nn.Linear(spec.features, spec.outputs))


class Wait(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(float(os.environ.get("KNOBS_SLOW", "0")))
        return SCALE * x
'''
TABLE = '''"""Rows of a file."""

from pathlib import Path

import numpy as np
from knobs import DataConfig, DataSpec, Split, Splits, part


@part
class Table(DataConfig):
    """A column to be learned from another."""

    batch_size: int = 8

    def spec(self) -> DataSpec:
        return DataSpec(task="regression", layout="vector", shape=(1,), outputs=1, metric="r2")

    def load(self) -> Splits:
        rows = np.loadtxt(Path(__file__).parent / "table.csv", delimiter=",", dtype=np.float32)
        split = Split(rows[:, :1], rows[:, 1:])
        return Splits(train=split, val=split, test=split)
'''
STUDY = '''"""Bumps that change nothing."""

from datamodules.table import Table
from knobs import RunConfig, Study, Training
from models.mine import Mine
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=Mine(), data=Table(), optimizer=SGD(lr=0.01), schedule=Constant(),
    training=Training(max_steps=300, val_every=20),
)


def space(trial, baseline):
    return baseline.with_knobs({"model.bump": trial.suggest_int("model.bump", 0, 9)})


study = Study(
    baseline=BASELINE, space=space, metric="val/r2", direction="maximize", trials=2, sampler="random", pruner="none",
)
'''  # fmt: skip
ROWS = "".join(f"{x / 10},{x / 5 + 1}\n" for x in range(-20, 20))

EDITS = {
    "code": ("models/mine.py", "SCALE = 1.0", "SCALE = -3.0"),
    "code of the data set": ("datamodules/table.py", "rows[:, 1:])", "2 * rows[:, 1:])"),
    "data": ("datamodules/table.csv", "-2.0,-3.0", "-2.0,-30.0"),
}
"""What was interrupted, and what of it was changed before it is launched again."""


@dataclass(frozen=True)
class Launched:
    """A command in a project of its own."""

    name: str
    project: Path
    store: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command, on one worker."""
        return self.name, "mine", "--devices", "cpu:1"

    def interrupt(self) -> None:
        """Launch it, and end it once there is a checkpoint."""
        first = fork(*self.arguments, project=self.project, store=self.store, KNOBS_SLOW="0.01")
        until(lambda: trains(first) or not first.alive, what="a checkpoint")
        os.kill(first.process.pid, signal.SIGTERM)
        ended(first, 143)

    def again(self) -> Done:
        """Launch it again."""
        return quick(*self.arguments, store=self.store, cwd=self.project)

    def trainings(self) -> list[reading.Run]:
        """The run, or the trials so far."""
        return [run for run in reading.runs(self.store) if run.tags["knobs.kind"] in ("run", "trial")]

    def checkpoints(self) -> set[Path]:
        """What an interrupted run goes on from."""
        return set((self.store / "scratch").glob("*/*/step-*"))


def write(project: Path) -> Path:
    for name, text in {
        "models/mine.py": MODEL,
        "datamodules/table.py": TABLE,
        "datamodules/table.csv": ROWS,
        "studies/mine.py": STUDY,
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project


@pytest.mark.parametrize("name", ["run", "study"])
def test_what_was_interrupted_goes_on_under_its_code_and_data_or_not_at_all(name: str, tmp_path: Path) -> None:
    launched = Launched(name, write(tmp_path / "project"), tmp_path / "store")
    launched.interrupt()
    (before,) = launched.trainings()
    written, kept = reading.acknowledged(launched.store), launched.checkpoints()
    assert before.state == "interrupted"
    assert kept
    for what, (file, old, new) in EDITS.items():
        path = launched.project / file
        text = path.read_text()
        path.write_text(text.replace(old, new))
        assert path.read_text() != text
        refused = launched.again()
        path.write_text(text)
        assert refused.code == 2, (what, refused)
        assert before.id in refused.err
        assert what.partition(" ")[0] in refused.err
        assert ("code" in refused.err) == (what != "data")
        assert "--fresh" in refused.err
        assert "Traceback" not in refused.err
        audit_quiet(launched.store, "mine", written)
        assert launched.trainings() == [before], what
        assert launched.checkpoints() == kept, what
    done = launched.again()
    assert done.code == 0, done
    audit_quiet(launched.store, "mine", written)
    first, *others = launched.trainings()
    assert (first.id, first.state, first.tags["knobs.code"]) == (before.id, "finished", before.tags["knobs.code"])
    assert "from step" in Path(first.artifacts.removeprefix("file://"), "run.log").read_text()
    assert all(run.state in ("finished", "reused") for run in others)
