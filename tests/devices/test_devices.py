"""Which devices a command uses, on simulated machines and on this one, and what each worker's process sees."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from knobs import BadInputError
from knobs.devices import Device, available_cpus, parse_devices
from knobs.devices.cpu import CpuKind
from knobs.devices.cuda import CudaKind
from knobs.devices.mps import MpsKind
from knobs.launch.pools.local_workers import LocalPool, LocalWorker
from knobs.launch.pools.messages import Lost, Ready


class Cuda(CudaKind):
    """NVIDIA's GPUs on a simulated machine: torch sees `found` of them."""

    def __init__(self, found: int) -> None:
        self.found = found

    def count(self) -> int:
        """Return how many devices torch sees."""
        return self.found


class Mps(MpsKind):
    """Apple's GPU on a simulated machine."""

    def __init__(self, found: bool) -> None:
        self.found = found

    def visible(self, environ: Mapping[str, str]) -> list[str]:
        """Return one id if there is a GPU."""
        del environ
        return ["mps"] if self.found else []


def on(
    spec: str, per_device: int = 1, *, visible: str | None = None, cuda: int = 0, mps: bool = False, cpus: int = 8
) -> list[Device]:
    """Parse `spec` on a machine with these devices. `cuda` is the number that torch counts under `visible`."""
    environ: Mapping[str, str] = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return parse_devices(spec, per_device, kinds=[Cuda(cuda), Mps(mps), CpuKind()], environ=environ, cpus=cpus)


def seen(devices: list[Device]) -> list[tuple[str, str]]:
    return [(device.label, device.environment["CUDA_VISIBLE_DEVICES"]) for device in devices]


GPU = "GPU-8a1b2c3d-0000-1111-2222-333344445555"
MIG = "MIG-9f8e7d6c-0000-1111-2222-333344445555"

MIGS = [("cuda:0", MIG), ("cuda:1", f"{MIG[:-1]}e")]

CUDA: dict[str, tuple[str, str | None, int, list[tuple[str, str]]]] = {
    "all": ("cuda", None, 2, [("cuda:0", "0"), ("cuda:1", "1")]),
    "one": ("cuda:1", None, 2, [("cuda:1", "1")]),
    "order kept": ("cuda:2,0", None, 3, [("cuda:2", "2"), ("cuda:0", "0")]),
    "an index into what is visible": ("cuda:0", "3,1", 2, [("cuda:0", "3")]),
    "all that is visible": ("cuda", "3,1", 2, [("cuda:0", "3"), ("cuda:1", "1")]),
    "UUIDs": ("cuda:1", f"{GPU},{MIG}", 2, [("cuda:1", MIG)]),
    "abbreviated UUIDs and spaces": ("cuda", " GPU-8a1 , 2", 2, [("cuda:0", "GPU-8a1"), ("cuda:1", "2")]),
    "the list ends at -1": ("cuda", "2,-1,0", 1, [("cuda:0", "2")]),
    "the list ends at what torch cannot see": ("cuda", "1,99,0", 1, [("cuda:0", "1")]),
    "each worker one MIG instance, although torch sees one": ("cuda", f"{MIG},{MIG[:-1]}e", 1, MIGS),
    "auto takes CUDA first": ("auto", None, 1, [("cuda:0", "0")]),
    "auto within what is visible": ("auto", "5", 1, [("cuda:0", "5")]),
}


@pytest.mark.parametrize(("spec", "visible", "count", "expected"), CUDA.values(), ids=CUDA)
def test_cuda_devices(spec: str, visible: str | None, count: int, expected: list[tuple[str, str]]) -> None:
    found = on(spec, visible=visible, cuda=count, mps=True)
    assert seen(found) == expected
    for device in found:
        assert device.kind == device.environment["KNOBS_DEVICE"] == "cuda"
        assert device.environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert device.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # nvidia-smi's order
        assert device.environment["OMP_NUM_THREADS"] == "1"
        assert device.card == device.environment["CUDA_VISIBLE_DEVICES"]


def test_workers_on_one_gpu_share_its_card() -> None:
    assert [device.card for device in on("cuda", 2, cuda=2)] == ["0", "0", "1", "1"]
    assert [device.card for device in on("mps", 2, mps=True)] == ["mps", "mps"]
    assert {device.card for device in on("cpu:2", 2)} == {""}


def test_several_workers_on_each_device() -> None:
    labels = [("cuda:1/0", "1"), ("cuda:1/1", "1"), ("cuda:0/0", "0"), ("cuda:0/1", "0")]
    assert seen(on("cuda:1,0", 2, cuda=2)) == labels
    assert [device.label for device in on("cpu:2", 2)] == ["cpu:0/0", "cpu:0/1", "cpu:1/0", "cpu:1/1"]
    assert [device.label for device in on("auto", 3, mps=True)] == ["mps/0", "mps/1", "mps/2"]


def test_auto_prefers_cuda_then_mps_then_every_core() -> None:
    assert [device.kind for device in on("auto", cuda=1, mps=True)] == ["cuda"]
    assert [device.kind for device in on("auto", mps=True)] == ["mps"]
    assert [device.label for device in on("auto", cpus=3)] == ["cpu:0", "cpu:1", "cpu:2"]
    assert [device.kind for device in on("auto", visible="", cuda=0)] == ["cpu"] * 8


