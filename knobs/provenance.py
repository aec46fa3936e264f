"""Where a number comes from: repository, packages, machine. Of code, see `knobs.code`."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


@functools.cache
def git_state(root: Path) -> tuple[str, str]:
    """Return the commit and the diff against it, which is empty if clean; ('none', '') outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    try:
        return git("rev-parse", "HEAD").strip(), git("diff", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return "none", ""


@functools.cache
def packages() -> dict[str, str]:
    """Return every installed distribution and its exact version."""
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: str(item[0]).lower()))


def short_hash(facts: object) -> str:
    """Return a short hash of some facts: equal exactly if the facts are equal; empty for no facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16] if facts else ""


def machine() -> dict[str, str]:
    """Return what can change a rounding on this machine: platform, processor, instruction set."""
    return {
        "platform": " ".join((platform.system(), platform.machine(), *platform.libc_ver())).strip(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def torch_state() -> dict[str, str]:
    """Return torch's version, instruction set and determinism flags in this process."""
    import torch

    return {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic_algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
        "cuda": str(torch.version.cuda),
    }
