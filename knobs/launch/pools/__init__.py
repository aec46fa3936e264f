"""Pools: the workers of an engine, the messages they exchange with the driver, and the devices they hold."""

from __future__ import annotations

from knobs.launch.pools.devices import Device, available_cpus, count_cuda, has_mps, parse_devices
from knobs.launch.pools.local_workers import LocalPool
from knobs.launch.pools.pool import Pool, WorkerHandle

__all__ = [
    "Device",
    "LocalPool",
    "Pool",
    "WorkerHandle",
    "available_cpus",
    "count_cuda",
    "has_mps",
    "parse_devices",
]
