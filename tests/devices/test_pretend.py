"""Runs the tests in `pretend_trainings.py`, in a process of their own.

Torch learns of devices before its first backward pass, so a process that has trained cannot install another one.
"""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("pretend_trainings.py")


@pytest.mark.parametrize("part", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_trainings_on_a_pretend_accelerator(part: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(TESTS), "-m", part, "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "--basetemp", str(tmp_path / "base")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
