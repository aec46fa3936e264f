"""One kind of device: everything that differs between `cpu`, `cuda` and `mps`. No other file asks for the type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Failure = Literal["", "config", "device"]
"""Who is to blame for an error that stays in the process: nobody (it does not stay), the run, or the device."""


@dataclass(frozen=True)
class Device:
    """A slot for one worker."""

    label: str
    """`cpu:0`, `cuda:1`, `cuda:1/0` (two workers on one GPU), `mps`."""
    kind: str
    """Name of its kind."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables to set before torch is imported."""
    card: str = ""
    """An id of the physical device, equal for slots that share one; empty if nothing is shared."""


class DeviceKind:
    """A kind of device. The defaults are those of a device without a state of its own."""

    name: str
    """Torch's name: `torch.device(name)` is the one device that a worker sees."""
    accelerator: str
    """Lightning's name."""
    has_float64 = True
    flattens_steps = False
    """True if the loss with one target per time step has no deterministic version for (batch, classes, steps)."""
    has_graphs = False
    """True if a recorded step can be replayed."""
    stacks_runs = False
    """True if small networks train faster as one batch; measured."""

    def visible(self, environ: Mapping[str, str]) -> list[str]:
        """Return the ids of the devices that a command may use, in order."""
        raise AssertionError

    def device(self, index: int, identity: str) -> Device:
        """Return the slot of the device with this index and id."""
        raise AssertionError

    def missing(self) -> str:
        """Return a sentence for a machine without such a device."""
        return f"this machine has no {self.name} device that torch can use"

    def refusal(self, precision: str, model: str, *, cuda_graph: bool = False) -> str:
        """Return why a run of this precision and kind of model cannot train here; empty if it can."""
        del model
        if cuda_graph and not self.has_graphs:
            return f"training.cuda_graph = True: {self.name} devices have no CUDA graphs"
        if precision == "64" and not self.has_float64:
            return f"training.precision = 64: {self.name} devices have no float64; use 32, or a cpu or cuda device"
        return ""

    def make_deterministic(self) -> None:
        """Set the process's flags so that the same run gives the same bits."""
        import torch

        torch.use_deterministic_algorithms(False)

    def rng_state(self, device: torch.device) -> torch.Tensor | None:
        """Return the state of the device's own generator; None if it has none."""
        del device
        return None

    def set_rng_state(self, state: torch.Tensor, device: torch.device) -> None:
        """Set the state of the device's own generator. `state` is on the CPU."""

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a new generator of the device."""
        import torch

        return torch.Generator(device)

    def facts(self, device: torch.device) -> dict[str, str]:
        """Return what of the device can change a bit: at least `device_name`."""
        del device
        return {"device_name": self.name}

    def upload(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return a small CPU tensor on the device, without waiting for the device."""
        return tensor.to(device)

    def to_host(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return copies in the host's memory, of tensors on the device or on the CPU. Wait for the device once."""
        return [tensor.detach().to("cpu", copy=True) for tensor in tensors]

    def run_before_recording(self, step: Callable[[], None], device: torch.device) -> None:
        """Take a step such as will be recorded."""
        raise AssertionError

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record what the device does in a step, without doing it. Return a function that does it, waiting for nothing.

        It uses the same tensors each time: inputs, results, and numbers that were given as Python's.
        """
        raise AssertionError

    def synchronize(self, device: torch.device) -> None:
        """Wait for the device. Raise the error of an operation that failed meanwhile."""
        del device

    def free_memory(self) -> None:
        """Return cached memory to the device. Call this after garbage collection."""

    def peak_memory(self, device: torch.device) -> int:
        """Return the most bytes that tensors took since the process began; 0 if unknown."""
        del device
        return 0

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether the error means that the device or the host has no memory left."""
        import torch

        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        # torch's CPU allocator raises a plain RuntimeError; only its text identifies it
        return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)

    def lasting_failure(self, error: BaseException | None, device: torch.device) -> Failure:
        """Return who caused an error that makes the process useless; empty if the process can go on."""
        del error, device
        return ""

    def numbers(self, values: Sequence[torch.Tensor]) -> list[float]:
        """Return scalars from the device as doubles, in one transfer."""
        import torch

        return [float(value) for value in torch.stack([value.to(torch.float64) for value in values]).tolist()]
