"""A project with a small ablation, a study and an ablation of nasty names. Shared by tests of reports."""

import fcntl
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import Done, quick

HEAD = """
from datamodules.toy import Toy
from knobs import Ablation, Beats, Factor, NoDifference, Quick, Reference, RunConfig, Study, Training, Trend
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=1, width=8), data=Toy(), optimizer=SGD(lr=0.1), schedule=Constant(),
    training=Training(max_steps=24, val_every=8),
)
"""

TINY = f'''"""A toy."""
{HEAD}

def nuisance(trial, baseline):
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.5, log=True)}})


ablation = Ablation(
    question="Does width help on a toy?",
    claim="Wider is better.",
    baseline=BASELINE,
    factors=(Factor.of("model.width", [2, 8]), Factor.of("model.activation", ["relu", "tanh"])),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    trials=2,
    repetitions=1,
    seeds=3,
    claims=(
        Trend(text="accuracy rises with width", metric="test/accuracy", factor="model.width", way="rises"),
        NoDifference(
            text="tanh does as well as relu, within two points", metric="test/accuracy",
            a={{"model.activation": "tanh"}}, b={{"model.activation": "relu"}}, within=0.02,
        ),
    ),
    references=(Reference(name="chance", metric="test/accuracy", value=1 / 3, source="three classes"),),
    caveats=("A toy.",),
)
'''

NASTY_NAMES = ("<script>alert(1)</script>", "../../x \"'|`$a_b$ \\\\ [l](http://e.x)")
NASTY_QUESTION = 'Do <b>names</b> & "quotes" | `ticks` $x$\n\n# break ../../it \\\\ {out}_%?'

NASTY = f'''"""Names."""
{HEAD}

def nuisance(trial, baseline):
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.5, log=True)}})


ablation = Ablation(
    question={NASTY_QUESTION!r},
    claim="=cmd|' /C calc'!A0",
    baseline=BASELINE,
    factors=(Factor("kind", {{{NASTY_NAMES[0]!r}: {{"model.width": 8}}, {NASTY_NAMES[1]!r}: {{"model.width": 2}}}}),),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    trials=1,
    repetitions=1,
    seeds=2,
    claims=(
        Beats(
            text="<img src=x onerror=alert(1)> wins\\nby far", metric="test/accuracy",
            better={{"kind": {NASTY_NAMES[0]!r}}}, worse={{"kind": {NASTY_NAMES[1]!r}}},
        ),
    ),
    references=(
        Reference(name="</svg><script>1</script>", metric="test/accuracy", value=0.3, source="<i>a & b</i>"),
    ),
    caveats=("</style><script>alert(2)</script>",),
)
'''

MIXED = f'''"""Each cell has its own space, steps and data; one has nothing to tune."""
{HEAD}

def nuisance(trial, baseline):
    if baseline.model.depth == 0:
        return baseline
    high = 0.5 if baseline.model.depth == 1 else 0.25
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, high, log=True)}})


ablation = Ablation(
    question="Which of three?",
    claim="None.",
    baseline=BASELINE,
    factors=(
        Factor("network", {{
            "linear": {{"model.depth": 0}},
            "one": {{"data.samples": 128}},
            "two": {{"model.depth": 2, "training.max_steps": 16}},
        }}),
    ),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    trials=3,
    repetitions=1,
    seeds=2,
    claims=(),
    references=(
        Reference(name="a", metric="test/accuracy", value=0.50, source="x"),
        Reference(name="b", metric="test/accuracy", value=0.52, source="y"),
        Reference(name="c", metric="test/accuracy", value=0.54, source="z"),
    ),
)
'''

SEARCH = f'''"""Width and rate on a toy."""
{HEAD}

def space(trial, baseline):
    return baseline.with_knobs({{
        "model.width": trial.suggest_int("model.width", 2, 32, log=True),
        "model.activation": trial.suggest_categorical("model.activation", ["relu", "tanh"]),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.5, log=True),
    }})


study = Study(baseline=BASELINE, space=space, metric="val/accuracy", direction="maximize", trials=12)
'''


def project(base: Path) -> Path:
    """Return a folder with four files of content and a store in which all four have run; made once per session."""
    folder = base / "reported"
    with (base / "reported.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            write(folder)
            for arguments in (("ablate", "tiny"), ("ablate", "nasty"), ("ablate", "mixed"), ("study", "search")):
                done = knobs(folder, *arguments, "--devices", "cpu:1")
                assert done.code == 0, done.err
            (folder / "made").touch()
    return folder


def write(folder: Path) -> None:
    """Write the content without running it."""
    ablations = {"tiny": TINY, "nasty": NASTY, "mixed": MIXED}
    for path, text in [
        *((f"experiments/{name}", text) for name, text in ablations.items()),
        ("studies/search", SEARCH),
    ]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{path}.py").write_text(text)


def knobs(folder: Path, *arguments: str, store: Path | None = None) -> Done:
    """Run a command in the project, on the project's store or another."""
    return quick(*arguments, store=store or folder / "mlruns", cwd=folder)


def copied(folder: Path, to: Path, change: Callable[[sqlite3.Connection], object]) -> Path:
    """Copy the project's store and change the copy with plain SQL; its artifacts stay in place. Return the copy."""
    to.mkdir(parents=True)
    shutil.copy(folder / "mlruns" / "mlflow.db", to / "mlflow.db")
    connection = sqlite3.connect(to / "mlflow.db")
    with connection:
        change(connection)
    connection.close()
    return to


def runs(database: Path, **tags: str) -> list[str]:
    """Return the ids of active runs with these `knobs.` tags, in order of start."""
    query = "select run_uuid from runs r where lifecycle_stage = 'active'"
    values: list[str] = []
    for name, value in tags.items():
        query += " and exists (select 1 from tags t where t.run_uuid = r.run_uuid and t.key = ? and t.value = ?)"
        values += [f"knobs.{name}", value]
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    found = [run for (run,) in connection.execute(f"{query} order by start_time, run_uuid", values)]
    connection.close()
    return found


def receipts(report: Path) -> dict[str, Any]:
    """Return a report's receipts, with the facts of each run's origin merged into the run."""
    found: dict[str, Any] = json.loads((report / "receipts.json").read_text())
    return found | {"runs": {key: {**found["origins"][run["origin"]], **run} for key, run in found["runs"].items()}}
