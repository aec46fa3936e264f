"""The files that a data set was read from: a replaced file never gives old arrays."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support import quick

from knobs import BadInputError, DataConfig, DataSpec, Split, Splits, part
from knobs.data import cached_fingerprint, check_loads, open_prepared, prepare
from knobs.data.files_read import file_hash, load_arrays


@cache
def remembered(path: str) -> str:
    return Path(path).read_text()


@part
class FromFile(DataConfig):
    """Numbers read from a file, perhaps kept in memory."""

    file: str
    way: str = "open"
    rows: int = 4

    def spec(self) -> DataSpec:
        return DataSpec(task="regression", layout="vector", shape=(1,), outputs=1, metric="r2")

    def load(self) -> Splits:
        if self.way == "descriptor":
            handle = os.open(self.file, os.O_RDONLY)
            text = os.read(handle, 1000).decode()
            os.close(handle)
        else:
            text = remembered(self.file) if self.way == "remembered" else Path(self.file).read_text()
        x = np.array([float(word) for word in text.split()], dtype=np.float32)[: self.rows, None]
        return Splits(train=Split(x, x), val=Split(x, x), test=Split(x, x))


@pytest.mark.parametrize("way", ["open", "descriptor"])
def test_a_replaced_file_is_read_again_and_the_old_arrays_stay(way: str, tmp_path: Path) -> None:
    file, store = tmp_path / "numbers.csv", tmp_path / "cache"
    file.write_text("1 2 3 4")
    config = FromFile(file=str(file), way=way)
    old = prepare(config, store)
    assert cached_fingerprint(config, store) == old == prepare(config, store)
    before = file.stat()
    file.write_text("5 2 3 4")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size and time as before
    assert cached_fingerprint(config, store) == ""
    new = prepare(config, store)
    assert new != old
    assert open_prepared(config, store).train.x[0] == 5
    assert open_prepared(config, store, old).train.x[0] == 1  # a worker reads the arrays that its driver fingerprinted
    with pytest.raises(BadInputError, match="changed from abc to"):
        open_prepared(config, store, "abc")
    file.write_text("1 2 3 4")
    assert prepare(config, store) == old


def test_what_a_data_set_keeps_in_memory_counts_as_read(tmp_path: Path) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text("1 2 3 4")
    for rows in (4, 3):  # the second load does not read the file
        made = load_arrays(FromFile(file=str(file), way="remembered", rows=rows))
        assert made.files_read[str(file)] == file_hash(str(file))


def test_what_is_written_or_is_code_is_no_source(tmp_path: Path) -> None:
    @part
    class Writes(FromFile):
        def load(self) -> Splits:

            Path(self.file + ".log").write_text("noise")
            return super().load()

    file = tmp_path / "numbers.csv"
    file.write_text("1 2 3 4")
    found = load_arrays(Writes(file=str(file))).files_read
    assert str(file) in found
    assert str(file) + ".log" not in found
    assert not [path for path in found if path.endswith((".py", ".pyc"))]


def test_a_data_set_that_raises_is_bad_input_and_checked_without_a_trace(tmp_path: Path) -> None:
    config, store = FromFile(file=str(tmp_path / "missing.csv")), tmp_path / "cache"
    with pytest.raises(BadInputError, match=r"test_files_read does not load: FileNotFoundError: .*missing\.csv"):
        check_loads(config, store)
    (tmp_path / "missing.csv").write_text("1 2 3 4")
    check_loads(config, store)
    assert not store.exists()
    assert prepare(config, store) == cached_fingerprint(config, store) != ""


OWN = '''"""A table of one's own."""

from pathlib import Path

import numpy as np

from knobs import DataConfig, DataSpec, Split, Splits, part


@part
class Table(DataConfig):
    """Rows of a CSV."""

    def spec(self) -> DataSpec:
        return DataSpec(task="regression", layout="vector", shape=(1,), outputs=1, metric="r2")

    def load(self) -> Splits:
        rows = np.loadtxt(Path(__file__).parent / "table.csv", delimiter=",", dtype=np.float32)
        split = Split(rows[:, :1], rows[:, 1:])
        return Splits(train=split, val=split, test=split)
'''
BASELINE = """
from datamodules.table import Table
from knobs import RunConfig, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=0), data=Table(batch_size=4), optimizer=SGD(lr=0.1), schedule=Constant(),
    training=Training(max_steps=20),
)
"""
STUDY = f'''"""A study."""
{BASELINE}
from knobs import Study


def space(trial, baseline):
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 0.01, 1.0)}})


study = Study(baseline=BASELINE, space=space, metric="val/r2", direction="maximize", trials=1)
'''
ABLATION = f'''"""An ablation."""
{BASELINE}
from knobs import Ablation, Factor


ablation = Ablation(
    question="Deep?", claim="No.", baseline=BASELINE, factors=(Factor.of("model.depth", [0, 1]),),
    nuisance=lambda trial, baseline: baseline.with_knobs(
        {{"optimizer.lr": trial.suggest_float("optimizer.lr", 0.01, 1.0)}}
    ),
    metric="val/r2", direction="maximize", seeds=2, trials=1, claims=(),
)
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder, name, text in (
        ("datamodules", "table", OWN),
        ("studies", "tabled", STUDY),
        ("experiments", "deep", ABLATION),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", [("run", "tabled"), ("study", "tabled"), ("ablate", "deep")], ids=" ".join)
def test_a_data_set_that_does_not_load_is_refused_before_anything_is_written(
    command: tuple[str, str], project: Path
) -> None:
    done = quick(*command, "--devices", "cpu:1", store=project / "store", cwd=project)
    assert done.code == 2, done
    assert "table does not load: FileNotFoundError" in done.err
    assert done.err.count("\n") == 1
    assert not (project / "store").exists()


@pytest.mark.slow
def test_a_run_on_a_replaced_table_is_another_run(project: Path) -> None:
    table, outputs = project / "datamodules" / "table.csv", []
    for text in ("1,2\n2,4\n3,6\n4,8\n", "1,2\n2,4\n3,6\n4,8\n", "1,2\n2,4\n3,6\n4,9\n"):
        table.write_text(text)
        done = quick(
            "study", "tabled", "--devices", "cpu:1", "--as", f"s{len(outputs)}", store=project / "m", cwd=project
        )
        assert done.code == 0, done
        outputs.append(done.out)
    assert ["reused" in text for text in outputs] == [False, True, False]
    again = quick("study", "tabled", "--devices", "cpu:1", "--as", "s1", store=project / "m", cwd=project)
    assert again.code == 0, again
    assert "1 recorded trials were trained on other data; --fresh sets them aside" in again.err


@pytest.mark.slow
def test_an_ablation_says_that_its_runs_are_of_other_data(project: Path) -> None:
    table = project / "datamodules" / "table.csv"
    for text, warned in (("1,2\n2,4\n3,6\n4,8\n", False), ("1,2\n2,4\n3,6\n4,9\n", True)):
        table.write_text(text)
        done = quick("ablate", "deep", "--devices", "cpu:1", store=project / "m", cwd=project)
        assert done.code == 0, done
        assert ("6 recorded runs were trained on other data; --fresh sets them aside" in done.err) == warned, done.err
