"""Single lines in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def how_to_call(program: str) -> str:
    """Return how to type a program that is installed beside this Python: its name, or its path if PATH lacks it."""
    here = Path(sys.executable).with_name(program)
    if shutil.which(program) == str(here) or not here.exists():
        return program
    return os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here)


def say(text: str) -> None:
    """Print one line to standard output, at once."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print one line to standard error, at once."""
    print(f"knobs: {text}", file=sys.stderr, flush=True)
