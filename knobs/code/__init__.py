"""The code that a process has imported: its hash, and the files and variables that it reads."""

from __future__ import annotations

from knobs.code.hashes import Code, code_hash, collect_code, training_code, training_code_hash
from knobs.code.imported import (
    changed_modules,
    forget_project_modules,
    install_noting_finder,
    restore_project_modules,
)
from knobs.code.reads import Reads

__all__ = [
    "Code",
    "Reads",
    "changed_modules",
    "code_hash",
    "collect_code",
    "forget_project_modules",
    "install_noting_finder",
    "restore_project_modules",
    "training_code",
    "training_code_hash",
]