def test_a_cpu_worker_never_sees_a_gpu() -> None:
    (device,) = on("cpu", visible="0,1", cuda=2)
    assert (device.label, device.kind) == ("cpu:0", "cpu")
    assert device.environment["CUDA_VISIBLE_DEVICES"] == ""
    assert device.environment["OMP_NUM_THREADS"] == device.environment["MKL_NUM_THREADS"] == "1"


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no CUDA": ("cuda:0", {}, "no CUDA device is visible here; there is cpu:8"),
    "hidden by an empty list": ("cuda", {"visible": "", "cuda": 0}, "no CUDA device"),
    "hidden by -1": ("cuda:0", {"visible": "-1", "cuda": 0}, "no CUDA device"),
    "an index too high": ("cuda:2", {"cuda": 2}, "there is no cuda:2; visible are 0 to 1"),
    "an index that is not visible": ("cuda:3", {"visible": "3", "cuda": 1}, "there is no cuda:3"),
    "twice the same": ("cuda:1,0,1", {"cuda": 2}, "named twice"),
    "no MPS": ("mps", {}, "no Apple GPU"),
    "no worker": ("cpu:0", {}, "at least one"),
    "a UUID": (f"cuda:{GPU}", {"cuda": 1}, "not understood; use cuda or cuda:0,1"),
    "an open list": ("cuda:0,", {"cuda": 2}, "not understood"),
    "negative": ("cuda:-1", {"cuda": 2}, "not understood"),
    "a word": ("gpu", {"cuda": 1}, "not understood"),
    "nothing": ("", {}, "not understood"),
    "a sign": ("cpu:+2", {}, "at least one worker, e.g. cpu:2"),
    "workers without end": ("cpu:5000", {}, "too many workers for 8 cores; the most here is cpu:32"),
    "one too many for few cores": ("cpu:9", {"cpus": 1}, "the most here is cpu:8"),
    "workers beyond counting": (f"cpu:{'9' * 30}", {}, "at least one worker, e.g. cpu:2"),
}


@pytest.mark.parametrize(("spec", "machine", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_there_is_refused(spec: str, machine: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        on(spec, **machine)
    assert f"--devices {spec}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_as_many_workers_as_a_machine_bears() -> None:
    for cpus, most in ((1, 8), (2, 8), (8, 32)):
        assert len(on(f"cpu:{most}", cpus=cpus)) == most
    assert len(on("cuda", cuda=16, cpus=2)) == 16  # one worker per device is always allowed
    refused = {
        ("cpu:4", 3): "--per-device 3: too many workers for 2 cores; the most here is --per-device 2",
        ("cpu:9", 2): "the most here is cpu:8",
        ("cuda", 5): "--per-device 5: too many workers for 2 cores; the most here is --per-device 4",
        ("auto", 5): "the most here is --per-device 4",
    }
    for (spec, per_device), message in refused.items():
        with pytest.raises(BadInputError, match=message):
            on(spec, per_device, cuda=2, cpus=2)


def test_at_least_one_worker_a_device() -> None:
    with pytest.raises(BadInputError, match="--per-device 0"):
        on("cpu:1", 0)


def test_cores_are_those_that_this_process_may_use() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "from knobs.devices import available_cpus; print(available_cpus())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))


# Real workers

SPY = """
import importlib.abc, json, os, sys
class Spy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch" and "SPY" in os.environ:
            with open(os.environ["SPY"], "w") as file:
                json.dump({**os.environ, "argv": sys.argv}, file)
            sys.meta_path.remove(self)
sys.meta_path.insert(0, Spy())
"""


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LocalPool]]:
    """Return a function that starts pools. Their interpreters save their environment when torch is imported."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SPY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("SPY", str(tmp_path / "spied"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    started: list[LocalPool] = []

    def start(*devices: Device) -> LocalPool:
        started.append(LocalPool(list(devices), ROOT, tmp_path / "logs"))
        return started[-1]

    yield start
    for one in started:
        one.close()


def until(pool: LocalPool, wanted: Callable[[LocalWorker, Any], bool], seconds: float = 90) -> Any:
    """Wait for the first message that satisfies `wanted`. Return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for worker, message in pool.wait(0.5):
            if wanted(worker, message):
                return message
    raise TimeoutError(f"nothing of the kind within {seconds:.0f} s")


def is_ready(_worker: LocalWorker, message: Any) -> bool:
    return isinstance(message, Ready)


@pytest.mark.slow
def test_a_workers_environment_is_set_before_torch_is_imported(pool: Callable[..., LocalPool], tmp_path: Path) -> None:
    started = pool(*parse_devices("cpu:1"))
    environment = until(started, is_ready).environment
    spied = (tmp_path / "spied").read_text()
    for wanted in ('"CUDA_VISIBLE_DEVICES": ""', '"OMP_NUM_THREADS": "1"', f'"KNOBS_ROOT": "{ROOT}"'):
        assert wanted in spied
    assert '"PYTHONHASHSEED": "0"' in spied
    assert (environment["device"], environment["threads"]) == ("cpu", "1")


@pytest.mark.slow
def test_a_killed_worker_is_reported_and_replaced_and_none_is_left(pool: Callable[..., LocalPool]) -> None:
    started = pool(*parse_devices("cpu:1"))
    (first,) = started.workers
    until(started, is_ready)
    first.process.kill()
    lost = until(started, lambda worker, message: isinstance(message, Lost))
    assert lost.reason == "signal 9"
    assert started.replace(first) == ""
    (second,) = started.workers
    until(started, lambda worker, message: worker is second and is_ready(worker, message))
    started.close()
    assert second.process.poll() is not None
