"""Kinds of devices: everything that differs between `cpu`, `cuda` and `mps`, one class per kind.

Nothing here imports torch at module level: the driver parses `--devices` without it.
"""

from __future__ import annotations

from knobs.devices.cards import HeldCards, without_cards
from knobs.devices.cpu import available_cpus
from knobs.devices.kind import Device, DeviceKind, Failure
from knobs.devices.slots import KINDS, device_kind, parse_devices, register_kind

__all__ = [
    "KINDS",
    "Device",
    "DeviceKind",
    "Failure",
    "HeldCards",
    "available_cpus",
    "device_kind",
    "parse_devices",
    "register_kind",
    "without_cards",
]
