"""Content is found by file name from the project root upward. An error in a file is reported in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

from knobs import BadInputError, ModelConfig, Study, discover


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project as the current folder; afterwards the imported packages are restored."""
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


# In another process, as in a script or a notebook


def output_of(code: str, cwd: Path, **more: str) -> str:
    """Return the output of a new interpreter in this folder. Fail if it warns or raises."""
    environment = {name: value for name, value in os.environ.items() if name not in ("KNOBS_ROOT", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd,
        env={**environment, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def project_with(folder: Path, **files: str) -> Path:
    """Write a project with these schedule files. (Schedules, because importing a model takes a second.)"""
    for room in ("studies", "schedules"):
        (folder / room).mkdir(parents=True)
    for name, text in files.items():
        (folder / "schedules" / f"{name}.py").write_text(text)
    return folder


def test_import_knobs_alone_makes_shipped_content_importable_from_any_folder(tmp_path: Path) -> None:
    code = "import knobs; from models.mlp import MLP; from optimizers.sgd import SGD; print(MLP.kind, MLP().width)"
    assert output_of(code, tmp_path) == "mlp 100"
    assert output_of(code, ROOT / "docs") == "mlp 100"


def test_a_script_imports_content_from_its_current_project(tmp_path: Path) -> None:
    project = project_with(tmp_path / "project", own="NAME = 'own'\n", cosine="NAME = 'mine'\n")
    (project / "notes").mkdir()
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "import knobs\nfrom schedules import cosine, own, step\nprint(cosine.NAME, own.NAME, step.Step.kind)"
    )
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    assert output_of(code, project) == "mine own step"
    assert output_of(code, project / "notes") == "mine own step"  # the search for the root goes upward
    assert output_of(code, tmp_path, KNOBS_ROOT=str(project)) == "mine own step"


def test_a_class_imported_before_the_first_command_is_the_class_that_commands_use(tmp_path: Path) -> None:
    project = project_with(tmp_path / "project", own="from schedules.step import Step\n")
    code = """
import knobs
from schedules.step import Step
from schedules.own import Step as same
from knobs import discover
discover.activate(discover.project_root())
import schedules.step
print(Step is same is schedules.step.Step is discover.config_class("schedules", "step", knobs.ScheduleConfig))
"""
    assert output_of(code, project) == "True"


def test_a_projects_own_file_wins_over_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    own = "from knobs import ScheduleConfig, part\n@part\nclass Mine(ScheduleConfig):\n    pass\n"
    project = project_with(tmp_path / "project", cosine=own)
    code = """
from knobs import ScheduleConfig, discover
from schedules.cosine import Mine
import schedules.cosine
print(schedules.cosine.__file__, Mine is discover.config_class("schedules", "cosine", ScheduleConfig))
"""
    assert output_of(code, project) == f"{project / 'schedules' / 'cosine.py'} True"
    assert output_of("import knobs; from schedules.cosine import Cosine; print(Cosine.kind)", tmp_path) == "cosine"


def test_a_projects_own_package_code_runs_once_and_shipped_files_stay_beside_it(tmp_path: Path) -> None:
    package = "from schedules.own import Mine as Renamed\nprint('once')\n"
    project = project_with(tmp_path / "project", __init__=package, own="class Mine: pass\n")
    code = """
import knobs
from schedules import Renamed
from schedules.step import Step
from schedules.own import Mine
from knobs import discover
print(Mine is Renamed, Step.kind, "__init__" in discover.files("schedules"), "own" in discover.files("schedules"))
"""
    assert output_of(code, project).split() == ["once", "True", "step", "False", "True"]


def test_package_code_that_fails_is_bad_input_in_one_line(tmp_path: Path) -> None:
    project = project_with(tmp_path / "project", __init__="1 / 0\n", own="class Mine: pass\n")
    code = """
from knobs import BadInputError, discover
try:
    discover.load("schedules", "own")
except BadInputError as error:
    print(error)
"""
    said = output_of(code, project)
    schedules = project / "schedules"
    assert said == (
        f"{schedules / 'own.py'} does not import: ZeroDivisionError: division by zero (schedules/__init__.py:1)"
    )


def test_two_projects_in_one_process_are_kept_apart(tmp_path: Path) -> None:
    one = project_with(tmp_path / "one", net="NAME = 'one'\n")
    two = project_with(tmp_path / "two", net="NAME = 'two'\n", __init__="WHOSE = 'two'\n")
    code = f"""
from pathlib import Path
from knobs import discover
for root in ({str(one)!r}, {str(two)!r}, {str(one)!r}):
    discover.activate(Path(root))
    import schedules
    from schedules import net, step
    print(net.NAME, getattr(schedules, "WHOSE", "nobody"))
"""
    assert output_of(code, tmp_path).splitlines() == ["one nobody", "two two", "one nobody"]


def test_another_installed_package_of_the_name_never_stands_before_content(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "schedules").mkdir(parents=True)
    (site / "schedules" / "__init__.py").write_text("raise AssertionError('the wrong schedules')")
    code = "import knobs; from schedules.step import Step; print(Step.kind)"
    assert output_of(code, tmp_path, PYTHONPATH=str(site)) == "step"


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
    assert "studies/broken.py" in str(caught.value)
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
from knobs import ModelConfig, part
from models.mlp import MLP  # imported, so not defined in this file
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
