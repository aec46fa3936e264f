"""Wrong input to real commands: exit 2, at most four lines that name the error, nothing written."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Call, Done, command, quick_each

pytestmark = pytest.mark.xdist_group("bad input")

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


Ended = tuple[Path, Done]
"""The folder of a case, and how its command ended."""


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Run every case of `LATE` and `MORE`; each has a folder of its own."""
    folders, calls = {}, []
    for arguments, _ in (*LATE, *MORE):
        folders[" ".join(arguments)] = folder = tmp_path_factory.mktemp("late")
        devices = CPU if arguments[0] in ("run", "study") and "--devices" not in arguments else ()
        calls.append(Call((*arguments, *devices), folder / "m"))
    done = quick_each(calls, tmp_path_factory.mktemp("outputs"))
    return dict(zip(folders, zip(folders.values(), done, strict=True), strict=True))


@pytest.mark.parametrize(("arguments", "said"), LATE + MORE, ids=lambda value: " ".join(value)[:40])
def test_what_needs_the_study(arguments: list[str], said: list[str], late: dict[str, Ended]) -> None:
    folder, done = late[" ".join(arguments)]
    refused(done, folder / "m", *said)


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


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Done, Done]]:
    """Run every study of `FILES`, then `knobs list` in its project. Return the project and both ends."""
    projects, calls = {}, []
    for name, (text, _) in FILES.items():
        projects[name] = project = tmp_path_factory.mktemp("broken")
        (project / "studies").mkdir()
        (project / "studies" / "own.py").write_text(text)
        calls += [Call(("study", "own", *CPU), project / "m", project), Call(("list",), project / "m", project)]
    done = quick_each(calls, tmp_path_factory.mktemp("outputs"))
    return dict(zip(FILES, zip(projects.values(), done[::2], done[1::2], strict=True), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_of_ones_own(name: str, broken: dict[str, tuple[Path, Done, Done]]) -> None:
    project, done, listed = broken[name]
    refused(done, project / "m", *FILES[name][1])
    assert listed.code == 0, listed  # other commands still work


# Stores


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table customers (name text)")
    connection.commit()
    connection.close()


def text(path: Path) -> None:
    path.write_text("this is mine, not MLflow's\n" * 100)


@pytest.mark.parametrize("write", [text, foreign], ids=["text", "foreign"])
def test_a_file_that_is_no_store(write: Callable[[Path], None], tmp_path: Path) -> None:
    store = tmp_path / "m"
    store.mkdir()
    database = store / "mlflow.db"
    write(database)
    before = database.read_bytes()
    commands = (("study", "mnist1d_mlp", *CPU), ("run", "credit_mlp", *CPU), ("status",))
    for done in quick_each([Call(arguments, store) for arguments in commands], tmp_path):
        assert database.read_bytes() == before
        assert [path.name for path in store.iterdir()] == ["mlflow.db"]
        refused(done, tmp_path / "none", str(database), "not an MLflow store", "KNOBS_MLRUNS")
