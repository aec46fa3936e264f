"""What is recorded of the repository, the packages and the machine."""

import subprocess
from pathlib import Path

from knobs import provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_commit_and_diff(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == ("none", "")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("one = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    provenance.git_state.cache_clear()
    assert provenance.git_state(folder) == (git(folder, "rev-parse", "HEAD"), "")
    (folder / "a.py").write_text("one = 2\n")
    provenance.git_state.cache_clear()
    commit, diff = provenance.git_state(folder)
    assert commit == git(folder, "rev-parse", "HEAD")
    assert "-one = 1\n+one = 2\n" in diff
    git(folder, "add", ".")
    provenance.git_state.cache_clear()
    assert "+one = 2" in provenance.git_state(folder)[1]  # staged is not committed


def test_packages_and_machine() -> None:
    import torch

    found = provenance.packages()
    assert found["torch"] == torch.__version__
    assert {"optuna", "mlflow", "pytorch-lightning", "knobs-lab"} <= set(found)
    assert all(provenance.machine().values())
    assert provenance.torch_state()["torch"] == torch.__version__
