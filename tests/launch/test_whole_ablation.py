"""A whole ablation through the installed command: interrupted, extended, quick; and one whose runs diverge."""

import signal
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from support import KNOBS, Done, environment, quick

pytestmark = pytest.mark.slow

FILE = '''"""Does depth help on a toy?"""
from datamodules.toy import Toy
from knobs import Ablation, Beats, Factor, NoDifference, Quick, Reference, RunConfig, Training, Trend
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant


def nuisance(trial, baseline):
    """The rate."""
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-2, 0.5, log=True)}})


def exact():
    """Computed, not trained."""
    return 1 / 3


ablation = Ablation(
    question="Does depth help on a toy?",
    claim="It does not.",
    baseline=RunConfig(model=MLP(depth=1, width=8), data=Toy(), optimizer=SGD(lr=0.1), schedule=Constant(),
                       training=Training(max_steps=48, val_every=8)),
    factors=(Factor.of("model.depth", {levels}), Factor.of("model.activation", ["tanh", "relu"])),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    trials=3,
    repetitions=1,
    seeds=3,
    claims=(Beats(text="tanh beats relu", metric="test/accuracy", better={{"model.activation": "tanh"}},
                  worse={{"model.activation": "relu"}}),
            Trend(text="falls with depth", metric="train/accuracy", factor="model.depth", way="falls")),
    references=(Reference(name="chance", metric="test/accuracy", value=exact, source="one of three classes"),),
    quick=Quick(trials=1, seeds=2),
)
'''


def project(folder: Path, levels: list[int]) -> Path:
    (folder / "experiments").mkdir(parents=True, exist_ok=True)
    (folder / "experiments" / "depth.py").write_text(FILE.format(levels=levels))
    return folder


def verdicts(done: Done) -> str:
    return done.out[done.out.index("depth: test/accuracy") :]


def runs(store: Path, name: str = "depth") -> list[SimpleNamespace]:
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return [
        SimpleNamespace(id=r.info.run_id, status=r.info.status, tags=r.data.tags, metrics=r.data.metrics) for r in found
    ]


def test_a_whole_ablation_interrupted_extended_and_quick(tmp_path: Path) -> None:
    here, store, other = project(tmp_path / "p", [1, 2]), tmp_path / "s", tmp_path / "other"
    dry = quick("ablate", "depth", "--dry-run", "--devices", "cpu:2", store=store, cwd=here)
    assert dry.code == 0, dry.err
    assert "4 cells, 24 runs" in dry.out
    assert not store.exists()

    plain = quick("ablate", "depth", "--devices", "cpu:1", store=other, cwd=here)
    assert plain.code == 0, plain.err
    launched = [str(KNOBS), "ablate", "depth", "--devices", "cpu:2"]
    with subprocess.Popen(launched, cwd=here, env=environment(store), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"finished" in line and b"s100" in line:  # at the first seed some cells are tuned and others are not
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(20) == 130
    assert not [run for run in runs(store) if run.status == "RUNNING"]
    before = {run.id for run in runs(store)}
    again = quick("ablate", "depth", "--devices", "cpu:2", store=store, cwd=here)
    assert again.code == 0, again.err
    assert verdicts(again) == verdicts(plain)
    everything = runs(store)
    assert before <= {run.id for run in everything}
    kinds = Counter(run.tags["knobs.kind"] for run in everything)
    assert kinds == {"ablation": 1, "cell": 4, "trial": 12, "seed": 12, "reference": 1}
    assert {run.status for run in everything} == {"FINISHED"}
    digests = Counter(run.tags["knobs.digest"] for run in everything if run.tags.get("knobs.state") == "finished"
                      and "knobs.digest" in run.tags)  # fmt: skip
    assert set(digests.values()) == {1}, "a config was trained twice"
    for run in everything:
        tested = any(name.startswith("test/") for name in run.metrics)
        assert tested == (run.tags["knobs.kind"] in ("seed", "reference"))
    cells = [run for run in everything if run.tags["knobs.kind"] == "cell"]
    assert {(run.metrics["budget/trials"], run.metrics["budget/steps_per_trial"]) for run in cells} == {(3.0, 48.0)}
    seeds = {run.tags["knobs.cell"]: set() for run in cells}
    for run in everything:
        if run.tags["knobs.kind"] == "seed":
            seeds[run.tags["knobs.cell"]].add(run.tags["knobs.seed"])
    assert set(map(frozenset, seeds.values())) == {frozenset({"1000", "1001", "1002"})}
    how = {run.tags["knobs.execution"] for run in everything if run.tags["knobs.kind"] == "seed"}
    assert how == {'batch of {"seed": [1000, 1001, 1002]}'}
    seed = next(run for run in everything if run.tags.get("knobs.seed") == "1001")
    done = quick("reproduce", seed.id, store=store, cwd=here)
    assert (done.code, "identical: all" in done.out) == (0, True), done.err  # in its seed batch, as it was trained

    project(here, [1, 2, 3])
    more = quick("ablate", "depth", "--devices", "cpu:1", store=store, cwd=here)
    assert more.code == 0, more.err
    grown = Counter(run.tags["knobs.kind"] for run in runs(store))
    assert grown == {"ablation": 1, "cell": 6, "trial": 18, "seed": 18, "reference": 1, "reproduction": 1}
    assert more.out.count(" finished ") + more.out.count(" reused ") == 12

    done = quick("ablate", "depth", "--quick", "--devices", "cpu:1", store=store, cwd=here)
    assert done.code == 0, done.err
    assert "not for conclusions" in done.out
    assert Counter(run.tags["knobs.kind"] for run in runs(store, "depth-quick"))["seed"] == 12


def test_a_cell_whose_every_run_diverges_is_reported(tmp_path: Path) -> None:
    here = project(tmp_path / "p", [1, 2])
    path = here / "experiments" / "depth.py"
    changes = {
        'Factor.of("model.depth", [1, 2])': 'Factor("rate", {"sane": {"training.clip_norm": 1.0}, "mad": MAD})',
        "def exact": 'MAD = {"optimizer.kind": "sgd", "optimizer.momentum": 0.999}\n\n\ndef exact',
        "data=Toy()": 'data=Toy(task="regression")',
        "/accuracy": "/r2",
        'factor="model.depth"': 'factor="rate"',
        "1e-2, 0.5": "1e5, 1e6",
        "lr=0.1": "lr=2e5",
    }
    text = path.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    store = tmp_path / "s"
    done = quick("ablate", "depth", "--devices", "cpu:1", store=store, cwd=here)
    assert done.code in (0, 1), done.err
    mad = [run for run in runs(store) if run.tags.get("knobs.level.rate") == "mad"]
    cells = [run for run in mad if run.tags["knobs.kind"] == "cell"]
    assert {run.tags["knobs.state"] for run in cells} == {"no run finished"}
    assert {run.tags["knobs.state"] for run in mad if run.tags["knobs.kind"] == "trial"} == {"diverged"}
    assert "no run finished" in done.out
