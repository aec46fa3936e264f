"""Load a data set: call its own code, check the arrays, perturb them. And ask whether a second load gives the same."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from knobs import discover
from knobs.data.checks import check_splits
from knobs.data.perturb import perturb
from knobs.data.stored import fingerprint_of
from knobs.errors import BadInputError, KnobsError
from knobs.user_code import line_of

if TYPE_CHECKING:
    from knobs.config import DataConfig, Splits

QUICK_SECONDS = 1.0
"""A data set that loads in this time is loaded a second time when it is first seen."""

PATIENCE_SECONDS = 120.0

AGAIN = """
import pickle, sys
from knobs import discover
discover.activate(discover.project_root())
from knobs.data.loading import load_checked
from knobs.data.stored import fingerprint_of
config = pickle.load(sys.stdin.buffer)
print("\\nfingerprint", fingerprint_of(config.spec(), load_checked(config)))
"""


def load_checked(config: DataConfig) -> Splits:
    """Return the arrays as `load` makes them now, checked against the spec and perturbed.

    Raise `BadInputError` if the data set's own code raises anything, or if the arrays do not fit the spec.
    """
    try:
        splits, spec = config.load(), config.spec()
    except KnobsError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(f"the data set {config.kind} does not load: {type(error).__name__}: {reason}") from error
    try:
        checked = check_splits(config.kind, spec, splits)
    except BadInputError as error:
        place = line_of(type(config).load)
        raise BadInputError(f"{place}: {error}" if place else str(error)) from None
    return perturb(checked, config)


def draws_without_seed(config: DataConfig, fingerprint: str, before: str, seconds: float) -> bool:
    """Return whether loading once more gives other arrays than these. `before`: what an earlier launch got, if known.

    A second load in this process may be no witness: a data set may change a table that it keeps, or seed a generator
    when it is imported. So a new process decides; it is started only if something differs.
    """
    if before:
        suspicious = before != fingerprint
    else:
        suspicious = seconds < QUICK_SECONDS and _loads_otherwise(config, fingerprint)
    if not suspicious or seconds > PATIENCE_SECONDS:
        return False
    again = _fingerprint_in_new_process(config)
    return again not in ("", fingerprint)


def timed_load(config: DataConfig) -> tuple[Splits, float]:
    """Return the checked arrays, and how many seconds the load took."""
    begin = time.perf_counter()
    return load_checked(config), time.perf_counter() - begin


def _loads_otherwise(config: DataConfig, fingerprint: str) -> bool:
    try:
        return fingerprint_of(config.spec(), load_checked(config)) != fingerprint
    except BadInputError:
        return True


def _fingerprint_in_new_process(config: DataConfig) -> str:
    """Return the fingerprint that a new process gets; empty if it gets none."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", AGAIN],
            input=pickle.dumps(config),
            env={**os.environ, "KNOBS_ROOT": str(discover.current_root())},
            capture_output=True,
            check=True,
            timeout=2 * PATIENCE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError, pickle.PicklingError, AttributeError, TypeError):
        return ""
    words = done.stdout.decode(errors="replace").split()
    return words[-1] if words[-2:-1] == ["fingerprint"] else ""
