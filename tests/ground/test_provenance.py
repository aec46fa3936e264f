"""Where a number comes from: which changes of code and repository are noticed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT

from knobs import discover, provenance

HASH = """
from knobs import provenance
print(provenance.training_code_hash(["models.{model}", "datamodules.toy", "optimizers.sgd", "schedules.cosine"]))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code that tests change."""
    folder = tmp_path_factory.mktemp("copy")
    for room in ("knobs", *discover.FOLDERS):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def original(tree: Path) -> str:
    return hash_in(tree)


def hash_in(tree: Path, model: str = "mlp", cwd: Path | None = None, also: Path | None = None) -> str:
    paths = os.pathsep.join(map(str, [tree, *([also] if also else [])]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("KNOBS_ROOT", None)
    done = subprocess.run(
        [sys.executable, "-c", HASH.format(model=model)],
        cwd=cwd or tree,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def appended(text: str) -> Callable[[str], str]:
    return lambda source: f"{source}\n{text}\n"


CHANGES: dict[str, tuple[str, Callable[[str], str], bool]] = {
    "a comment": ("models/mlp.py", lambda source: f"# a comment\n{source}", False),
    "a docstring": (
        "models/mlp.py",
        lambda source: source.replace("Multilayer perceptron", "Layers upon layers"),
        False,
    ),
    "an empty line": ("knobs/training/learner.py", lambda source: source.replace("\n\n", "\n\n\n"), False),
    "the model": ("models/mlp.py", appended("EXTRA = 1"), True),
    "what the model imports": ("models/_layers.py", appended("EXTRA = 1"), True),
    "the data set": ("datamodules/toy.py", lambda source: source.replace("0.1", "0.2"), True),
    "the learner": ("knobs/training/learner.py", appended("EXTRA = 1"), True),
    "the optimizer": ("optimizers/sgd.py", appended("EXTRA = 1"), True),
    "the schedule": ("schedules/cosine.py", lambda source: source.replace("math.cos", "math.sin"), True),
    "the class of all schedules": ("knobs/config/schedule.py", appended("EXTRA = 1"), True),
    "another optimizer": ("optimizers/adam.py", appended("EXTRA = 1"), False),
    "another schedule": ("schedules/step.py", appended("EXTRA = 1"), False),
    "another model": ("models/rnn.py", appended("EXTRA = 1"), False),
    "a study": ("studies/mnist1d_mlp.py", appended("EXTRA = 1"), False),
    "the command line": ("knobs/commands/main.py", appended("EXTRA = 1"), False),
    "the driver": ("knobs/launch/driver/driver.py", appended("EXTRA = 1"), False),
    "the record": ("knobs/record/stores/mlflow_store.py", appended("EXTRA = 1"), False),
    "the search": ("knobs/search/study.py", appended("EXTRA = 1"), False),
}


@pytest.mark.parametrize(("file", "change", "seen"), CHANGES.values(), ids=CHANGES)
def test_code_that_a_training_executes_is_hashed_and_no_other(
    file: str, change: Callable[[str], str], seen: bool, tree: Path, original: str
) -> None:
    source = (tree / file).read_text()
    try:
        (tree / file).write_text(change(source))
        assert (tree / file).read_text() != source
        assert (hash_in(tree) != original) == seen
    finally:
        (tree / file).write_text(source)


@pytest.mark.parametrize(
    "statement",
    ["from . import _mine", "from ._mine import value", "from models import _mine", "import models._mine as mine"],
)
def test_every_way_to_import_a_file_of_ones_own_is_followed(statement: str, tree: Path, tmp_path: Path) -> None:
    for room in ("models", "studies"):
        (tmp_path / room).mkdir()
    (tmp_path / "models" / "own.py").write_text(f'"""Mine."""\n{statement}\n')
    (tmp_path / "models" / "_mine.py").write_text("value = 1\n")
    before = hash_in(tree, "own", tmp_path)
    (tmp_path / "models" / "_mine.py").write_text("value = 2\n")
    assert hash_in(tree, "own", tmp_path) != before


@pytest.mark.parametrize("file", ["beside.py", "beside/__init__.py", "beside/deep/inner.py"])
def test_a_file_of_the_project_beside_the_folders_is_followed_too(file: str, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "studies").mkdir()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    statement = "from beside.deep import inner" if "deep" in file else "from beside import value"
    (tmp_path / "models" / "own.py").write_text(f'"""Mine."""\nimport json\nimport torch\n{statement}\n')
    hashes = []
    for text in ("value = 1\n", "value = 2\n", "# a comment\nvalue = 2\n"):
        (tmp_path / file).write_text(text)
        hashes.append(hash_in(tree, "own", tmp_path, also=tmp_path))
    assert hashes[0] != hashes[1] == hashes[2]


def test_the_projects_own_model_stands_for_the_installed_one(tree: Path, tmp_path: Path) -> None:
    installed = hash_in(tree)
    for room in ("models", "studies"):
        (tmp_path / room).mkdir()
    assert hash_in(tree, cwd=tmp_path) == installed  # the same code from another folder
    (tmp_path / "models" / "mlp.py").write_text((tree / "models" / "mlp.py").read_text() + "\nEXTRA = 1\n")
    assert hash_in(tree, cwd=tmp_path) != installed


# The repository


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_commit_and_diff(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == ("none", "")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("one = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    provenance.git_state.cache_clear()
    assert provenance.git_state(folder) == (git(folder, "rev-parse", "HEAD"), "")
    (folder / "a.py").write_text("one = 2\n")
    provenance.git_state.cache_clear()
    commit, diff = provenance.git_state(folder)
    assert commit == git(folder, "rev-parse", "HEAD")
    assert "-one = 1\n+one = 2\n" in diff
    git(folder, "add", ".")
    provenance.git_state.cache_clear()
    assert "+one = 2" in provenance.git_state(folder)[1]  # staged is not committed


def test_packages_and_machine() -> None:
    import torch

    found = provenance.packages()
    assert found["torch"] == torch.__version__
    assert {"optuna", "mlflow", "pytorch-lightning", "knobs-lab"} <= set(found)
    assert all(provenance.machine().values())
    assert provenance.torch_state()["torch"] == torch.__version__
