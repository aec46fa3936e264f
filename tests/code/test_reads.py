"""What a training reads besides its data is noted, and a change of it is noticed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

PRELUDE = """
import os, sys
from pathlib import Path
from knobs import discover
from knobs.code import training_code
from knobs.code.reads import Reads, collect_reads, install_hooks, noted
discover.activate(Path.cwd())
install_hooks()

def found():
    with noted(Path.cwd() / "store") as notes:
        own = discover.load("models", "own")
        own.build()
    files = {name: path for name, path in training_code(["models.own"]).files.items()}
    return collect_reads(notes, files)
"""

SAME_AND_OTHER = """
before = found()
assert bool(before), before
assert Reads.from_json(before.to_json()) == before
assert before.difference() == "", before
{change}
assert before.difference() == {name!r}, (before, before.difference())
"""

READS = {
    "weights": ('np.load("start.npy")', 'np.save("start.npy", np.ones(3))', "start.npy"),
    "a text": ('open("a.txt").read()', 'Path("a.txt").write_text("b")', "a.txt"),
    "a text by its path": ("(Path(__file__).parents[1] / 'a.txt').read_text()", 'Path("a.txt").unlink()', "a.txt"),
    "a folder": ("sorted(Path('.').glob('folder/*'))", 'Path("folder/new").write_text("")', "folder/"),
    "a listed folder": ("os.listdir('folder')", 'Path("folder/new").write_text("")', "folder/"),
    "sqlite": ("sqlite3.connect('a.db').close()", 'Path("a.db").write_text("other")', "a.db"),
    "a variable": ('os.environ["SCALE"]', 'os.environ["SCALE"] = "2"', "environment variable SCALE"),
    "a variable by getenv": ('os.getenv("SCALE")', 'os.environ.pop("SCALE")', "environment variable SCALE"),
    "an unset variable": ('os.environ.get("NONE", "1")', 'os.environ["NONE"] = "2"', "environment variable NONE"),
    "whether it is set": ('"NONE" in os.environ', 'os.environ["NONE"] = "2"', "environment variable NONE"),
    "code by its path": (
        "importlib.util.spec_from_file_location('x', 'loose.py').loader.get_data('loose.py')",
        'Path("loose.py").write_text("A = 2")',
        "loose.py",
    ),
}  # fmt: skip
IMPORTS = "import importlib.util, os, sqlite3, subprocess, socket\nfrom pathlib import Path\nimport numpy as np\n"


def write(project: Path, at_import: str = "", in_build: str = "") -> None:
    for folder in ("models", "studies", "folder", "store"):
        (project / folder).mkdir()
    (project / "a.txt").write_text("a")
    packages = project / "site-packages"
    packages.mkdir()
    (packages / "package_that_reads.py").write_text(f"open({str(project / 'a.txt')!r}).read()")
    (project / "loose.py").write_text("A = 1")
    (project / "store" / "own.npy").write_text("")
    code = f"{IMPORTS}{at_import}\ndef build():\n    {in_build or 'pass'}\n"
    (project / "models" / "own.py").write_text(code)
    with closing(sqlite3.connect(project / "a.db")) as connection:
        connection.execute("create table a (b)")
    np.save(project / "start.npy", np.zeros(3))


def run(code: str, project: Path) -> None:
    packages = os.pathsep.join([str(project / "site-packages"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "SCALE": "1", "KNOBS_ROOT": str(project), "PYTHONPATH": packages}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["at_import", "in_build"])
@pytest.mark.parametrize("read", READS)
def test_a_read_is_noted_and_its_change_noticed(read: str, place: str, tmp_path: Path) -> None:
    statement, change, name = READS[read]
    write(tmp_path, **{place: statement})
    run(PRELUDE + "import numpy as np\n" + SAME_AND_OTHER.format(change=change, name=name), tmp_path)


NOT_READS = {
    "what a package reads while it is imported": "import package_that_reads",
    "nothing": "1 + 1",
    "what it wrote": "Path('mine.txt').write_text('a'); Path('mine.txt').read_text()",
    "its own code": "Path(__file__).read_text()",
    "the store": "open('store/own.npy').read()",
    "the machine": "open('/proc/cpuinfo').read()",
    "a variable of knobs": "os.environ['KNOBS_ROOT']",
    "a library's file": "open(np.__file__).read()",
    "a variable that a library asks for": "__import__('tempfile')._candidate_tempdir_list()",
}


@pytest.mark.parametrize("read", NOT_READS)
def test_other_reads_are_not_noted(read: str, tmp_path: Path) -> None:
    write(tmp_path, in_build=NOT_READS[read])
    run(PRELUDE + "assert not found(), found()", tmp_path)


UNPROVEN = {
    "process": ("subprocess.run(['true'], check=True)", "it starts another process"),
    "network": (
        "import contextlib\n    with contextlib.suppress(OSError): socket.create_connection(('127.0.0.1', 9), 1)",
        "it connects to a network address",
    ),
}


@pytest.mark.parametrize("what", UNPROVEN)
def test_reads_that_cannot_be_known_are_said(what: str, tmp_path: Path) -> None:
    statement, reason = UNPROVEN[what]
    write(tmp_path, in_build=statement)
    run(PRELUDE + f"assert found().unproven == ({reason!r},), found()", tmp_path)
