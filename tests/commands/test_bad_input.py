"""Wrong input to real commands: exit 2, at most four lines that name the error, nothing written."""

import sqlite3
from pathlib import Path

import pytest
from support import Done, command, quick

CPU = ("--devices", "cpu:1")


def refused(done: Done, store: Path, *said: str) -> None:
    """Check exit code 2, at most four lines on standard error with all these texts, and an untouched store."""
    assert done.code == 2, done
    for text in said:
        assert text in done.err
    assert done.out == ""
    assert 1 <= len(done.err.splitlines()) <= 4
    assert done.err.startswith("knobs: ")
    assert "Traceback" not in done.err
    assert not store.exists() or not list(store.rglob("*"))


EARLY: list[tuple[list[str], list[str]]] = [
    (["study", "mnist1d_mpl"], ["mnist1d_mpl", "did you mean mnist1d_mlp?"]),
    (["study", "mnist1d_mlp", "--trials", "0"], ["--trials 0", "at least 1"]),
    (["study", "mnist1d_mlp", "--trials", "-1"], ["--trials -1", "at least 1"]),
    (["study", "mnist1d_mlp", "--trails", "5"], ["--trails", "did you mean --trials?"]),
    (["study", "mnist1d_mlp", "--as", "../x"], ["'../x' is not a valid name"]),
    (["study", "mnist1d_mlp", "--model.width", "8", "--model.width", "9"], ["--model.width is given twice"]),
    (["run", "mnist1d_mlp", "--model.width"], ["--model.width needs a value"]),
]


@pytest.mark.parametrize(("arguments", "said"), EARLY, ids=lambda value: " ".join(value)[:40])
def test_what_is_seen_at_once(arguments: list[str], said: list[str], tmp_path: Path) -> None:
    refused(command(*arguments, store=tmp_path / "m"), tmp_path / "m", *said)


LATE: list[tuple[list[str], list[str]]] = [
    (["status"], ["nothing is recorded yet", "knobs study NAME"]),
    (["study", "mnist1d_mlp", "--model.wdith", "8"], ["model.wdith", "did you mean model.width?"]),
    (["study", "mnist1d_mlp", "--optimizer.lr", "0"], ["optimizer.lr = '0'", "greater than 0"]),
    (["study", "mnist1d_mlp", "--model.width", "4000"], ["outside its own space", "model.width = 4000"]),
    (["study", "mnist1d_mlp", "--sampler", "tpa"], ["'tpa'", "did you mean tpe?"]),
    (["study", "mnist1d_mlp", "--pruner", "medain"], ["'medain'", "did you mean median?"]),
    (["run", "credit_mlp", "--model.kind", "rnn"], ["rnn", "sequence", "vector"]),
    (["run", "mnist1d_mlp", "--training.monitor", "acuracy"], ["training.monitor", "did you mean accuracy?"]),
    (["run", "--from", "deadbeef"], ["no run 'deadbeef'"]),
    (["run", "mnist1d_mlp", "--data.validation", "5000"], ["data.validation = 5000", "leaves 4000"]),
    (["study", "mnist1d_mlp", "--devices", "cpu:5000"], ["--devices cpu:5000: too many", "the most here is cpu:"]),
    (
        ["run", "mnist1d_mlp", "--model.norm", "batch", "--data.batch_size", "1"],
        ["data.batch_size = 1", "batch normalisation of model mlp"],
    ),
]
MORE: list[tuple[list[str], list[str]]] = [
    (["run", "mnist1d_mlp", "--model.depth", "deep"], ["model.depth = 'deep'", "integer"]),
    (["run", "mnist1d_mlp", "--model.depth", "-1"], ["model.depth = '-1'", "greater than or equal to 0"]),
    (["run", "mnist1d_mlp", "--model.activation", "rleu"], ["'rleu'", "did you mean relu?"]),
    (["run", "mnist1d_mlp", "--optimizer.lr", "nan"], ["optimizer.lr"]),
    (["run", "mnist1d_mlp", "--optimizer.lr", "inf"], ["optimizer.lr"]),
    (["run", "mnist1d_mlp", "--seed", "-1"], ["seed = '-1'"]),
    (["run", "mnist1d_mlp", "--model.kind", "mpl"], ["no model named 'mpl'; did you mean mlp?"]),
    (["study", "mnist1d_mlp", "--seed", "x"], ["--seed x"]),
    (["study", "mnist1d_mlp", "--data.validation", "5000"], ["data.validation = 5000", "leaves 4000"]),
    (["study", "credit_mlp", "--model.kind", "rnn"], ["model.activation", "no knob of the baseline"]),
]


