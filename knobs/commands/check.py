"""Check data sets, models, objectives, optimizers, schedules, studies and ablations, in seconds."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from knobs import discover
from knobs.commands.arguments import Parser
from knobs.errors import AnswerNoError

if TYPE_CHECKING:
    from knobs.checks.check import Check


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs check`."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="a file of any content folder; default: all of yours")
    parser.epilog = "Exit code 1 if a check failed. In pytest: from knobs.testing import project_checks."


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Do every check and print a line for each. Raise `AnswerNoError` if one failed."""
    del knobs
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: more threads only wait for each other
    discover.activate(discover.project_root())
    from knobs.checks.project import project_checks

    checks = project_checks(tuple(options.names))
    failed = [check for check in checks if not _passes(check)]
    if failed:
        raise AnswerNoError(f"{len(failed)} of {len(checks)} checks failed")
    print(f"all {len(checks)} checks passed")


def _passes(check: Check) -> bool:
    """Do one check and print its line."""
    passed, text = check.outcome()
    print(f"{'ok' if passed else 'FAIL':<5} {check}: " + text.replace("\n", "\n      "), flush=True)
    return passed
