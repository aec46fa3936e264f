"""Arrays are those of now: no way of reading a table gives an old answer, and none is taken for a random one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import python

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("current")]

TABLE = '''"""A table."""

import functools, glob, io, json, multiprocessing, os, pickle, sqlite3, subprocess, sys, zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from knobs import DataConfig, DataSpec, Split, Splits, part

DATA = Path(__file__).resolve().parents[1] / "data"
{before}


@part
class Table(DataConfig):
    """Rows of numbers."""

    batch_size: int = 4

    def spec(self) -> DataSpec:
        {spec}
        return DataSpec(task="regression", layout="vector", shape=(1,), outputs=1, metric="r2")

    def load(self) -> Splits:
        rows = np.asarray({read}, dtype=np.float64).reshape(-1)
        x = rows[:, None]
        return Splits(train=Split(x, 2 * x), val=Split(x[:5], x[:5]), test=Split(x[5:], x[5:]))
'''


@dataclass(frozen=True)
class Way:
    """A way of reading a table, and how the table is written."""

    read: str
    """An expression: the rows."""
    write: str
    """A statement that writes `rows`; it runs in the folder `data`."""
    before: str = ""
    """Statements of the module."""
    spec: str = "pass"
    """A statement in `spec()`."""


CSV = 'pd.DataFrame({"a": rows}).to_csv("t.csv", index=False)'
WAYS = {
    "read_csv": Way('pd.read_csv(DATA / "read_csv.csv")', CSV.replace("t.csv", "read_csv.csv")),
    "read_parquet": Way('pd.read_parquet(DATA / "p.parquet")', 'pd.DataFrame({"a": rows}).to_parquet("p.parquet")'),
    "pyarrow": Way(
        'pyarrow.parquet.read_table(DATA / "q.parquet")["a"].to_numpy()',
        'pd.DataFrame({"a": rows}).to_parquet("q.parquet")',
        "import pyarrow.parquet",
    ),
    "sqlite3": Way(
        '[row for row, in sqlite3.connect(DATA / "t.db").execute("select a from t")]',
        'with sqlite3.connect("t.db") as c: pd.DataFrame({"a": rows}).to_sql("t", c, index=False, if_exists="replace")',
    ),
    "at import": Way("ROWS", CSV.replace("t.csv", "i.csv"), 'ROWS = pd.read_csv(DATA / "i.csv")'),
    "in spec": Way(
        "table()",
        CSV.replace("t.csv", "s.csv"),
        '@functools.cache\ndef table():\n    return pd.read_csv(DATA / "s.csv")',
        "table()",
    ),
    "glob": Way(
        'pd.concat([pd.read_csv(path) for path in sorted(DATA.glob("many/*.csv"))])',
        'os.makedirs("many", exist_ok=True); pd.DataFrame({"a": rows}).to_csv(f"many/{rows[0]}.csv", index=False)',
    ),
    "environment variable": Way('float(os.environ["SHIFT"]) + np.arange(9)', "pass"),
    "settings": Way(
        'json.loads((DATA / "settings.json").read_text())["shift"] + np.arange(9)',
        'open("settings.json", "w").write(json.dumps({"shift": rows[0]}))',
    ),
    "subprocess": Way(
        'subprocess.run(["cat", DATA / "c.csv"], capture_output=True, text=True).stdout.split()[1:]',
        CSV.replace("t.csv", "c.csv"),
    ),
    "pool": Way(
        'multiprocessing.get_context("fork").Pool(1).map(pd.read_csv, [DATA / "m.csv"])[0]',
        CSV.replace("t.csv", "m.csv"),
    ),
    "helper module": Way(
        "helper.rows()",
        CSV.replace("t.csv", "h.csv"),
        "sys.path.insert(0, str(DATA.parent))\nimport helper",
    ),
    "memmap": Way(
        'np.memmap(DATA / "t.bin", dtype=np.float64, mode="r")', 'np.asarray(rows, dtype=float).tofile("t.bin")'
    ),
    "pickle": Way('pickle.load(open(DATA / "t.pkl", "rb"))', 'pickle.dump(rows, open("t.pkl", "wb"))'),
    "HDF5": Way(
        'h5py.File(DATA / "t.h5")["a"][:]',
        'import h5py\nwith h5py.File("t.h5", "w") as f: f["a"] = np.asarray(rows, dtype=float)',
        "import h5py",
    ),
    "zip": Way(
        'pd.read_csv(io.BytesIO(zipfile.ZipFile(DATA / "t.zip").read("t.csv")))',
        'with zipfile.ZipFile("t.zip", "w") as z: z.writestr("t.csv", pd.DataFrame({"a": rows}).to_csv(index=False))',
    ),
}
HELPER = "import pandas as pd\ndef rows(): return pd.read_csv(__file__.replace('helper.py', 'data/h.csv'))\n"

WRITE = """
import io, json, os, pickle, sqlite3, sys, warnings, zipfile
import numpy as np, pandas as pd
warnings.simplefilter("ignore")
ways = json.loads(sys.argv[1])
shift = float(sys.argv[2])
os.makedirs("data", exist_ok=True)
os.chdir("data")
for write in ways:
    exec(write, {**globals(), "rows": [shift + i for i in range(9)]})
