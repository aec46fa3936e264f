"""The command line: it starts fast, accepts exactly its arguments and reports an error in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import KNOBS, ROOT, command, environment, quick

from knobs import BadInputError
from knobs.commands.arguments import SIZES, TIMES, check_name, parse_amount, parse_count, split_knobs
from knobs.commands.main import COMMANDS, dispatch

HEAVY = (
    "torch",
    "pytorch_lightning",
    "lightning",
    "mlflow",
    "optuna",
    "pydantic",
    "numpy",
    "rich",
    "sklearn",
    "pandas",
)
SPY = """
import contextlib, io, json, sys
from knobs.commands import main as cli
found = {}
for arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit, Exception):
        cli.dispatch(arguments)
    heavy = sorted(name for name in json.loads(sys.argv[2]) if name in sys.modules)
    found[" ".join(arguments)] = [out.getvalue(), heavy]
print(json.dumps(found))
"""
LIGHT = [
    ["--help"],
    ["--version"],
    [],
    ["list"],
    ["list", "models"],
    *[[name, "--help"] for name in COMMANDS],
    ["study", "mnist1d_mpl"],
    ["study", "mnist1d_mlp", "--trials", "0"],
]


def test_help_and_list_import_nothing_heavy() -> None:
    arguments = [sys.executable, "-c", SPY, json.dumps(LIGHT), json.dumps(HEAVY)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert {line: heavy for line, (_, heavy) in found.items() if heavy} == {}
    for name in COMMANDS:
        assert name in found["--help"][0]
        assert f"usage: knobs {name}" in found[f"{name} --help"][0]
    assert found[""] == found["--help"]
    listed = found["list"][0]
    assert {"models", "datamodules", "studies", "experiments"} <= set(listed.split())
    for path in (*ROOT.glob("models/*.py"), *ROOT.glob("studies/*.py")):
        assert (path.stem in listed.split()) != path.stem.startswith("_")
    assert "Multilayer perceptron" in found["list models"][0]
    assert "studies" not in found["list models"][0].split()


def test_the_installed_command(tmp_path: Path) -> None:
    done = command("--version", store=tmp_path / "m")
    assert (done.code, done.err) == (0, "")
    assert done.out.strip().count(".") >= 2
    assert command("list", store=tmp_path / "m", cwd=tmp_path).code == 0  # in any folder
    assert list(tmp_path.iterdir()) == []


@pytest.mark.xdist_group("bad input")  # one fork server serves the quick part
def test_the_knobs_of_a_study_are_listed_with_values_and_descriptions(tmp_path: Path) -> None:
    done = quick("run", "credit_mlp", "--help", store=tmp_path / "m")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.out.splitlines()[1:]}
    assert lines["--model.depth"][0] == "2"
    assert lines["--optimizer.lr"][0] == "0.003"
    assert lines["--training.early_stop"][0] == "none"
    assert lines["--model.kind"][0] == "mlp"
    assert {"--seed", "--data.scaling", "--schedule.warmup_steps", "--training.max_steps"} <= set(lines)
    assert all(len(about) == 2 and len(about[1]) > 10 for about in lines.values())


def test_a_closed_pipe_ends_it_without_a_word(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [str(KNOBS), "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**environment(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate(timeout=60)
    assert b"Traceback" not in error
    assert process.returncode in (0, 1)


BROKEN = """
import sys
import knobs.commands.list
from knobs.commands import main as cli
def broken(*_): raise RuntimeError("broken")
knobs.commands.list.execute = broken
sys.argv = ["knobs", "list"]
cli.main()
"""


def test_an_internal_error_is_one_line_and_a_log(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(tmp_path), "TMPDIR": str(tmp_path)},
        check=False,
        timeout=60,
    )
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "internal error: RuntimeError: broken" in done.stderr
    log = Path(done.stderr.split()[-1])
    assert "Traceback" in log.read_text()
    assert log.parent == tmp_path


# Accepted arguments


def test_knobs_are_told_apart_from_options() -> None:
    rest, typed = split_knobs(
        ["study", "x", "--model.width", "7", "--trials", "3", "--optimizer.lr=1e-3", "--seed", "4", "--data.x=a=b"]
    )
    assert rest == ["study", "x", "--trials", "3", "--seed", "4"]
    assert typed == {"model.width": "7", "optimizer.lr": "1e-3", "data.x": "a=b"}
    assert split_knobs(["run", "x", "--seed", "4", "--a.b", "-3"], ("seed",))[1] == {"seed": "4", "a.b": "-3"}


def test_a_hyphen_in_a_knobs_name_stands_for_an_underscore() -> None:
    assert split_knobs(["--optimizer.weight-decay", "0-1", "--dry-run"]) == (
        ["--dry-run"],
        {"optimizer.weight_decay": "0-1"},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--a.b"], "--a.b needs a value"),
        (["--a.b", "--c.d", "1"], "--a.b needs a value"),
        (["--a.b", "1", "--a.b=1"], "--a.b is given twice"),
        (["--a.b_c", "1", "--a.b-c", "1"], "--a.b-c is given twice"),
    ],
)
def test_incomplete_or_doubled_knobs_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        split_knobs(arguments)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "x", "1e3", "9" * 30, "٣x"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(BadInputError, match=r"--trials .*whole number of at least 1"):
        parse_count("--trials", text)


def test_amounts() -> None:
    assert parse_amount("--timeout", "90s", TIMES, "10m") == 90.0
    assert parse_amount("--timeout", "1.5h", TIMES, "10m") == 5400.0
    assert parse_amount("--larger-than", "10M", SIZES, "10M") == 1e7
    for text in ("0m", "-1m", "10x", "m", "", "10 m", "1e3s", "nan"):
        with pytest.raises(BadInputError, match=r"--timeout .*positive amount such as 10m"):
            parse_amount("--timeout", text, TIMES, "10m")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "-x", "a b", "a'b", "ä", "x" * 65, "a\nb"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BadInputError, match="is not a valid name"):
        check_name(name)


REFUSED = [
    (["stduy", "x"], "knobs has no command 'stduy'; did you mean study?"),
    (["list", "modles"], "did you mean models?"),
    (["study"], "the following arguments are required: NAME"),
    (["study", "mnist1d_mlp", "--trails", "4"], "knobs study has no option --trails; did you mean --trials?"),
    (["study", "mnist1d_mlp", "--trial", "4"], "did you mean --trials?"),  # abbreviations are refused
    (["status", "--cvs"], "knobs status has no option --cvs; did you mean --csv?"),
    (["study", "mnist1d_mpl"], "no study or ablation named 'mnist1d_mpl'; did you mean mnist1d_mlp?"),
    (["study", "mnist1d_mlp", "extra"], "extra"),
    (["study", "mnist1d_mlp", "--trials"], "--trials"),
    (["study", "mnist1d_mlp", "--trials", ""], "--trials : expected a whole number"),
    (["study", "mnist1d_mlp", "--as", "../x"], "'../x' is not a valid name"),
    (["study", "mnist1d_mlp", "--timeout", "0"], "--timeout 0: expected a positive amount such as 10m"),
    (["study", "mnist1d_mlp", "--per-device", "0"], "--per-device 0"),
    (["study", "mnist1d_mlp", "--seed", "-1"], "--seed -1"),
    (["run", "mnist1d_mlp", "--per-device", "2"], "knobs run has no option --per-device; did you mean --devices?"),
    (["ablate", "residual_depth", "--model.width", "8"], "--model.width: knobs ablate takes no knobs"),
    (["run"], "needs the name of a study or ablation, or --from RUN_ID"),
    (["run", "mnist1d_mlp", "--from", "abc"], "needs the name of a study or ablation, or --from RUN_ID"),
    (["ui", "--port", "x"], "--port x"),
    (["clean", "--older-than", "0d"], "--older-than 0d"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_a_wrong_command_line_is_refused_before_anything_is_done(arguments: list[str], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        dispatch(arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
