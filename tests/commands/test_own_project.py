"""A project outside the repository, with its own model and study, an installed `knobs`, and its MLflow pages."""

import socket
import time
import urllib.request
from pathlib import Path

import pytest
from faults.fixtures import alive
from faults.processes import until
from mlflow_pages import answers, free_port, start_ui, stop
from support import quick

from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

pytestmark = pytest.mark.slow

MODEL = '''"""Polynomial: linear in the powers of its inputs."""

from typing import Annotated

import torch
from pydantic import Field

from knobs import DataSpec, ModelConfig, part
from models._powers import powers


@part
class Polynomial(ModelConfig):
    """Inputs to their powers, then an affine map."""

    degree: Annotated[int, Field(ge=1, le=9)] = 2
    """Highest power."""

    def build(self, spec: DataSpec) -> torch.nn.Module:
        return Network(self, spec)


class Network(torch.nn.Module):
    def __init__(self, config: Polynomial, spec: DataSpec) -> None:
        super().__init__()
        self.degree = config.degree
        self.head = torch.nn.Linear(spec.features * config.degree, spec.outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(powers(x.flatten(1), self.degree))
'''
POWERS = """
import torch

def powers(x, degree):
    return torch.cat([x**k for k in range(1, degree + 1)], 1)
"""
STUDY = '''"""How high a degree a toy needs."""

from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.polynomial import Polynomial
from optimizers.adam import Adam
from schedules.constant import Constant

BASELINE = RunConfig(
    model=Polynomial(), data=Toy(), optimizer=Adam(lr=0.01), schedule=Constant(), training=Training(max_steps=60)
)


def space(trial, baseline):
    return baseline.with_knobs({"model.degree": trial.suggest_int("model.degree", 1, 4)})


study = Study(baseline=BASELINE, space=space, metric="val/accuracy", direction="maximize", trials=5, pruner="none")
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    files = {"models/polynomial.py": MODEL, "models/_powers.py": POWERS, "studies/degrees.py": STUDY}
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def store(project: Path) -> Path:
    """The project's `mlruns/` after its study ran from a folder inside the project."""
    within = project / "notes" / "deep"
    within.mkdir(parents=True)
    done = quick("study", "degrees", "--devices", "cpu:1", store=project / "mlruns", cwd=within, KNOBS_MLRUNS="")
    assert done.code == 0, done
    assert "5 trials: " in done.out
    return project / "mlruns"


def test_it_is_listed_beside_what_is_installed(project: Path) -> None:
    listed = quick("list", store=project / "none", cwd=project).out
    for text in ("polynomial", "linear in the powers", "degrees", "How high a degree", "mlp", "mnist1d_mlp"):
        assert text in listed
    assert "_powers" not in listed


def test_it_runs_with_no_other_edit(project: Path, store: Path) -> None:
    tracker = Tracker(StoreLocations(project, store))
    trials = tracker.search("tags.`knobs.kind` = 'trial'", tracker.experiment("degrees"))
    assert {row.state for row in trials} <= {"finished", "reused"}
    assert {row.params["model.kind"] for row in trials} == {"polynomial"}
    assert {row.tags["knobs.git_commit"] for row in trials} == {"none"}
    assert not (project / "notes" / "deep" / "mlruns").exists()
    assert sorted(path.name for path in project.iterdir()) == ["mlruns", "models", "notes", "studies"]


def test_a_change_of_its_code_is_another_run_and_a_comment_is_none(project: Path, store: Path) -> None:
    run = ("run", "degrees", "--devices", "cpu:1")
    powers = project / "models" / "_powers.py"
    for text, state in ((f"# why\n{POWERS}", "reused"), (POWERS.replace("x**k", "x**k / k"), "finished")):
        powers.write_text(text)
        done = quick(*run, store=store, cwd=project)
        assert done.code == 0, done
        assert f" {state} " in done.out


# The pages


def descendants(pid: int) -> set[int]:
    """Return the ids of all living descendants of a process."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def addresses_listening_on(port: int) -> set[str]:
    """Return the addresses, in the kernel's hexadecimal, on which a process listens on this port."""
    tables = [table for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if table.exists()]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    listening = [local.partition(":") for _, local, _, state, *_ in rows if state == "0A"]
    return {address for address, _, number in listening if int(number, 16) == port}


def test_pages_and_dashboard_listen_on_this_machine_alone_and_end_with_their_command(
    project: Path, store: Path
) -> None:
    port = free_port()
    ports = (port, port + 1)
    process, printed = start_ui(store, port, "--dashboard", cwd=project)
    try:
        assert f"http://127.0.0.1:{port}" in printed
        assert f"optuna-dashboard: http://127.0.0.1:{port + 1}" in printed
        until(lambda: all(map(answers, ports)), 30, "both servers")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200
        for one in ports:
            assert addresses_listening_on(one) == {"0100007F"}  # 127.0.0.1 alone, as the kernel writes it
        children = descendants(process.pid)
        assert children
        began = time.monotonic()
        assert stop(process) == 0
        assert time.monotonic() - began < 12
    finally:
        process.terminate()
    assert not any(map(alive, children))
    assert not any(map(answers, ports))


def test_a_port_in_use_is_refused(project: Path, store: Path) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = quick("ui", "--port", str(port), store=store, cwd=project)
    assert done.code == 2
    assert f"--port {port} cannot be used" in done.err
    assert len(done.err.splitlines()) == 1