"""
LOAD = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from knobs import discover
from knobs.config import DataConfig
from knobs.data import about_prepared, begin_launch, prepare
discover.activate(discover.project_root())
begin_launch(fresh=len(sys.argv) > 2)
found = {}
for kind in json.loads(sys.argv[1]):
    config = discover.config_class("datamodules", kind, DataConfig)()
    fingerprint = prepare(config, Path("cache"))
    found[kind] = [fingerprint, about_prepared(config, Path("cache")).warnings]
print("found", json.dumps(found))
"""

KINDS = {name: name.replace(" ", "_").lower() for name in WAYS}

Loaded = dict[str, tuple[str, list[str]]]
"""Fingerprint and warnings by kind."""


@dataclass(frozen=True)
class Loads:
    """The same data sets in four launches."""

    first: Loads
    unchanged: Loads
    changed: Loads
    back: Loads


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory) -> Loads:
    project = tmp_path_factory.mktemp("current")
    for folder in ("datamodules", "studies"):
        (project / folder).mkdir()
    (project / "helper.py").write_text(HELPER)
    for name, way in WAYS.items():
        text = TABLE.format(before=way.before, spec=way.spec, read=way.read)
        (project / "datamodules" / f"{KINDS[name]}.py").write_text(text)

    def write(shift: str) -> None:
        done = python(WRITE, json.dumps([way.write for way in WAYS.values()]), shift, store=project, cwd=project)
        assert done.code == 0, done

    def load(shift: str) -> Loads:
        done = python(LOAD, json.dumps([*KINDS.values()]), store=project / "store", cwd=project, SHIFT=shift)
        assert done.code == 0, done
        found: Loads = json.loads(done.out.partition("found ")[2])
        return found

    write("1")
    first, unchanged = load("1"), load("1")
    write("2")
    changed = load("2")
    write("1")
    return Loads(first, unchanged, changed, load("1"))


@pytest.mark.parametrize("way", WAYS)
def test_a_changed_table_is_read_again(way: str, loads: Loads) -> None:
    kind = KINDS[way]
    assert loads.changed[kind][0] != loads.first[kind][0]


@pytest.mark.parametrize("way", WAYS)
def test_an_unchanged_table_gives_the_same_and_is_not_called_random(way: str, loads: Loads) -> None:
    kind = KINDS[way]
    assert loads.unchanged[kind][0] == loads.first[kind][0]
    if way != "glob":  # its folder has a file more
        assert loads.back[kind][0] == loads.first[kind][0]
    for found in (loads.first, loads.unchanged, loads.changed, loads.back):
        assert not any("seed" in warning for warning in found[kind][1])


def test_a_data_set_that_draws_without_a_seed_is_said(tmp_path: Path) -> None:
    for folder in ("datamodules", "studies"):
        (tmp_path / folder).mkdir()
    text = TABLE.format(before="", spec="pass", read="np.random.default_rng().normal(size=9)")
    (tmp_path / "datamodules" / "drawn.py").write_text(text)
    done = python(LOAD, '["drawn"]', store=tmp_path / "store", cwd=tmp_path)
    found: Loads = json.loads(done.out.partition("found ")[2])
    assert any("draws without a seed" in warning for warning in found["drawn"][1])


PROMISED = """
    def files(self):
        return {files}
"""


@pytest.mark.parametrize("files", ['[DATA / "t.csv"]', "[]", "None"], ids=["kept", "broken", "none"])
def test_a_promise_of_files_is_kept_or_not_believed(files: str, tmp_path: Path) -> None:
    """A data set that promises its files is answered from disk; one whose promise is broken is loaded each time."""
    for folder in ("datamodules", "studies", "data"):
        (tmp_path / folder).mkdir()
    text = TABLE.format(before="", spec="pass", read='(print("loads"), pd.read_csv(DATA / "t.csv"))[1]')
    (tmp_path / "datamodules" / "t.py").write_text(text + PROMISED.format(files=files))
    prints: list[int] = []
    fingerprints: list[str] = []
    for shift in (1, 1, 2):
        rows = "\n".join(["a", *(str(shift + i) for i in range(9))])
        (tmp_path / "data" / "t.csv").write_text(f"{rows}\n")
        done = python(LOAD, '["t"]', store=tmp_path / "store", cwd=tmp_path)
        assert done.code == 0, done
        prints.append(done.out.count("loads\n"))
        fingerprints.append(json.loads(done.out.partition("found ")[2])["t"][0])
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert bool(prints[1]) == (files != '[DATA / "t.csv"]')
    assert prints[2] >= 1
