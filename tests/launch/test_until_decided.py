"""`knobs ablate --until-decided` through the installed command: it ends at the look that decides the last claim."""

import re
from pathlib import Path

import pytest
from support import quick

pytestmark = pytest.mark.slow

FILE = '''"""Does width help on a toy?"""
from datamodules.toy import Toy
from knobs import Ablation, Beats, Factor, RunConfig, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant


def nuisance(trial, baseline):
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 0.05, 1.0, log=True)})


ablation = Ablation(
    question="Does training help on a toy?",
    claim="It does.",
    baseline=RunConfig(model=MLP(depth=1, width=8), data=Toy(), optimizer=SGD(lr=0.1), schedule=Constant(),
                       training=Training(max_steps=16, val_every=16)),
    factors=(Factor("steps", {"sixteen": {}, "one": {"training.max_steps": 1, "training.val_every": 1}}),),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    trials=2,
    seeds=1,
    claims=(Beats(text="more steps win", metric="test/loss", better={"steps": "sixteen"}, worse={"steps": "one"}),),
)
'''


def test_it_ends_at_the_look_that_decides_and_continues_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "steps.py").write_text(FILE)
    store = tmp_path / "mlruns"
    command = ("ablate", "steps", "--until-decided", "--devices", "cpu:2")
    done = quick(*command, store=store, cwd=tmp_path)
    assert done.code == 0, done.err
    found = re.search(r"p [\d<. ]+ \(corrected\), n (\d+)", done.out)
    assert found
    look = int(found[1])
    assert look in (5, 10)
    assert done.out.count("undecided after") == look // 5 - 1
    assert "supported: more steps win" in done.out
    assert "the level of the tests does not hold" not in done.out.replace("\n", " ")
    again = quick(*command, store=store, cwd=tmp_path)
    assert "continues, 30 of 30 runs are there" in again.out, "up to the first look"
    assert " finished " not in again.out
    report = quick("report", "steps", store=store, cwd=tmp_path)
    assert f"decided after {look} repetitions" in report.out
    text = (store / "reports" / "steps" / "report.md").read_text()
    assert "· complete ·" in text
    assert "looks were planned after 5, 10, 15, 20 repetitions, and taken: 5" in text
    refused = quick("ablate", "steps", "--until-decided", "--repetitions", "12", store=store, cwd=tmp_path)
    assert (refused.code, "--repetitions 12 does not fit that" in refused.err) == (2, True)
    dry = quick("ablate", "steps", "--until-decided", "--dry-run", "--effect", "0.5", store=store, cwd=tmp_path)
    assert dry.code == 0, dry.err
    assert "it ends after 5, 10, 15 repetitions if all is decided" in dry.out
    assert re.search(rf"\d+ repetitions: more steps win \(sd [\d.]+ over {look} recorded ones\)", dry.out), dry.out
    alone = quick("ablate", "steps", "--effect", "0.5", store=store, cwd=tmp_path)
    assert (alone.code, "it goes with --dry-run" in alone.err) == (2, True)
