"""Prepared arrays belong to the code that made them: changed code never gets the arrays of the old one."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT

OWN = '''"""A data set of the project's own."""

from datamodules._numbers import numbers

from knobs import DataConfig, DataSpec, Split, Splits, part


@part
class Own(DataConfig):
    """Eight numbers, times a constant."""

    def spec(self) -> DataSpec:
        return DataSpec(task="multiclass", layout="vector", shape=(4,), outputs=3, metric="accuracy")

    def files(self):
        return []

    def load(self) -> Splits:
        split = Split(1.0 * numbers(), numbers()[:, 0].astype("int64") % 3)
        return Splits(train=split, val=split, test=split)
'''
NUMBERS = """
import numpy as np


def numbers():
    return np.arange(40, dtype=np.float32).reshape(10, 4)
"""
PREPARE = """
import json, sys
from pathlib import Path
from knobs.data import begin_launch, known_fingerprint, open_prepared, prepare

begin_launch()
from datamodules.own import Own

config, cache = Own(shuffle_features=True), Path(sys.argv[1])
known = known_fingerprint(config, cache)
fingerprint = prepare(config, cache)
opened = open_prepared(config, cache, fingerprint).train
loaded = config.load().train
print(json.dumps([known, fingerprint, opened.x.tolist(), loaded.x.tolist()]))
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the engine, to be changed."""
    folder = tmp_path_factory.mktemp("engine")
    for room in ("knobs", "datamodules"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a data set of its own."""
    folder = tmp_path / "project"
    (folder / "studies").mkdir(parents=True)
    (folder / "datamodules").mkdir()
    (folder / "datamodules" / "own.py").write_text(OWN)
    (folder / "datamodules" / "_numbers.py").write_text(NUMBERS)
    return folder


Rows = list[list[float]]


def prepared(engine: Path, project: Path, cache: Path) -> tuple[str, str, Rows, Rows]:
    """In a new process: the fingerprint before, the one after, the prepared and the loaded inputs of training."""
    environment = {**os.environ, "PYTHONPATH": str(engine), "PYTHONDONTWRITEBYTECODE": "1", "KNOBS_ROOT": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(cache)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    known, fingerprint, x, loaded = json.loads(done.stdout)
    return known, fingerprint, x, loaded


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(source: str) -> str:
        assert old in source
        return source.replace(old, new, 1)

    return change


LOADERS = {
    "the loader": ("own.py", replaced("1.0 * numbers()", "100.0 * numbers()"), 100.0),
    "what the loader imports": ("_numbers.py", replaced("arange(40", "arange(40, 80"), None),
}


@pytest.mark.parametrize(("file", "change", "scale"), LOADERS.values(), ids=LOADERS)
def test_after_an_edit_of_the_loader_nobody_gets_the_old_arrays(
    file: str, change: Callable[[str], str], scale: float | None, engine: Path, project: Path, tmp_path: Path
) -> None:
    before, first, old, _ = prepared(engine, project, tmp_path / "cache")
    assert before == ""
    path = project / "datamodules" / file
    path.write_text(change(path.read_text()))
    known, second, new, loaded = prepared(engine, project, tmp_path / "cache")
    assert known == "", "the old arrays were taken for those of the new code"
    assert second != first
    assert sorted(map(sorted, new)) == sorted(map(sorted, loaded))
    if scale is not None:
        assert new == [[scale * value for value in row] for row in old]


def test_a_comment_in_the_loader_prepares_nothing_again(engine: Path, project: Path, tmp_path: Path) -> None:
    _, first, old, _ = prepared(engine, project, tmp_path / "cache")
    path = project / "datamodules" / "own.py"
    path.write_text(f"# a comment\n{path.read_text()}")
    known, second, new, _ = prepared(engine, project, tmp_path / "cache")
    assert known == second == first
    assert new == old


NEGATIVE = """
_perturb = perturb


def perturb(splits, config):
    from dataclasses import replace

    made = _perturb(splits, config)
    return replace(made, train=replace(made.train, x=-made.train.x))
"""


def test_after_an_edit_of_the_engines_perturbations_nobody_gets_the_old_arrays(
    engine: Path, project: Path, tmp_path: Path
) -> None:
    _, first, old, _ = prepared(engine, project, tmp_path / "cache")
    path = engine / "knobs" / "data" / "perturb.py"
    source = path.read_text()
    try:
        path.write_text(source + NEGATIVE)
        known, second, new, _ = prepared(engine, project, tmp_path / "cache")
    finally:
        path.write_text(source)
    assert known == ""
    assert second != first
    assert new == [[-value for value in row] for row in old]
    known, again, _, _ = prepared(engine, project, tmp_path / "cache")
    assert known == again == first


FROM_FILE = OWN.replace("numbers()", "numbers(__file__)").replace("return []", "return ['datamodules/numbers.csv']")
READ = """
from pathlib import Path

import numpy as np


def numbers(beside):
    return np.loadtxt(Path(beside).with_name("numbers.csv"), dtype=np.float32).reshape(10, 4)
"""


def test_a_copy_of_the_project_with_another_file_gets_its_own_arrays_in_a_shared_store(
    engine: Path, project: Path, tmp_path: Path
) -> None:
    (project / "datamodules" / "own.py").write_text(FROM_FILE)
    (project / "datamodules" / "_numbers.py").write_text(READ)
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    for folder, factor in ((project, 1), (copy, 100)):
        text = "\n".join(str(factor * number) for number in range(40))
        (folder / "datamodules" / "numbers.csv").write_text(text)
    _, first, old, _ = prepared(engine, project, tmp_path / "cache")
    _, second, new, _ = prepared(engine, copy, tmp_path / "cache")
    assert second != first
    assert new == [[100 * value for value in row] for row in old]
