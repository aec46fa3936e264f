"""Runs the tests in `pretend_trainings.py`, in processes of their own.

Torch learns of devices before its first backward pass, so a process that has trained cannot install another one.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from knobs import discover

TESTS = Path(__file__).with_name("pretend_trainings.py")
SHIPPED = "test_what_is_shipped"
HALF = " or ".join([*discover.files("studies"), *discover.files("experiments")][::2])
"""Every second of the shipped runs."""

MANY_CASES = " or ".join(
    ["test_an_error_that_stays", "test_a_replayed_step", "test_an_interrupted_run_resumes", "test_the_host_waits"]
)
"""Rules of the quick part that have many cases."""

PARTS = {
    "quick": f"not slow and not ({MANY_CASES})",
    "every second shipped run": f"slow and {SHIPPED} and ({HALF})",
    "the other shipped runs": f"slow and {SHIPPED} and not ({HALF})",
    "the rest": f"not {SHIPPED} and (slow or {MANY_CASES})",
}
"""The tests of each process, by name and mark. Together they are all tests."""


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(name, marks=[] if name == "quick" else [pytest.mark.slow, pytest.mark.xdist_group(f"pretend {n}")])
        for n, name in enumerate(PARTS)
    ],
)
def test_trainings_on_a_pretend_accelerator(part: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(TESTS), "-k", PARTS[part], "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "--basetemp", str(tmp_path / "base")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
