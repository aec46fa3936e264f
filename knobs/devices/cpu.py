"""The CPU: a slot is a share of its cores."""

from __future__ import annotations

import os
from collections.abc import Mapping

from knobs.devices.kind import Device, DeviceKind

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""For glibc: keep freed memory for the next step. Otherwise each step's larger tensors are mapped, cleared and unmapped
by the kernel, which takes about 5% of a small network's step, and more in a batch of runs."""


class CpuKind(DeviceKind):
    """Workers on the CPU, one OpenMP thread each at first; a run's `training.threads` raises it."""

    name = "cpu"
    accelerator = "cpu"
    stacks_runs = True

    def visible(self, environ: Mapping[str, str]) -> list[str]:
        """Return one id per available core."""
        del environ
        return [str(index) for index in range(available_cpus())]

    def device(self, index: int, identity: str) -> Device:
        """Return a slot. Its worker never sees a GPU."""
        del identity
        hidden = {"CUDA_VISIBLE_DEVICES": ""}
        environment = {"KNOBS_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **hidden, **KEEP_MEMORY}
        return Device(f"cpu:{index}", "cpu", environment)


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
