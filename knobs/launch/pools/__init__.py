"""Pools: the workers of an engine, and the messages they exchange with the driver."""

from __future__ import annotations

from knobs.launch.pools.local_workers import LocalPool
from knobs.launch.pools.pool import Pool, WorkerHandle

__all__ = [
    "LocalPool",
    "Pool",
    "WorkerHandle",
]
