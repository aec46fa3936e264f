"""Which changes of code change the hash that a run is recorded under."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT

from knobs import discover

HASH = """
from knobs.code import training_code_hash
print(training_code_hash(["models.{model}", "datamodules.toy", "optimizers.sgd", "schedules.cosine"]))
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
    return run_in(tree, HASH.format(model=model), cwd, also)


def run_in(tree: Path, code: str, cwd: Path | None = None, also: Path | None = None, *, bytecode: bool = False) -> str:
    """Run code in a process that imports knobs from `tree`. Return what it prints."""
    paths = os.pathsep.join(map(str, [tree, *([also] if also else [])]))
    environment = {**os.environ, "PYTHONPATH": paths, **({} if bytecode else {"PYTHONDONTWRITEBYTECODE": "1"})}
    environment.pop("KNOBS_ROOT", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd or tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
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


DYNAMIC = {
    "import_module": 'importlib.import_module("models._mine")',
    "import_module of the package": 'importlib.import_module("._mine", "models")',
    "import_module of this package": 'importlib.import_module("._mine", __package__)',
    "__import__": '__import__("models._mine")',
    "the else of type checking": """if TYPE_CHECKING:
    import models._typed
else:
    import models._mine""",
}


@pytest.mark.parametrize("statement", DYNAMIC.values(), ids=DYNAMIC)
def test_a_module_that_is_named_by_a_text_is_followed(statement: str, tree: Path, tmp_path: Path) -> None:
    for room in ("models", "studies"):
        (tmp_path / room).mkdir()
    imports = "import importlib\nfrom typing import TYPE_CHECKING\n"
    (tmp_path / "models" / "own.py").write_text(f'"""Mine."""\n{imports}{statement}\n')
    (tmp_path / "models" / "_typed.py").write_text("value = 1\n")
    (tmp_path / "models" / "_mine.py").write_text("value = 1\n")
    before = hash_in(tree, "own", tmp_path)
    (tmp_path / "models" / "_typed.py").write_text("value = 2\n")
    assert hash_in(tree, "own", tmp_path) == before
    (tmp_path / "models" / "_mine.py").write_text("value = 2\n")
    assert hash_in(tree, "own", tmp_path) != before


# Code in memory

IN_MEMORY = """
import sys
from pathlib import Path
from knobs import discover
from knobs.code import changed_modules, collect_code, forget_project_modules, restore_project_modules
discover.activate(discover.project_root())
discover.load("models", "own")
first = collect_code(["models.own"])
assert changed_modules() == {}
{edit}
assert changed_modules().keys() == {changed}, changed_modules()
assert collect_code(["models.own"]).hash == first.hash  # what was imported
old = forget_project_modules()
assert collect_code(["models.own"]).hash {relation} first.hash  # what is on disk
restore_project_modules(old)
assert collect_code(["models.own"]).hash == first.hash
assert sys.modules["models.own"].VALUE == 1
"""

EDITS = {
    "a value, at the same second and size": ('own.write_text(own.read_text().replace("VALUE = 1", "VALUE = 2"))', "!="),
    "a helper": ('Path("models/_mine.py").write_text("MINE = 2")', "!="),
    "nothing": ("own.write_text(own.read_text())", "=="),
    "removed": ("own.unlink()", "!="),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_hash_is_that_of_the_code_that_was_imported(edit: str, tree: Path, tmp_path: Path) -> None:
    for room in ("models", "studies"):
        (tmp_path / room).mkdir()
    (tmp_path / "models" / "own.py").write_text("from models import _mine\nVALUE = 1\n")
    (tmp_path / "models" / "_mine.py").write_text("MINE = 1")
    change, relation = EDITS[edit]
    changed = {"!=": {"models._mine"} if edit == "a helper" else {"models.own"}, "==": set()}[relation]
    code = IN_MEMORY.replace("{edit}", f'own = Path("models/own.py")\n{change}').replace("{relation}", relation)
    run_in(tree, code.replace("{changed}", repr(changed)), tmp_path)


def test_code_that_is_compiled_a_moment_ago_is_not_taken_for_the_code_of_now(tree: Path, tmp_path: Path) -> None:
    for room in ("models", "studies"):
        (tmp_path / room).mkdir()
    own = tmp_path / "models" / "own.py"
    load = "from knobs import discover; discover.activate(discover.project_root())\n"
    for value in (1, 2):
        own.write_text(f"VALUE = {value}\n")
        os.utime(own, (1e9, 1e9))  # the same second, the same size: Python would take the .pyc of the first one
        run_in(tree, f"{load}assert discover.load('models', 'own').VALUE == {value}", tmp_path, bytecode=True)


def test_code_that_no_source_names_is_said(tmp_path: Path, tree: Path) -> None:
    for room in ("models", "studies"):
        (tmp_path / room).mkdir()
    text = 'import importlib\nNAME = "json"\nimportlib.import_module(NAME)\nexec("a = 1")\nnet.eval()\nimport h5py\n'
    (tmp_path / "models" / "own.py").write_text(text)
    code = """
from knobs.code import training_code
found = training_code(["models.own"])
assert [place.rpartition(":")[2] for place in found.dynamic] == ["3", "4"], found.dynamic
assert "h5py" in found.libraries
assert training_code(["models.mlp"]).dynamic == ()
"""
    run_in(tree, code, tmp_path)
