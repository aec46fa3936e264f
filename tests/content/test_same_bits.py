"""A refactoring moves no loss: every shipped baseline trains the curves that it trained at commit acc4820.

The file holds 60 steps of each baseline, alone and as a batch of two seeds, without digests. On the processor and torch
that made it, every bit must be the same; elsewhere, where sums round differently, the first steps must nearly agree.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import Listener

from knobs import Ablation, RunConfig, Study, discover, provenance
from knobs.training import TrainJob
from knobs.training.batch.run_batch import run_batch
from knobs.training.run import run_job

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("curves_before_the_house.json").read_text())
QUICK = {"mnist1d_mlp", "nyse_rnn"}
"""Baselines that are compared in the quick part too."""

CPU = torch.device("cpu")


def baseline(name: str) -> RunConfig:
    folder, module = discover.find(name)
    found = discover.the_one(module, Study if folder == "studies" else Ablation)
    return found.baseline.with_knobs({"training.max_steps": 60, "training.val_every": 20})


def same_machine() -> bool:
    now = {**provenance.torch_state(), **provenance.machine()}
    return all(now[name] == value for name, value in RECORDED["machine"].items())


def check(new: object, old: object) -> None:
    """Compare recorded values: every bit here, nearly on another machine."""
    if same_machine():
        assert json.loads(json.dumps(new)) == old
        return
    assert isinstance(old, list)
    for (step, values), (old_step, old_values) in zip(json.loads(json.dumps(new)), old, strict=True):
        assert step == old_step
        assert values.keys() == old_values.keys()
        if step == old[0][0]:  # later steps amplify a rounding
            assert values == pytest.approx(old_values, rel=0.05, abs=0.02)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in RECORDED["runs"]]
)
def test_a_baseline_trains_the_recorded_curves(name: str, cache: Path, tmp_path: Path) -> None:
    config, recorded = baseline(name), RECORDED["runs"][name]
    listener = Listener()
    job = TrainJob(run="r", config=config.to_json(), folder=tmp_path / "alone", cache=cache, read_test=True)
    outcome = run_job(job, listener, CPU)
    assert outcome.state == "finished", outcome.message
    check(listener.curves(), recorded["curve"])
    if same_machine():
        summary = {n: v for n, v in outcome.summary.items() if not n.startswith("system/") and n != "parameters"}
        assert summary == recorded["summary"]
    if "batch" in recorded:
        listeners = [Listener(), Listener()]
        batch = tuple(config.with_knobs({"seed": seed}).to_json() for seed in (0, 1))
        jobs = [
            TrainJob(run=text, config=text, folder=tmp_path / "batch", cache=cache, read_test=True, batch=batch)
            for text in batch
        ]
        run_batch(jobs, listeners, CPU)
        for one, curves in zip(listeners, recorded["batch"], strict=True):
            check(one.curves(), curves)
