"""From `--devices` to the slots of workers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from knobs.devices.cpu import CpuKind, available_cpus
from knobs.devices.cuda import CudaKind
from knobs.devices.kind import Device, DeviceKind
from knobs.devices.mps import MpsKind
from knobs.errors import BadInputError

KINDS: list[DeviceKind] = [CudaKind(), MpsKind(), CpuKind()]
"""The kinds of devices, in the order in which `auto` looks for them."""

WORKERS_PER_CORE = 4
ALWAYS_ALLOWED = 8
"""More than four workers per core are refused; up to eight are always allowed."""


def register_kind(kind: DeviceKind) -> None:
    """Make another kind of device known to this process, before the others."""
    if kind.name not in [known.name for known in KINDS]:
        KINDS.insert(0, kind)


def device_kind(name: str) -> DeviceKind:
    """Return the kind of a `torch.device.type`."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise BadInputError(f"no kind of device named {name!r}; there is: {', '.join(kind.name for kind in KINDS)}")


def parse_devices(
    spec: str,
    per_device: int = 1,
    *,
    kinds: Sequence[DeviceKind] | None = None,
    environ: Mapping[str, str] = os.environ,
    cpus: int | None = None,
) -> list[Device]:
    """Return the workers' slots for `auto`, `cpu:N`, `cuda`, `cuda:0,1` or `mps`, with `per_device` on each device.

    `cuda:I` counts the devices that an inherited `CUDA_VISIBLE_DEVICES` (indices or UUIDs) leaves visible. Raise
    `BadInputError` for a device that does not exist.
    """
    known = KINDS if kinds is None else kinds
    cores = available_cpus() if cpus is None else cpus
    if per_device < 1:
        raise BadInputError(f"--per-device {per_device}: at least 1")
    if spec == "auto":
        kind = next(kind for kind in known if kind.name == "cpu" or kind.visible(environ))
        spec = f"cpu:{cores}" if kind.name == "cpu" else kind.name
    name, colon, wanted = spec.partition(":")
    found = next((kind for kind in known if kind.name == name), None)
    if found is None:
        raise BadInputError(f"--devices {spec}: not understood; use auto, cpu:N, cuda:0,1 or mps")
    if name == "cpu":
        devices = _cpu_slots(spec, wanted if colon else "1", found, per_device, cores)
    else:
        devices = _chosen_slots(spec, wanted if colon else None, found, found.visible(environ), cores)
    _refuse_too_many(spec, len(devices), per_device, cores)
    if per_device == 1:
        return devices
    return [Device(f"{d.label}/{k}", d.kind, d.environment, d.card) for d in devices for k in range(per_device)]


def _cpu_slots(spec: str, wanted: str, kind: DeviceKind, per_device: int, cores: int) -> list[Device]:
    if not re.fullmatch(r"\d{1,9}", wanted) or int(wanted) < 1:
        raise BadInputError(f"--devices {spec}: at least one worker, e.g. cpu:2")
    _refuse_too_many(spec, int(wanted), per_device, cores)
    return [kind.device(index, str(index)) for index in range(int(wanted))]


def _chosen_slots(spec: str, wanted: str | None, kind: DeviceKind, visible: Sequence[str], cores: int) -> list[Device]:
    if wanted is not None and not re.fullmatch(r"\d+(,\d+)*", wanted):
        raise BadInputError(f"--devices {spec}: not understood; use {kind.name} or {kind.name}:0,1")
    if not visible:
        raise BadInputError(f"--devices {spec}: {kind.missing()}; there is cpu:{cores}")
    chosen = list(range(len(visible))) if wanted is None else [int(index) for index in wanted.split(",")]
    if absent := [index for index in chosen if index >= len(visible)]:
        last = len(visible) - 1
        raise BadInputError(f"--devices {spec}: there is no {kind.name}:{absent[0]}; visible are 0 to {last}")
    if len(set(chosen)) < len(chosen):
        raise BadInputError(f"--devices {spec}: a device is named twice; --per-device K puts K workers on each")
    return [kind.device(index, visible[index]) for index in chosen]


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
