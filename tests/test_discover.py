"""Content is found by file name from the project root upward, and what is wrong with a file is said in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

from knobs import discover
from knobs.config import ModelConfig
from knobs.errors import BadInputError
from knobs.study import Study


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, current; the packages are put back afterwards."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KNOBS_ROOT", raising=False)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in discover.FOLDERS}
    _forget()
    discover.activate(tmp_path)
    yield tmp_path
    _forget()
    sys.modules.update(before)
    discover.activate(ROOT)


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in discover.FOLDERS]:
        del sys.modules[name]


def test_the_root_is_the_nearest_folder_upward_with_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KNOBS_ROOT", raising=False)
    deep = tmp_path / "outer" / "inner" / "a" / "b"
    deep.mkdir(parents=True)
    assert discover.project_root(deep) == deep
    (tmp_path / "outer" / "experiments").mkdir()
    assert discover.project_root(deep) == tmp_path / "outer"
    (tmp_path / "outer" / "inner" / "studies").mkdir()
    assert discover.project_root(deep) == tmp_path / "outer" / "inner"
    (deep / "models").mkdir()  # models alone make no root
    assert discover.project_root(deep) == tmp_path / "outer" / "inner"
    monkeypatch.chdir(deep)
    assert discover.project_root() == tmp_path / "outer" / "inner"
    monkeypatch.setenv("KNOBS_ROOT", str(tmp_path))
    assert discover.project_root() == tmp_path


def test_the_projects_own_files_shadow_the_installed_ones(project: Path) -> None:
    (project / "models" / "mlp.py").write_text('"""Mine."""\n')
    (project / "models" / "other.py").write_text('"""Another."""\n')
    found = discover.files("models")
    assert found["mlp"] == project / "models" / "mlp.py"
    assert {"other", "rnn", "resnet"} <= set(found)
    assert list(found) == sorted(found)
    assert discover.load("models", "mlp").__doc__ == "Mine."
    assert discover.load("models", "rnn").__file__ == str(ROOT / "models" / "rnn.py")


def test_private_hidden_and_broken_entries_are_no_content(project: Path) -> None:
    (project / "studies" / "_shared.py").write_text("")
    (project / "studies" / ".hidden.py").write_text("")
    (project / "studies" / ".#open.py").symlink_to("user@host.1234")  # an editor's lock
    (project / "studies" / "folder.py").mkdir()
    (project / "studies" / "notes.txt").write_text("")
    assert set(discover.files("studies")) == {path.stem for path in (ROOT / "studies").glob("[!_]*.py")}


def test_names_from_outside_never_stand_before_ours(project: Path) -> None:
    """Another installed distribution may well have a package named `models`."""
    other = project / "site"
    (other / "models").mkdir(parents=True)
    (other / "models" / "__init__.py").write_text("raise AssertionError('the wrong models')")
    code = (
        "from pathlib import Path; from knobs import discover; discover.activate(Path.cwd())\n"
        "from models.mlp import MLP; print(MLP.kind)"
    )
    environment = {**os.environ, "PYTHONPATH": str(other)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout.strip(), done.stderr) == ("mlp", "")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ('"""One line."""', "One line."),
        ('"""First.\n\nMore."""\nimport nothing_at_all', "First."),
        ("x = 1", ""),
        ("def f(:\n", "(cannot be read: invalid syntax"),
        ("x = '\0'", "(cannot be read: source code"),
    ],
)
def test_a_summary_is_read_not_imported(tmp_path: Path, text: str, summary: str) -> None:
    (tmp_path / "f.py").write_text(text)
    found = discover.summary(tmp_path / "f.py")
    assert found.startswith(summary)
    assert bool(found) == bool(summary)
    assert "\n" not in found


def test_a_file_of_another_encoding_is_listed(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_bytes(b'"""caf\xe9"""')
    assert discover.summary(tmp_path / "f.py").startswith("(cannot be read")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("import nothing_at_all", "No module named 'nothing_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('one\\ntwo\\nthree\\nfour\\nfive')", "ValueError: one"),
        ("raise SystemExit('out')", "SystemExit: out"),
        ("from models.mlp import MLP\nMLP(widht=3)", "model.widht: mlp has no such knob; did you mean width?"),
    ],
)
def test_a_file_that_fails_is_named_in_one_line(project: Path, text: str, said: str) -> None:
    (project / "studies" / "broken.py").write_text(text)
    with pytest.raises(BadInputError) as caught:
        discover.load("studies", "broken")
    assert str(project / "studies" / "broken.py") in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_get_the_nearest(project: Path) -> None:
    for attempt in (
        lambda: discover.load("models", "mpl"),
        lambda: discover.config_class("models", "mpl", ModelConfig),
    ):
        with pytest.raises(BadInputError, match=r"no model named 'mpl'; did you mean mlp\?"):
            attempt()
    with pytest.raises(BadInputError, match=r"no study or ablation named 'credit_mpl'; did you mean credit_mlp\?"):
        discover.find_file("credit_mpl")
    for name in ("../studies/credit_mlp", "studies.credit_mlp", "", "_shared"):
        with pytest.raises(BadInputError, match="no study or ablation named"):
            discover.find_file(name)


def test_one_name_in_studies_and_experiments_is_refused(project: Path) -> None:
    (project / "experiments").mkdir()
    for folder in ("studies", "experiments"):
        (project / folder / "same.py").write_text("")
    with pytest.raises(BadInputError, match="names both a study and an ablation"):
        discover.find_file("same")


MODEL = """
from knobs.config import ModelConfig, part
from models.mlp import MLP  # imported: not this file's own
@part
class {name}(ModelConfig):
    pass
"""


def test_a_file_must_hold_exactly_one_of_what_is_wanted(project: Path) -> None:
    (project / "models" / "one.py").write_text(MODEL.format(name="One"))
    assert discover.config_class("models", "one", ModelConfig).kind == "one"
    (project / "models" / "two.py").write_text(MODEL.format(name="A") + MODEL.format(name="B"))
    (project / "models" / "none.py").write_text("from models.mlp import MLP")
    for name, number in (("two", 2), ("none", 0)):
        with pytest.raises(BadInputError, match=f"{name}.py: expected one ModelConfig, found {number}"):
            discover.config_class("models", name, ModelConfig)
    (project / "studies" / "empty.py").write_text("")
    with pytest.raises(BadInputError, match=r"empty\.py: expected one Study, found 0"):
        discover.the_one(discover.load("studies", "empty"), Study)
