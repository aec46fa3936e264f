"""Trials of equal value: the earliest is the best one, everywhere that trials are ranked, whichever ended first."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from faults import reading
from reported import receipts
from support import Done, quick

pytestmark = pytest.mark.slow

MODEL = '''"""A linear map with a knob that changes nothing; the baseline waits for another trial."""

import time
from pathlib import Path

import torch
from knobs import DataSpec, ModelConfig, part

OTHER = Path(__file__).parent / "another_trial_trains"


@part
class Flat(ModelConfig):
    """Affine."""

    bump: int = 0
    """Nothing depends on it."""

    def build(self, spec: DataSpec) -> torch.nn.Module:
        return torch.nn.Sequential(Waits(self.bump == 0), torch.nn.Linear(spec.features, spec.outputs))


class Waits(torch.nn.Module):
    """In training the first of all trials is slow, so that others end before it."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.first:
            deadline = time.monotonic() + 20
            while not OTHER.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.2)
        elif self.training:
            OTHER.touch()
        return x
'''
HEAD = """
from datamodules.toy import Toy
from knobs import Ablation, Factor, RunConfig, Study, Training
from models.flat import Flat
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=Flat(), data=Toy(samples=64), optimizer=SGD(lr=0.1), schedule=Constant(),
    training=Training(max_steps=8, val_every=4),
)


def space(trial, baseline):
    return baseline.with_knobs({"model.bump": trial.suggest_int("model.bump", 0, 100_000)})

"""
STUDY = f"""{HEAD}
study = Study(
    baseline=BASELINE, space=space, metric="METRIC", direction="DIRECTION", trials=7, sampler="random", pruner="none",
)
"""
ABLATION = f"""{HEAD}
ablation = Ablation(
    question="?", claim="!", baseline=BASELINE, factors=(Factor.of("optimizer.lr", [0.1, 0.2]),), nuisance=space,
    metric="METRIC", direction="DIRECTION", trials=3, repetitions=1, seeds=2,
)
"""
WAYS = {"greatest": ("val/accuracy", "maximize"), "least": ("val/loss", "minimize")}


def project(folder: Path, way: str) -> Path:
    for path, text in {
        "models/flat.py": MODEL,
        "studies/ties.py": f'"""Equal trials."""\n{STUDY}',
        "experiments/cells.py": f'"""Equal trials in every cell."""\n{ABLATION}',
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.replace("METRIC", WAYS[way][0]).replace("DIRECTION", WAYS[way][1]))
    return folder


def knobs(folder: Path, *arguments: str) -> Done:
    done = quick(*arguments, store=folder / "mlruns", cwd=folder)
    assert done.code == 0, done.err
    return done


def labels(text: str) -> list[str]:
    """Trials in the order in which they are named."""
    return re.findall(r"\bt\d{3}\b", text)


ALL = [f"t{number:03d}" for number in range(7)]


@pytest.mark.parametrize("way", WAYS)
def test_the_earliest_of_equal_trials_is_the_best_in_every_ranking(way: str, tmp_path: Path) -> None:
    folder = project(tmp_path, way)
    printed = knobs(folder, "study", "ties", "--devices", "cpu:2").out
    trials = reading.trials(folder / "mlruns", "ties")
    metric = f"best/{WAYS[way][0]}"
    assert len({run.points[metric][-1][1] for run in trials}) == 1
    assert {run.state for run in trials} == {"finished"}
    ends = labels("".join(line for line in printed.splitlines() if " finished " in line))
    assert ends.index("t000") > 0, "another trial ended first"

    summary = printed[printed.rindex(" finished ") :]
    assert labels(summary)[:5] == ALL[:5]
    assert f"best: t000, run {trials[0].id}" in summary
    assert [run.tags.get("knobs.winner") for run in trials] == ["true"] + [None] * 6
    (parent,) = (run for run in reading.runs(folder / "mlruns") if run.tags["knobs.kind"] == "study")
    assert parent.tags["knobs.best_trial"] == "0"

    shown = knobs(folder, "status", "ties").out
    assert labels(shown)[:7] == ALL
    assert re.search(r"t000 \*", shown)
    for text in (printed, shown):
        (compared,) = re.findall(r"compare +(\S+)", text)
        ids = re.findall(r"[0-9a-f]{32}", unquote(compared))
        assert ids == [run.id for run in trials[:5]]

    knobs(folder, "report", "ties")
    report = folder / "mlruns" / "reports" / "ties"
    text = (report / "report.md").read_text()
    assert "**best: t000**" in text
    found = receipts(report)
    assert found["numbers"]["best/value"]["runs"] == "trial t000"
    assert list(found["configs"]) == ["t000"]
    listed = [line for line in text.splitlines() if re.match(r"\| *\[?t\d{3}", line)]
    assert [labels(line)[0] for line in listed] == ALL


def test_the_seeds_of_a_cell_have_the_knobs_of_the_earliest_of_equal_trials(tmp_path: Path) -> None:
    folder = project(tmp_path, "greatest")
    knobs(folder, "ablate", "cells", "--devices", "cpu:2")
    seeds = [run for run in reading.runs(folder / "mlruns") if run.tags["knobs.kind"] == "seed"]
    assert len(seeds) == 4
    assert {run.tags["knobs.winner_trial"] for run in seeds} == {"0"}
    first = [run for run in reading.runs(folder / "mlruns") if run.tags.get("knobs.trial") == "0"]
    assert {run.params["model.bump"] for run in seeds} == {run.params["model.bump"] for run in first}
    assert len({run.params["model.bump"] for run in first}) == 1
