"""What each kind of device does differently, as far as a machine without it can tell."""

from collections.abc import Iterator

import pytest
import torch

from knobs import BadInputError
from knobs.devices import KINDS, DeviceKind, device_kind, register_kind
from knobs.devices.cpu import CpuKind
from knobs.devices.cuda import CudaKind
from knobs.devices.mps import MpsKind

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)

NO_MEMORY: list[tuple[DeviceKind, BaseException]] = [
    (CudaKind(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    (CudaKind(), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")),
    (CudaKind(), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")),
    (CudaKind(), MemoryError()),
    (MpsKind(), RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)")),
    (CpuKind(), RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory")),
    (CpuKind(), MemoryError()),
]

OTHER: list[tuple[DeviceKind, BaseException]] = [
    (CudaKind(), RuntimeError("CUDA error: device-side assert triggered")),
    (CudaKind(), ValueError("CUDA out of memory")),
    (CpuKind(), RuntimeError("MPS backend out of memory")),
    (CpuKind(), RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
]


@pytest.mark.parametrize(("kind", "error"), NO_MEMORY)
def test_errors_that_mean_that_memory_is_gone(kind: DeviceKind, error: BaseException) -> None:
    assert kind.is_out_of_memory(error)


@pytest.mark.parametrize(("kind", "error"), OTHER)
def test_errors_that_mean_something_else(kind: DeviceKind, error: BaseException) -> None:
    assert not kind.is_out_of_memory(error)


LASTING = [
    ("a Python error", ValueError("no"), None, ""),
    ("no error", None, None, ""),
    ("memory is gone; the context is fine", torch.OutOfMemoryError("CUDA out of memory"), None, ""),
    ("found by the next call", ValueError("no"), "CUDA error: device-side assert triggered", "config"),
    ("the run's index", torch.AcceleratorError("CUDA error: device-side assert triggered"), None, "config"),
    ("the card", RuntimeError("x"), "CUDA error: uncorrectable ECC error encountered", "device"),
    ("the card, at once", torch.AcceleratorError("CUDA error: an illegal memory access"), None, "device"),
]


@pytest.mark.parametrize(("error", "later", "blamed"), [row[1:] for row in LASTING], ids=[row[0] for row in LASTING])
def test_who_is_to_blame_for_a_poisoned_cuda_context(
    error: BaseException | None, later: str | None, blamed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def synchronize(_device: torch.device) -> None:
        if later is not None:
            raise torch.AcceleratorError(later)

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert CudaKind().lasting_failure(error, CUDA) == blamed
    assert CpuKind().lasting_failure(error, CPU) == ""


@pytest.fixture
def flags() -> Iterator[None]:
    """Restore torch's flags."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    benchmark, cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    matmul = torch.backends.cuda.matmul.allow_tf32
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = benchmark, cudnn
    torch.backends.cuda.matmul.allow_tf32 = matmul


@pytest.mark.usefixtures("flags")
def test_float32_on_cuda_is_no_tf32() -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    CudaKind().make_deterministic()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("kind", "precision", "model", "has_bf16", "said"),
    [
        (CudaKind(), "32", "rnn", False, ""),
        (CudaKind(), "64", "mlp", True, ""),
        (CudaKind(), "bf16-mixed", "mlp", True, ""),
        (CudaKind(), "bf16-mixed", "mlp", False, "this GPU has no bfloat16"),
        (CudaKind(), "bf16-mixed", "rnn", True, "recurrent networks would train in float16"),
        (MpsKind(), "64", "mlp", True, "mps devices have no float64"),
        (MpsKind(), "32", "mlp", True, ""),
        (CpuKind(), "64", "rnn", False, ""),
        (CpuKind(), "bf16-mixed", "rnn", False, ""),
    ],
)
def test_what_a_kind_refuses(
    kind: DeviceKind, precision: str, model: str, has_bf16: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    refusal = kind.refusal(precision, model)
    assert said in refusal
    assert bool(refusal) == bool(said)


def test_scalars_become_doubles_where_a_device_has_them() -> None:
    values = [torch.tensor(0.1), torch.tensor(3, dtype=torch.int64), torch.tensor(1e-9, dtype=torch.float64)]
    expected = [float(value) for value in values]
    for kind in (CpuKind(), CudaKind(), MpsKind()):
        assert kind.numbers(values) == expected


def test_another_kind_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(DeviceKind):
        name = "other"

    monkeypatch.setattr("knobs.devices.slots.KINDS", list(KINDS))
    with pytest.raises(BadInputError, match="no kind of device named 'other'; there is: cuda, mps, cpu"):
        device_kind("other")
    register_kind(other := Other())
    register_kind(Other())
    assert device_kind("other") is other
