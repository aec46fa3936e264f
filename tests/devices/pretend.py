"""A pretend accelerator in pure Python: tensors on `fakegpu:0` do not mix with the CPU's, but are computed there.

`card` is the one device of this process. Tests set its limits and read its counts. `install()` makes torch, Lightning
and knobs know it; a process cannot undo that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning_fabric.accelerators.registry import _AcceleratorRegistry
from pretend_graph import Graph
from pretend_tensor import NAME, Tensor, card, run
from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from knobs.devices import Device, DeviceKind, Failure, register_kind
from knobs.devices.cuda import CudaKind


class PretendKind(DeviceKind):
    """The kind of the pretend device."""

    name = accelerator = NAME
    has_graphs = True
    flattens_steps = CudaKind.flattens_steps

    @property
    def has_float64(self) -> bool:  # type: ignore[override]
        return card.has_float64

    def visible(self, environ: Mapping[str, str]) -> list[str]:
        return [entry for entry in environ.get("FAKEGPU_VISIBLE_DEVICES", "").split(",") if entry]

    def device(self, index: int, identity: str) -> Device:
        seen = {
            "KNOBS_DEVICE": NAME,
            "FAKEGPU_VISIBLE_DEVICES": identity,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        return Device(f"{NAME}:{index}", NAME, seen, card=f"{NAME}-{identity}")

    def make_deterministic(self) -> None:
        torch.use_deterministic_algorithms(True)

    def rng_state(self, device: torch.device) -> Tensor | None:
        return card.generator.get_state()

    def set_rng_state(self, state: Tensor, device: torch.device) -> None:
        card.generator.set_state(state)

    def generator(self, device: torch.device) -> torch.Generator:
        return torch.Generator()

    def run_before_recording(self, step: Callable[[], None], device: torch.device) -> None:
        step()

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        graph, drawn = Graph(), card.generator.get_state()
        card.graph = graph
        try:
            step()
        finally:
            card.graph = None
        graph.undo()
        card.generator.set_state(drawn)

        def replay() -> None:
            card.counted["replay"] += 1
            graph.replay()

        return replay

    def synchronize(self, device: torch.device) -> None:
        card.check("synchronize")

    def peak_memory(self, device: torch.device) -> int:
        return card.peak

    def lasting_failure(self, error: BaseException | None, device: torch.device) -> Failure:
        if error is None or self.is_out_of_memory(error) or not card.poison:
            return ""
        return "config" if "assert" in card.poison else "device"

    def numbers(self, values: Sequence[Tensor]) -> list[float]:
        return super().numbers(values) if card.has_float64 else [float(v.cpu().to(torch.float64)) for v in values]


class PretendAccelerator(Accelerator):
    """The device for Lightning."""

    def setup_device(self, device: torch.device) -> None:
        assert device.type == NAME, f"Lightning trains on {device}"

    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device(NAME, index) for index in range(int(devices))]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME

    @classmethod
    def register_accelerators(cls, accelerator_registry: _AcceleratorRegistry) -> None:
        accelerator_registry.register(NAME, cls, description=cls.__name__)


class _Backend:
    """The module `torch.fakegpu`."""

    _libraries: tuple[Any, ...] = ()

    def __getattr__(self, name: str) -> Any:
        known = {"is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0}
        known |= {"_is_in_bad_fork": False, "set_device": None, "_lazy_init": None}
        if name not in known:
            raise AttributeError(name)
        return lambda *_: known[name]

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def manual_seed_all(self, seed: int) -> None:
        card.generator.manual_seed(seed)

    def get_rng_state(self, _: Any = None) -> Tensor:
        card.counted["get_rng_state"] += 1
        return card.generator.get_state()

    def set_rng_state(self, state: Tensor, _: Any = None) -> None:
        card.generator.set_state(state)


def install() -> None:
    """Make the device known to torch, Lightning and knobs, once per process."""
    if not _Backend._libraries:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
        everything, aten = _Backend._libraries = (
            torch.library.Library("_", "IMPL"),
            torch.library.Library("aten", "IMPL"),
        )
        everything.fallback(lambda op, *args, **kwargs: run(op, args, kwargs), "PrivateUse1")
        copy = torch.ops.aten.copy_.default  # `torch.tensor(..., device=...)` calls it where the fallback cannot
        aten.impl("copy_", lambda *args, **kwargs: run(copy, args, kwargs), "PrivateUse1")
        PretendAccelerator.register_accelerators(AcceleratorRegistry)
    register_kind(PretendKind())