@pytest.mark.parametrize(("arguments", "said"), LATE, ids=lambda value: " ".join(value)[:40])
def test_what_needs_the_study(arguments: list[str], said: list[str], tmp_path: Path) -> None:
    devices = CPU if arguments[0] in ("run", "study") and "--devices" not in arguments else ()
    refused(quick(*arguments, *devices, store=tmp_path / "m"), tmp_path / "m", *said)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "said"), MORE, ids=lambda value: " ".join(value)[:40])
def test_more_of_that(arguments: list[str], said: list[str], tmp_path: Path) -> None:
    refused(quick(*arguments, *CPU, store=tmp_path / "m"), tmp_path / "m", *said)


# Files of one's own

OWN = """
from datamodules.{data} import {Data}
from knobs import RunConfig, Study, Training
from models.{model} import {Model}
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(model={Model}(), data={Data}(), optimizer=SGD(), schedule=Constant(), training=Training())

def space(trial, baseline):
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 0.01, 1.0)}})

study = Study(baseline=BASELINE, space=space, metric={metric!r}, direction="maximize")
"""
GOOD = {"data": "toy", "Data": "Toy", "model": "mlp", "Model": "MLP", "metric": "val/accuracy"}
FILES: dict[str, tuple[str, list[str]]] = {
    "a syntax error": ("def f(:\n", ["own.py does not import: SyntaxError"]),
    "raises": ("raise ValueError('one\\ntwo\\nthree\\nfour\\nfive')", ["own.py does not import: ValueError: one"]),
    "a missing import": ("import nothing_at_all", ["No module named 'nothing_at_all'"]),
    "two studies": (
        OWN.format(**GOOD) + "other = Study(**{**vars(study), 'seed': 1})",
        ["expected one Study, found 2"],
    ),
    "no study": ("x = 1", ["own.py: expected one Study, found 0"]),
    "another task's metric": (OWN.format(**{**GOOD, "metric": "val/r2"}), ["own.py", "'val/r2'"]),
    "several metrics": (
        OWN.format(**{**GOOD, "metric": ["val/loss", "val/accuracy"]}),
        ["one metric and one direction"],
    ),
    "a recurrent network on vectors": (
        OWN.format(**{**GOOD, "model": "rnn", "Model": "RNN"}),
        ["model rnn takes data of layout sequence, not vector"],
    ),
    "a misspelt knob": (OWN.format(**GOOD).replace("MLP()", "MLP(widht=3)"), ["model.widht", "did you mean width?"]),
    "a space that raises": (OWN.format(**GOOD).replace("def space", "def space(t, b): 1 / 0\ndef _"), ["own.py"]),
}


AT_ONCE = ("raises", "two studies", "a recurrent network on vectors")


@pytest.mark.parametrize(
    ("text", "said"),
    [pytest.param(*case, id=name, marks=[] if name in AT_ONCE else pytest.mark.slow) for name, case in FILES.items()],
)
def test_a_broken_file_of_ones_own(text: str, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "own.py").write_text(text)
    done = quick("study", "own", *CPU, store=tmp_path / "m", cwd=tmp_path)
    refused(done, tmp_path / "m", *said)
    assert command("list", store=tmp_path / "m", cwd=tmp_path).code == 0  # other commands still work


# Stores


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table customers (name text)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("text", ["study", "mnist1d_mlp", *CPU]), ("foreign", ["run", "credit_mlp", *CPU]), ("foreign", ["status"])],
    ids=["study", "run", "status"],
)
def test_a_file_that_is_no_store(kind: str, arguments: list[str], tmp_path: Path) -> None:
    store = tmp_path / "m"
    store.mkdir()
    database = store / "mlflow.db"
    if kind == "foreign":
        foreign(database)
    else:
        database.write_text("this is mine, not MLflow's\n" * 100)
    before = database.read_bytes()
    done = quick(*arguments, store=store)
    assert database.read_bytes() == before
    assert [path.name for path in store.iterdir()] == ["mlflow.db"]
    refused(done, tmp_path / "none", str(database), "not an MLflow store", "KNOBS_MLRUNS")
