"""NVIDIA's GPUs."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from knobs.devices.kind import Device, DeviceKind, Failure

if TYPE_CHECKING:
    import torch

_NO_MEMORY = (
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "HOST_ALLOCATION_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # cuBLAS found no memory for its own workspace, mostly
)
"""Texts of plain RuntimeErrors; cuBLAS and cuDNN have no exception class."""

_RUNS_FAULT = ("device-side assert",)
"""Errors that the run caused: an index or label out of range."""


class CudaKind(DeviceKind):
    """NVIDIA's GPUs, one visible to each worker."""

    name = "cuda"
    accelerator = "gpu"
    has_graphs = True
    flattens_steps = True  # nll_loss2d raises under deterministic algorithms

    def count(self) -> int:
        """Return how many devices torch sees with the inherited `CUDA_VISIBLE_DEVICES`."""
        if sys.platform == "darwin" or not any(map(glob.glob, ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/nvhost*"))):
            return 0  # there is no driver, so torch need not be imported
        import torch

        return torch.cuda.device_count()

    def visible(self, environ: Mapping[str, str]) -> list[str]:
        """Return ids for a worker's `CUDA_VISIBLE_DEVICES`.

        Like CUDA, stop at the first bad entry. Inherited MIG ids are taken as they are: a process sees one MIG instance
        only, but each worker gets its own.
        """
        inherited, count = environ.get("CUDA_VISIBLE_DEVICES"), self.count()
        if inherited is None:
            return [str(index) for index in range(count)]
        ids: list[str] = []
        for entry in (entry.strip() for entry in inherited.split(",")):
            if not entry or entry == "-1":
                break
            ids.append(entry)
        return ids if count and all(entry.startswith("MIG-") for entry in ids) else ids[:count]

    def device(self, index: int, identity: str) -> Device:
        """Return the slot of one GPU."""
        environment = {
            "KNOBS_DEVICE": "cuda",
            "CUDA_VISIBLE_DEVICES": identity,
            "CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),  # nvidia-smi's order
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS needs this to be deterministic
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        return Device(f"cuda:{index}", "cuda", environment, card=identity)

    def missing(self) -> str:
        """Return a sentence for a machine without a visible NVIDIA GPU."""
        amd = "; AMD GPUs are not supported" if Path("/dev/kfd").exists() else ""
        return f"no CUDA device is visible here{amd}"

    def refusal(self, precision: str, model: str, *, cuda_graph: bool = False) -> str:
        """Return why a run cannot train here; empty if it can."""
        import torch

        if precision == "bf16-mixed":
            if not torch.cuda.is_bf16_supported():
                return "training.precision = bf16-mixed: this GPU has no bfloat16; use 32"
            if model == "rnn":  # torch's autocast runs cuDNN's recurrent layers in float16
                return "training.precision = bf16-mixed: recurrent networks would train in float16 on CUDA; use 32"
        return super().refusal(precision, model, cuda_graph=cuda_graph)

    def make_deterministic(self) -> None:
        """Deterministic algorithms, no autotuning, and float32 that is no TF32."""
        import torch

        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False

    def rng_state(self, device: torch.device) -> torch.Tensor | None:
        """Return the state of the GPU's generator."""
        import torch

        return torch.cuda.get_rng_state(device)

    def set_rng_state(self, state: torch.Tensor, device: torch.device) -> None:
        """Set the state of the GPU's generator."""
        import torch

        torch.cuda.set_rng_state(state, device)

    def facts(self, device: torch.device) -> dict[str, str]:
        """Return model, driver, CUDA, cuDNN and flags; and the UUID, which changes no bit."""
        import torch

        properties = torch.cuda.get_device_properties(device)
        return {
            "device_name": properties.name,
            "device_uuid": f"GPU-{getattr(properties, 'uuid', '')}",
            "driver": _driver_version(),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "tf32": str(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        }

    def upload(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Copy from pinned memory: a copy from pageable memory would wait for the device."""
        return tensor.pin_memory().to(device, non_blocking=True)

    def to_host(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Copy to pinned memory, which the GPU writes itself; to pageable memory if the host refuses to pin."""
        import torch

        try:
            copies = [
                torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda).copy_(tensor, non_blocking=True)
                for tensor in (tensor.detach() for tensor in tensors)
            ]
        except RuntimeError:  # a poisoned device raises again below
            return super().to_host(tensors)
        torch.cuda.synchronize()
        return copies

    def run_before_recording(self, step: Callable[[], None], device: torch.device) -> None:
        """Take the step on another stream, as torch's documentation of CUDA graphs asks for."""
        import torch

        now, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(now)
        with torch.cuda.stream(side):
            step()
        now.wait_stream(side)

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record a step as a CUDA graph."""
        import torch

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def synchronize(self, device: torch.device) -> None:
        """Wait for the GPU. Raise the error of a kernel that failed meanwhile."""
        import torch

        torch.cuda.synchronize(device)

    def free_memory(self) -> None:
        """Return cached memory to the GPU."""
        import torch

        torch.cuda.empty_cache()

    def peak_memory(self, device: torch.device) -> int:
        """Return the most bytes that tensors took."""
        import torch

        return int(torch.cuda.max_memory_allocated(device))

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether the GPU or the host has no memory left."""
        text = str(error) if isinstance(error, RuntimeError) else ""
        return super().is_out_of_memory(error) or any(word in text for word in _NO_MEMORY)

    def lasting_failure(self, error: BaseException | None, device: torch.device) -> Failure:
        """Return who caused an error that poisons the CUDA context: every later call in this process fails too."""
        import torch

        if error is None or self.is_out_of_memory(error):
            return ""
        try:
            self.synchronize(device)
        except RuntimeError as lasting:
            error = lasting
        else:
            if not isinstance(error, torch.AcceleratorError):
                return ""
        return "config" if any(word in str(error) for word in _RUNS_FAULT) else "device"


def _driver_version() -> str:
    """Return the version of NVIDIA's driver; empty if it is unknown."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text(encoding="ascii").split()
    except (OSError, UnicodeError):
        return ""
    return next((word for word in words if word[:1].isdigit() and word.count(".") >= 1), "")
