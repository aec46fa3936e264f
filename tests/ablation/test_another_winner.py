"""A budget that grows finds another winner: the seeds of the old one no longer speak for the cell."""

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

import pytest
from faults import reading
from reported import receipts
from support import Done, quick

pytestmark = pytest.mark.slow

FILE = '''"""The baseline learns nothing; whatever else is tried is better."""

from datamodules.toy import Toy
from knobs import Ablation, Beats, Factor, RunConfig, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant


def nuisance(trial, baseline):
    """The rate."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-9, 0.9)})


ablation = Ablation(
    question="Which of two?",
    claim="Either.",
    baseline=RunConfig(
        model=MLP(depth=1, width=8), data=Toy(samples=64), optimizer=SGD(lr=1e-9), schedule=Constant(),
        training=Training(max_steps=32, val_every=16),
    ),
    factors=(Factor.of("model.activation", ["relu", "tanh"]),),
    nuisance=nuisance,
    metric="val/loss",
    direction="minimize",
    shown="test/loss",
    trials=1,
    repetitions=1,
    seeds=3,
    claims=(
        Beats(text="tanh beats relu", metric="test/loss", better={"model.activation": "tanh"},
              worse={"model.activation": "relu"}),
    ),
)
'''  # fmt: skip


Grown = tuple[Path, list[reading.Run], list[reading.Run]]


def ablate(folder: Path, *more: str) -> Done:
    done = quick("ablate", "other", "--devices", "cpu:1", *more, store=folder / "mlruns", cwd=folder)
    assert done.code == 0, done.err
    return done


def of_kind(folder: Path, kind: str) -> list[reading.Run]:
    return [run for run in reading.runs(folder / "mlruns") if run.tags["knobs.kind"] == kind]


def losses(runs: Iterable[reading.Run], cell: str) -> list[float]:
    return [run.points["test/loss"][-1][1] for run in runs if run.tags["knobs.cell"] == cell]


def speak_for_the_cells(folder: Path, seeds: list[reading.Run], count: int) -> None:
    """These seeds, `count` of each cell, are behind every mean, the verdict and the report; no other is."""
    for cell in of_kind(folder, "cell"):
        values = losses(seeds, cell.tags["knobs.cell"])
        assert len(values) == count
        assert cell.points["seeds/in_mean"][-1][1] == count
        assert cell.points["mean/test/loss"][-1][1] == pytest.approx(mean(values))
    (parent,) = of_kind(folder, "ablation")
    (verdict,) = json.loads(Path(parent.artifacts.removeprefix("file://"), "verdicts.json").read_text())
    assert verdict["n"] == count
    effect = mean(losses(seeds, "tanh")) - mean(losses(seeds, "relu"))
    assert verdict["effect"] == pytest.approx(effect)
    done = quick("report", "other", store=folder / "mlruns", cwd=folder)
    assert done.code == 0, done.err
    found = receipts(folder / "mlruns" / "reports" / "other")["runs"]
    assert {run["id"] for key, run in found.items() if "/s" in key} == {run.id for run in seeds}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ablation with one trial, whose winner is the baseline, and three seeds."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "other.py").write_text(FILE)
    ablate(folder)
    old = of_kind(folder, "seed")
    assert {run.tags["knobs.winner_trial"] for run in old} == {"0"}
    speak_for_the_cells(folder, old, 3)
    return folder


@pytest.fixture(scope="module")
def second(first: Path) -> Grown:
    """The same with more trials and fewer seeds; the seeds of its old and of its new winner."""
    old = of_kind(first, "seed")
    ablate(first, "--trials", "3", "--seeds", "2")
    new = [run for run in of_kind(first, "seed") if run.tags["knobs.winner_trial"] != "0"]
    return first, old, new


def test_after_more_trials_the_seeds_of_the_new_winner_alone_count(second: Grown) -> None:
    folder, old, new = second
    speak_for_the_cells(folder, new, 2)  # the third seed of the old winner fills no gap
    every = of_kind(folder, "seed")
    assert {run.id for run in every} == {run.id for run in (*old, *new)}
    assert all(run.status == "FINISHED" and run.lifecycle == "active" for run in every)


def test_back_at_the_smaller_budget_the_seeds_of_its_winner_count_again(second: Grown) -> None:
    folder, old, _ = second
    count = len(of_kind(folder, "seed"))
    ablate(folder, "--trials", "1")
    assert len(of_kind(folder, "seed")) == count, "nothing is trained twice"
    speak_for_the_cells(folder, old, 3)
