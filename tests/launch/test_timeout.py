"""`knobs study --timeout`: after that time no new trial begins, and those that run end as ever."""

from pathlib import Path

import pytest
from faults import reading
from faults.audit import audit_quiet
from support import quick

pytestmark = pytest.mark.slow

MODEL = '''"""A linear map that takes its time to be made."""

import os
import time

import torch
from knobs import DataSpec, ModelConfig, part


@part
class Late(ModelConfig):
    """Affine."""

    bump: int = 0

    def build(self, spec: DataSpec) -> torch.nn.Module:
        return torch.nn.Sequential(Waits(), torch.nn.Linear(spec.features, spec.outputs))


class Waits(torch.nn.Module):
    """Sleeps once, in its first step."""

    seconds = float(os.environ.get("KNOBS_LATE", "0"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(self.seconds)
            self.seconds = 0
        return x
'''
STUDY = '''"""Trials that take as long as `LATE` says."""

from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.late import Late
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=Late(), data=Toy(samples=64), optimizer=SGD(lr=0.1), schedule=Constant(),
    training=Training(max_steps=4, val_every=2),
)


def space(trial, baseline):
    return baseline.with_knobs({"model.bump": trial.suggest_int("model.bump", 0, 100_000)})


study = Study(
    baseline=BASELINE, space=space, metric="val/loss", direction="minimize", trials=4, sampler="random", pruner="none",
)
'''  # fmt: skip
SECONDS = 12.0
"""Longer than a launch takes to its first trial, on a busy machine too."""


def test_after_the_timeout_no_trial_begins_and_the_next_launch_trains_the_rest(tmp_path: Path) -> None:
    for path, text in {"models/late.py": MODEL, "studies/late.py": STUDY}.items():
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text)
    store = tmp_path / "mlruns"
    command = ("study", "late", "--devices", "cpu:1")
    done = quick(*command, "--timeout", f"{SECONDS:g}s", store=store, cwd=tmp_path, KNOBS_LATE=str(SECONDS))
    assert done.code == 0, done
    audit_quiet(store, "late")
    (only,) = reading.trials(store, "late")  # it began within the time, and outlasted it
    assert only.state == "finished"
    (parent,) = (run for run in reading.runs(store) if run.tags["knobs.kind"] == "study")
    assert (parent.state, parent.tags["knobs.best_trial"]) == ("finished", "0")
    assert "best: t000" in done.out
    more = quick(*command, "--timeout", "1h", store=store, cwd=tmp_path)
    assert more.code == 0, more
    trials = reading.trials(store, "late")
    assert [(run.trial, run.state) for run in trials] == [(number, "finished") for number in range(4)]
    assert trials[0].id == only.id
