"""A pretend accelerator in pure Python: its tensors live on `fakegpu:0`, are computed on the CPU and never mix with it.

`card` is the one device of this process. Tests set its limits and read its counts. `install()` makes torch, Lightning and
knobs know it; a process cannot undo that.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

import torch
from lightning_fabric.accelerators.registry import _AcceleratorRegistry
from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from torch.utils._mode_utils import no_dispatch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from knobs.devices import Device, DeviceKind, Failure, register_kind

NAME = "fakegpu"
Tensor = torch.Tensor

SYNCHRONISING = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "_unique2", "unique_dim"}
"""Operators that make the host wait for the device: the size or the value of their result is needed at once."""

NOT_DETERMINISTIC = {
    *("nll_loss2d_forward", "nll_loss2d_backward", "_ctc_loss", "_ctc_loss_backward", "kthvalue", "median", "histc"),
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward"),
    *("avg_pool3d_backward", "max_pool3d_with_indices_backward", "fractional_max_pool2d_backward", "max_unpool2d"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "replication_pad1d_backward", "put_"),
    *("replication_pad2d_backward", "grid_sampler_2d_backward", "_embedding_bag_dense_backward"),
}
"""Operators without a deterministic version on CUDA: the docstring of `torch.use_deterministic_algorithms`."""


class Held:
    """The bytes of one storage on the card; they are free when the last tensor of the storage is gone."""

    def __init__(self, size: int) -> None:
        if card.limit is not None and card.bytes + size > card.limit:
            self.size = 0
            raise torch.OutOfMemoryError(f"{NAME} out of memory. Tried to allocate {size} bytes")
        self.size = size
        card.bytes += size
        card.peak = max(card.peak, card.bytes)

    def __del__(self) -> None:
        card.bytes -= self.size


class Card:
    """The state of the device. `reset` restores the state of a healthy one."""

    bytes = 0

    def __init__(self) -> None:
        self.generator = torch.Generator()
        self.held: weakref.WeakValueDictionary[int, Held] = weakref.WeakValueDictionary()
        self.reset()

    def reset(self) -> None:
        """Forget limits, errors and counts. What tensors hold stays held."""
        self.limit: int | None = None
        self.poison = ""
        """Message of an error that stays: every later operation raises it."""
        self.has_float64 = True
        self.draws_like_cpu = False
        """Draw from the CPU's generator, as a run on the CPU does."""
        self.counted: Counter[str] = Counter()
        self.synchronisations: Counter[str] = Counter()
        self.before: Callable[[str], None] = lambda name: None
        """Called with the name of each operator before it runs."""
        self.peak = self.bytes

    def draw(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call a random operator with the card's own generator."""
        if self.draws_like_cpu:
            return func(*args, **kwargs)
        kept = torch.get_rng_state()
        torch.set_rng_state(self.generator.get_state())
        try:
            return func(*args, **kwargs)
        finally:
            self.generator.set_state(torch.get_rng_state())
            torch.set_rng_state(kept)

    def check(self, name: str) -> None:
        """Raise the error that stays, and the error of an operator that has no deterministic version."""
        self.before(name)
        if self.poison:
            raise torch.AcceleratorError(self.poison)
        if name in NOT_DETERMINISTIC and torch.are_deterministic_algorithms_enabled():
            raise RuntimeError(f"{name} does not have a deterministic implementation on {NAME}")


card = Card()


class PretendTensor(torch.Tensor):
    """A tensor on the card; `raw` is the CPU tensor that it stands for."""

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: Tensor) -> PretendTensor:
        if raw.dtype is torch.float64 and not card.has_float64:
            raise TypeError(f"Cannot convert a {NAME} tensor to float64: the device has no float64")
        layout = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype}
        with torch.inference_mode(False):  # torch cannot make views of ordinary tensors as inference tensors here
            made = torch.Tensor._make_wrapper_subclass(cls, raw.size(), device=f"{NAME}:0", **layout)
        made.raw = raw
        storage = raw.untyped_storage()
        held = card.held.get(storage.data_ptr())
        if held is None and storage.data_ptr():
            held = card.held[storage.data_ptr()] = Held(storage.nbytes())
        made.held = held
        return cast("PretendTensor", made)

    def __repr__(self) -> str:
        return f"PretendTensor({self.raw})"

    def tolist(self) -> Any:
        return self.cpu().tolist()  # torch refuses it for tensors made in Python

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operator of the card on the CPU."""
    name = func.overloadpacket.__name__
    card.check(name)
    card.counted[name] += 1
    mine: list[PretendTensor] = []
    strangers: list[Tensor] = []
    plain = [_plain(value, mine, strangers) for value in args]
    named = {key: _plain(value, mine, strangers) for key, value in kwargs.items()}
    if strangers and name not in ("copy_", "_to_copy"):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {NAME}:0 and cpu")
    to_cpu = name == "copy_" and not isinstance(args[0], PretendTensor)
    to_cpu |= name == "_to_copy" and bool(mine) and _type(kwargs.get("device")) == "cpu"
    if to_cpu or name in SYNCHRONISING or (name == "index" and any(a.dtype is torch.bool for a in mine[1:])):
        card.synchronisations[name] += 1
    func_here = OWN.get(name, func)
    draws = torch.Tag.nondeterministic_seeded in func.tags
    out = card.draw(func_here, plain, named) if draws else func_here(*plain, **named)
    if to_cpu:
        return args[0] if name == "copy_" else out
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # such as `transpose_`: change the shape of the stand-in too
            func(*args, **kwargs)
    return _wrapped(out, mine)


def _plain(value: Any, mine: list[PretendTensor], strangers: list[Tensor]) -> Any:
    """Return an argument for the CPU; collect the tensors of the card, and those of the CPU that are no scalars."""
    if isinstance(value, PretendTensor):
        mine.append(value)
        return value.raw
    if isinstance(value, Tensor):
        if value.dim():
            strangers.append(value)
        return value
    if isinstance(value, list | tuple):
        return [_plain(one, mine, strangers) for one in value]
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == NAME else value


def _wrapped(out: Any, mine: list[PretendTensor]) -> Any:
    """Return a result as tensors of the card. An operator in place returns its argument."""
    if isinstance(out, Tensor):
        for argument in mine:
            if argument.raw is out:
                return argument
        return PretendTensor(out)
    if isinstance(out, list | tuple):
        return type(out)(_wrapped(one, mine) for one in out)
    return out


def _type(device: Any) -> str:
    return "" if device is None else torch.device(device).type


def _lstm(inputs: Tensor, hidden: Tensor, cx: Tensor, bias: Tensor | None = None, more: Tensor | None = None) -> Any:
    gates = inputs + hidden if bias is None or more is None else (inputs + bias) + (hidden + more)
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cy = f * cx + i * g
    return o * cy.tanh(), cy, torch.cat([i, f, g, o], 1)


def _lstm_backward(dh: Tensor | None, dc: Tensor | None, cx: Tensor, cy: Tensor, saved: Tensor, has_bias: bool) -> Any:
    i, f, g, o = saved.chunk(4, 1)
    t = cy.tanh()
    dh = torch.zeros_like(cy) if dh is None else dh
    d = dh * o * (1 - t * t) + (0 if dc is None else dc)
    gates = torch.cat([d * g * i * (1 - i), d * cx * f * (1 - f), d * i * (1 - g * g), dh * t * o * (1 - o)], 1)
    return gates, d * f, gates.sum(0) if has_bias else torch.empty(0)


def _gru(inputs: Tensor, hidden: Tensor, hx: Tensor, bias: Tensor | None = None, more: Tensor | None = None) -> Any:
    inputs = inputs if bias is None else inputs + bias
    hidden = hidden if more is None else hidden + more
    (ir, iz, im), (hr, hz, hn) = inputs.chunk(3, 1), hidden.chunk(3, 1)
    r, z = (hr + ir).sigmoid(), (hz + iz).sigmoid()
    n = (im + hn * r).tanh()
    return (hx - n) * z + n, torch.cat([r, z, n, hx, hn], 1)


def _gru_backward(d: Tensor, saved: Tensor, has_bias: bool) -> Any:
    r, z, n, hx, hn = saved.chunk(5, 1)
    dn, dz = d * (1 - z) * (1 - n * n), d * (hx - n) * (1 - z) * z
    dr = dn * hn * (1 - r) * r
    inputs, hidden = torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1)
    sums = (inputs.sum(0), hidden.sum(0)) if has_bias else (torch.empty(0), torch.empty(0))
    return inputs, hidden, d * z, *sums


OWN: dict[str, Callable[..., Any]] = {
    "_thnn_fused_lstm_cell": _lstm,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_backward,
    "_thnn_fused_gru_cell": _gru,
    "_thnn_fused_gru_cell_backward": _gru_backward,
}
"""Fused recurrent cells: torch calls them on any device but the CPU, which has none of them."""


class PretendKind(DeviceKind):
    """The kind of the pretend device."""

    name = accelerator = NAME
    flattens_steps = True

    @property
    def has_float64(self) -> bool:  # type: ignore[override]
        return card.has_float64

    def visible(self, environ: Mapping[str, str]) -> list[str]:
        return [entry for entry in environ.get("FAKEGPU_VISIBLE_DEVICES", "").split(",") if entry]

    def device(self, index: int, identity: str) -> Device:
        seen = {"KNOBS_DEVICE": NAME, "FAKEGPU_VISIBLE_DEVICES": identity, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return Device(f"{NAME}:{index}", NAME, seen, card=f"{NAME}-{identity}")

    def make_deterministic(self) -> None:
        torch.use_deterministic_algorithms(True)

    def rng_state(self, device: torch.device) -> Tensor | None:
        return card.generator.get_state()

    def set_rng_state(self, state: Tensor, device: torch.device) -> None:
        card.generator.set_state(state)

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
        everything, aten = _Backend._libraries = (torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL"))
        everything.fallback(lambda op, *args, **kwargs: run(op, args, kwargs), "PrivateUse1")
        copy = torch.ops.aten.copy_.default  # `torch.tensor(..., device=...)` calls it where the fallback cannot
        aten.impl("copy_", lambda *args, **kwargs: run(copy, args, kwargs), "PrivateUse1")
        PretendAccelerator.register_accelerators(AcceleratorRegistry)
    register_kind(PretendKind())
