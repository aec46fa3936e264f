"""The wheel installs one package, `knobs`, with all shipped content inside it, and runs outside the repository."""

import os
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from support import ROOT, environment

from knobs import Study, discover
from knobs.code import training_code_hash

pytestmark = pytest.mark.slow

STUDY = "mnist1d_mlp"


def build(builder: Path, source: Path, target: str, out: Path) -> Path:
    """Build a wheel or a source distribution with hatchling. Return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    environ = {**os.environ, "PYTHONPATH": str(builder), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=source, env=environ, check=True, capture_output=True)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with hatchling in it."""
    folder = tmp_path_factory.mktemp("hatchling")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "hatchling"]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(builder, ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel in it. It borrows all dependencies from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return python


def test_the_wheel_has_one_top_level_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"knobs"}


def test_the_wheel_holds_the_engine_and_all_content_except_reports(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("knobs/")}
    folders = {ROOT / "knobs": "knobs", **{ROOT / folder: f"knobs/content/{folder}" for folder in discover.FOLDERS}}
    files = {
        f"{inside}/{path.relative_to(folder).as_posix()}"
        for folder, inside in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ROOT / "experiments" / "reports" not in path.parents
    }
    assert names == files
    assert {name for name in files if name.endswith(".csv.gz")}


def test_the_source_distribution_builds_the_same_wheel(builder: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(builder, ROOT, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert build(builder, source, "wheel", tmp_path / "wheel").read_bytes() == wheel.read_bytes()


def test_shipped_content_is_imported_outside_the_repository(python: Path, tmp_path: Path) -> None:
    code = "import knobs; from models.mlp import MLP; from optimizers.sgd import SGD"
    code += "; import models; print(MLP.__module__, SGD.__module__); print(*models.__path__)"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=True
    )
    modules, path = done.stdout.decode().splitlines()
    assert modules == "models.mlp optimizers.sgd"
    assert Path(path).is_relative_to(python.parents[1])
    listed = subprocess.run(
        [python.with_name("knobs"), "list"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=True
    )
    names = {line.split()[0] for line in listed.stdout.decode().splitlines() if line.startswith("  ")}
    assert names >= {name for folder in discover.FOLDERS for name in discover.files(folder, ROOT)}


def test_a_run_from_the_wheel_has_the_code_hash_of_the_repository(python: Path, tmp_path: Path) -> None:
    command = [python.with_name("knobs"), "run", STUDY, "--training.max_steps", "20", "--devices", "cpu:1"]
    store = tmp_path / "store"
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(store), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done
    with sqlite3.connect(store / "mlflow.db") as connection:
        tags = dict(connection.execute("select key, value from tags where key in ('knobs.code', 'knobs.config')"))
    study = discover.the_one(discover.load("studies", STUDY), Study)
    assert tags["knobs.config"] == study.baseline.with_knobs({"training.max_steps": 20}).hash()
    assert tags["knobs.code"] == training_code_hash(study.baseline.content())
