"""The devices of this machine, and the environment in which a worker sees exactly one of them."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from knobs.errors import BadInputError

WORKERS_PER_CORE = 4
ALWAYS_ALLOWED = 8
"""More than four workers per core are refused; up to eight are always allowed."""


@dataclass(frozen=True)
class Device:
    """A slot for one worker."""

    label: str
    """`cpu:0`, `cuda:1`, `cuda:1/0` (two workers on one GPU), `mps`."""
    kind: str
    """`cpu`, `cuda` or `mps`: torch's name for it in the worker."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables to set before torch is imported."""


def available_cpus() -> int:
    """Return the cores that this process may use: its affinity, limited by a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return count


def count_cuda() -> int:
    """Return how many CUDA devices torch sees with the inherited `CUDA_VISIBLE_DEVICES`."""
    if sys.platform == "darwin" or not any(map(glob.glob, ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/nvhost*"))):
        return 0  # there is no driver, so torch need not be imported
    import torch

    return torch.cuda.device_count()


def has_mps() -> bool:
    """Return whether torch can use Apple's GPU."""
    if sys.platform != "darwin":
        return False
    import torch

    return torch.backends.mps.is_available()


def parse_devices(
    spec: str,
    per_device: int = 1,
    *,
    environ: Mapping[str, str] = os.environ,
    cuda_count: Callable[[], int] = count_cuda,
    mps: Callable[[], bool] = has_mps,
    cpus: Callable[[], int] = available_cpus,
) -> list[Device]:
    """Return the workers' devices for `auto`, `cpu:N`, `cuda`, `cuda:0,1` or `mps`, with `per_device` workers on each.

    `cuda:I` counts the devices that an inherited `CUDA_VISIBLE_DEVICES` (indices or UUIDs) leaves visible. Raise
    `BadInputError` for a device that does not exist.
    """
    if per_device < 1:
        raise BadInputError(f"--per-device {per_device}: at least 1")
    if spec == "auto":
        if cuda_count() > 0:
            return parse_devices("cuda", per_device, environ=environ, cuda_count=cuda_count, cpus=cpus)
        if mps():
            return parse_devices("mps", per_device, mps=mps, cpus=cpus)
        spec = f"cpu:{cpus()}"
    if match := re.fullmatch(r"cpu(?::(\d{1,9}))?", spec):
        workers = int(match[1] or 1)
        if workers < 1:
            raise BadInputError(f"--devices {spec}: at least one worker, e.g. cpu:2")
        _refuse_too_many(spec, workers, per_device, cpus())
        return _slots([_cpu(i) for i in range(workers)], per_device)
    if spec == "mps":
        if not mps():
            raise BadInputError("--devices mps: this machine has no Apple GPU that torch can use; there is cpu:N")
        _refuse_too_many(spec, 1, per_device, cpus())
        return _slots([Device("mps", "mps", {"KNOBS_DEVICE": "mps"})], per_device)
    if match := re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", spec):
        visible = _visible(environ.get("CUDA_VISIBLE_DEVICES"), cuda_count())
        chosen = list(range(len(visible))) if match[1] is None else [int(i) for i in match[1].split(",")]
        if not visible:
            raise BadInputError(f"--devices {spec}: no CUDA device is visible here; there is cpu:{cpus()}")
        if absent := [i for i in chosen if i >= len(visible)]:
            raise BadInputError(f"--devices {spec}: there is no cuda:{absent[0]}; visible are 0 to {len(visible) - 1}")
        if len(set(chosen)) < len(chosen):
            raise BadInputError(f"--devices {spec}: a device is named twice; --per-device K puts K workers on each")
        _refuse_too_many(spec, len(chosen), per_device, cpus())
        return _slots([_cuda(i, visible[i]) for i in chosen], per_device)
    raise BadInputError(f"--devices {spec}: not understood; use auto, cpu:N, cuda:0,1 or mps")


def _visible(inherited: str | None, count: int) -> list[str]:
    """Return ids for a child's `CUDA_VISIBLE_DEVICES`. Like CUDA, stop at the first bad entry."""
    if inherited is None:
        return [str(i) for i in range(count)]
    ids: list[str] = []
    for entry in (entry.strip() for entry in inherited.split(",")):
        if not entry or entry == "-1":
            break
        ids.append(entry)
    return ids[:count]


def _cpu(index: int) -> Device:
    # One OpenMP thread at first; a run's `training.threads` raises it. A CPU worker never sees a GPU.
    environment = {"KNOBS_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return Device(f"cpu:{index}", "cpu", environment)


def _cuda(index: int, identity: str) -> Device:
    environment = {
        "KNOBS_DEVICE": "cuda",
        "CUDA_VISIBLE_DEVICES": identity,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS needs this to be deterministic
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    return Device(f"cuda:{index}", "cuda", environment)


def _refuse_too_many(spec: str, devices: int, per_device: int, cores: int) -> None:
    """Raise `BadInputError` for too many workers: each is a process that imports torch."""
    most = max(WORKERS_PER_CORE * cores, ALWAYS_ALLOWED)
    if devices * per_device <= most or (per_device == 1 and not spec.startswith("cpu")):
        return
    if per_device == 1:
        raise BadInputError(f"--devices {spec}: too many workers for {cores} cores; the most here is cpu:{most}")
    fits = most // devices
    hint = f"the most here is --per-device {fits}" if fits else f"the most here is cpu:{most}"
    raise BadInputError(f"--devices {spec} --per-device {per_device}: too many workers for {cores} cores; {hint}")


def _slots(devices: list[Device], per_device: int) -> list[Device]:
    if per_device == 1:
        return devices
    return [Device(f"{d.label}/{k}", d.kind, d.environment) for d in devices for k in range(per_device)]
