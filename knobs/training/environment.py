"""The process that trains: seeds and flags, warnings, clock, and a description of what could change a bit."""

from __future__ import annotations

import random
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from knobs import provenance
from knobs.devices import device_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knobs.config import RunConfig
    from knobs.training.state import Numbers


def make_reproducible(config: RunConfig, device: torch.device) -> None:
    """Set seeds, thread count and deterministic algorithms for this config and device."""
    torch.set_num_threads(config.training.threads)
    torch.manual_seed(config.seed)
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    device_kind(device.type).make_deterministic()


def rng_states(device: torch.device) -> dict[str, Any]:
    """Return the states of all generators that a training may draw from, in primitives and tensors."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "device": device_kind(device.type).rng_state(device),
    }


def set_rng_states(states: dict[str, Any], device: torch.device) -> None:
    """Set all generators to `rng_states`."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy(), *rest))
    torch.set_rng_state(states["torch"])
    if states["device"] is not None:
        device_kind(device.type).set_rng_state(states["device"], device)


def environment(device: torch.device) -> dict[str, str]:
    """Return everything that could change a bit: versions, instruction set, device, threads, flags."""
    return {
        **provenance.torch_state(),
        "device": device.type,
        **device_kind(device.type).facts(device),
        "threads": str(torch.get_num_threads()),
    }


@contextmanager
def warnings_logged(log: list[str]) -> Iterator[None]:
    """Append the warnings of the block to `log`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    log.extend(f"{entry.category.__name__}: {entry.message}" for entry in caught)


class Clock:
    """Measures the costs of a training; it starts when it is made."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def costs(self, steps: int, runs: int = 1) -> Numbers:
        """Return each run's share of the seconds, and the optimizer steps of all runs per second."""
        seconds, processor = time.perf_counter() - self.wall, time.process_time() - self.processor
        return {
            "seconds": seconds / runs,
            "cpu_seconds": processor / runs,
            "steps_per_second": runs * steps / seconds,
        }
