"""Errors of user code: the innermost line of the user's, the nearest right name, one line; ours are told apart."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from knobs import BadInputError, RunConfig, user_code
from knobs.commands.main import _report_error as report
from knobs.errors import StoreError


def module(folder: Path, text: str) -> ModuleType:
    """Return a module of a user's file with this text."""
    path = folder / "mine.py"
    path.write_text(text)
    made = ModuleType("mine")
    exec(compile(text, str(path), "exec"), vars(made))
    return made


def error_of(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


LINES: dict[str, tuple[str, str]] = {
    "its own": ("def f(x):\n    return {}[x]\n", "mine.py:2: KeyError: 'a'"),
    "through a library": ("import json\ndef f(x):\n    return json.loads(x)\n", "mine.py:3: JSONDecodeError: "),
    "through the engine": ("from knobs import Factor\ndef f(x):\n    Factor.of('k', 5)\n", "mine.py:3: TypeError"),
    "bad input that the engine found": (
        "from models.mlp import MLP\ndef f(x):\n    return MLP(widht=3)\n",
        "mine.py:3: model.widht: mlp has no such knob; did you mean width?",
    ),
    "a misspelt name": ("def f(value):\n    return valeu\n", "NameError: .*did you mean value"),
    "a misspelt attribute": ("def f(x):\n    return x.uper()\n", "AttributeError: .*did you mean upper"),
    "a misspelt import": ("def f(x):\n    from knobs import Stdy\n", "ImportError: .*did you mean Study"),
    "of content": ("def f(x):\n    from models.mlp import MPL\n", "ImportError: .*did you mean MLP"),
    "a misspelt module": ("def f(x):\n    import models.mpl\n", "ModuleNotFoundError: .*did you mean mlp"),
    "a misspelt argument": (
        "from knobs import Study\ndef f(x):\n    return Study(metirc=1)\n", "TypeError: .*did you mean metric"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), LINES.values(), ids=LINES)
def test_the_users_line_and_the_nearest_name(text: str, said: str, tmp_path: Path) -> None:
    import re

    error = error_of(lambda: user_code.place_of(ValueError()) or module(tmp_path, text).f("a"))
    found = user_code.placed_text(error)
    assert re.search(said, found), found
    assert "\n" not in found
    assert "mine.py:" in found


def test_an_error_of_the_engine_alone_has_no_place_of_its_own() -> None:
    error = error_of(lambda: RunConfig.from_json("{"))
    assert isinstance(error, BadInputError)
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # leave this file's frames out
    assert user_code.place_of(error) == ""
    assert user_code.placed_text(error) == str(error)


def test_a_refusal_that_content_itself_raises_speaks_for_itself(tmp_path: Path) -> None:
    made = module(tmp_path, "from knobs import BadInputError\ndef f():\n    raise BadInputError('takes images only')\n")
    assert user_code.placed_text(error_of(made.f)) == "takes images only"


def test_a_caused_error_has_the_place_of_its_cause(tmp_path: Path) -> None:
    made = module(tmp_path, "def f():\n    return 1 / 0\n")
    raised = BadInputError("the data set x does not load")
    raised.__cause__ = error_of(made.f)
    assert user_code.placed_text(raised).endswith("mine.py:2: the data set x does not load")


@pytest.mark.parametrize(("raised", "code"), [("{}['x']", 2), ("open('/nonexistent')", 2)])
def test_user_errors_end_a_command_as_bad_input_with_a_file_for_the_traceback(
    raised: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = module(tmp_path, f"def f():\n    {raised}\n")
    ended: list[int] = []
    try:
        made.f()
    except Exception as error:  # a log holds the traceback of the error that is being handled
        ended.append(report(error))
    assert ended == [code]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "mine.py:2: " in lines[0]
    log = Path(lines[1].removeprefix("the full traceback: "))
    assert "mine.py" in log.read_text()
    log.unlink()


def test_a_store_that_fails_keeps_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    error = StoreError("the disk is full")
    assert report(error) == 3
    assert capsys.readouterr().err == "knobs: the disk is full\n"
