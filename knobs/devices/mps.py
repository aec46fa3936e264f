"""Apple's GPU."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from knobs.devices.kind import Device, DeviceKind

if TYPE_CHECKING:
    import torch


class MpsKind(DeviceKind):
    """The one GPU of a Mac. It has no float64."""

    name = "mps"
    accelerator = "mps"
    has_float64 = False

    def visible(self, environ: Mapping[str, str]) -> list[str]:
        """Return one id if torch can use the GPU."""
        del environ
        if sys.platform != "darwin":
            return []
        import torch

        return ["mps"] if torch.backends.mps.is_available() else []

    def device(self, index: int, identity: str) -> Device:
        """Return the slot."""
        del index
        return Device("mps", "mps", {"KNOBS_DEVICE": "mps"}, card=identity)

    def missing(self) -> str:
        """Return a sentence for a machine without an Apple GPU."""
        return "this machine has no Apple GPU that torch can use"

    def rng_state(self, device: torch.device) -> torch.Tensor | None:
        """Return the state of the GPU's generator."""
        import torch

        del device
        return torch.mps.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: torch.device) -> None:
        """Set the state of the GPU's generator."""
        import torch

        del device
        torch.mps.set_rng_state(state)

    def synchronize(self, device: torch.device) -> None:
        """Wait for the GPU."""
        import torch

        del device
        torch.mps.synchronize()

    def free_memory(self) -> None:
        """Return cached memory to the GPU."""
        import torch

        torch.mps.empty_cache()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether the GPU or the host has no memory left; torch raises a plain RuntimeError on mps."""
        return super().is_out_of_memory(error) or "MPS backend out of memory" in str(error)

    def numbers(self, values: Sequence[torch.Tensor]) -> list[float]:
        """Return scalars as doubles. They become doubles on the CPU, one transfer each."""
        import torch

        return [float(value.cpu().to(torch.float64)) for value in values]
