"""Files of a project are edited while its study runs. Each run is recorded under the code that trained it."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import reading
from faults.processes import Launch, fork, until
from support import quick

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("edited")]

MODEL = '''"""A scaled affine map."""

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
TABLE = '''"""A made-up table."""

import numpy as np
from knobs import DataConfig, DataSpec, Split, Splits, part

FACTOR = 1.0


@part
class Table(DataConfig):
    """A line with a shift."""

    batch_size: int = 8
    shift: float = 0.0

    def spec(self) -> DataSpec:
        return DataSpec(task="regression", layout="vector", shape=(1,), outputs=1, metric="r2")

    def load(self) -> Splits:
        x = np.random.default_rng(7).normal(size=(60, 1)).astype(np.float32)
        y = FACTOR * (2 * x + np.float32(self.shift))
        return Splits(train=Split(x[:40], y[:40]), val=Split(x[40:50], y[40:50]), test=Split(x[50:], y[50:]))
'''
STUDY = '''"""Shifts and bumps."""

from datamodules.table import Table
from knobs import RunConfig, Study, Training
from models.mine import Mine
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=Mine(), data=Table(), optimizer=SGD(lr=0.05), schedule=Constant(),
    training=Training(max_steps=20, val_every=10),
)


def space(trial, baseline):
    return baseline.with_knobs(
        {"model.bump": trial.suggest_int("model.bump", 0, 9), "data.shift": trial.suggest_float("data.shift", 0, 1)}
    )


study = Study(
    baseline=BASELINE, space=space, metric="val/loss", direction="minimize", trials=6, sampler="random",
    pruner="none", feedback_lag=1,
)
'''  # fmt: skip


def write(project: Path) -> Path:
    files = {"models/mine.py": MODEL, "datamodules/table.py": TABLE, "studies/mine.py": STUDY}
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project


def trials(store: Path) -> list[reading.Run]:
    return sorted(
        (run for run in reading.runs(store) if run.tags["knobs.kind"] == "trial"),
        key=lambda run: int(run.tags["knobs.trial"]),
    )


def until_ended(launched: Launch, number: int) -> None:
    until(lambda: launched.text.count(" finished ") >= number or not launched.alive, what=f"{number} trials")


def until_over(launched: Launch) -> None:
    until(lambda: not launched.alive, what="the study's end", timeout=180)


EDITS = {
    "the model": ("models/mine.py", "SCALE = 1.0", "SCALE = 3.0"),
    "the data set": ("datamodules/table.py", "FACTOR = 1.0", "FACTOR = 9.0"),
}


@pytest.mark.parametrize("edited", EDITS)
def test_each_trial_is_recorded_under_the_code_that_trained_it(edited: str, tmp_path: Path) -> None:
    project, store = write(tmp_path / "project"), tmp_path / "store"
    file, old, new = EDITS[edited]
    launched = fork("study", "mine", "--devices", "cpu:1", project=project, store=store, KNOBS_SLOW="0.03")
    until_ended(launched, 2)
    (project / file).write_text((project / file).read_text().replace(old, new))
    until_over(launched)
    assert "is trained by" in launched.text or "are trained by the new code" in launched.text, launched.text
    recorded = trials(store)
    assert [run.state for run in recorded] == ["finished"] * 6, launched.text
    codes = [run.tags["knobs.code"] for run in recorded]
    assert codes[0] != codes[-1]
    assert len(set(codes)) == 2
    (project / file).write_text((project / file).read_text().replace(new, old))
    first = [run.id for run in recorded if run.tags["knobs.code"] == codes[0]]
    last = [run.id for run in recorded if run.tags["knobs.code"] == codes[-1]]
    as_recorded = quick("reproduce", first[-1], store=store, cwd=project)
    assert "identical" in as_recorded.out, as_recorded
    assert "differs" not in as_recorded.out
    other = quick("reproduce", last[0], store=store, cwd=project)
    assert "differs: code" in other.out, other
    (project / file).write_text((project / file).read_text().replace(old, new))
    again = quick("reproduce", last[0], store=store, cwd=project)
    assert "identical" in again.out, again
    assert "differs" not in again.out


def test_an_edit_that_does_not_import_stops_nothing(tmp_path: Path) -> None:
    project, store = write(tmp_path / "project"), tmp_path / "store"
    launched = fork("study", "mine", "--devices", "cpu:1", project=project, store=store, KNOBS_SLOW="0.02")
    until_ended(launched, 1)
    (project / "models/mine.py").write_text(MODEL + "\ndef half(\n")
    until_over(launched)
    assert "the code from before" in launched.text, launched.text
    assert [run.state for run in trials(store)] == ["finished"] * 6
    assert len({run.tags["knobs.code"] for run in trials(store)}) == 1
