"""The state and the tensors of the pretend device: how it runs an operator, and when it refuses one."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from pretend_cells import OWN
from pretend_graph import Graph
from torch.utils._mode_utils import no_dispatch

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
        self.size = 0
        if card.limit is not None and card.bytes + size > card.limit:
            card.refuse(torch.OutOfMemoryError(f"{NAME} out of memory. Tried to allocate {size} bytes"))
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
        self.late: Exception | None = None
        self.graph: Graph | None = None
        """Records what runs."""
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

    def refuse(self, error: Exception) -> None:
        """Raise the error; within a backward pass, raise it at the first operator after it.

        A real device is late too, and torch aborts the process if a device in Python raises within a backward pass.
        """
        if torch._C._current_autograd_node() is None:
            raise error
        self.late = self.late or error

    def check(self, name: str) -> None:
        """Refuse the operator if an error stays, is late, or if the operator has no deterministic version."""
        self.before(name)
        if self.poison:
            self.refuse(torch.AcceleratorError(self.poison))
        if self.late is not None and torch._C._current_autograd_node() is None:
            error, self.late = self.late, None
            raise error
        if name in NOT_DETERMINISTIC and torch.are_deterministic_algorithms_enabled():
            self.refuse(RuntimeError(f"{name} does not have a deterministic implementation on {NAME}"))


card = Card()


class PretendTensor(torch.Tensor):
    """A tensor on the card; `raw` is the CPU tensor that it stands for."""

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type[PretendTensor], raw: Tensor) -> PretendTensor:
        if raw.dtype is torch.float64 and not card.has_float64:
            card.refuse(TypeError(f"Cannot convert a {NAME} tensor to float64: the device has no float64"))
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
    if func.overloadpacket.__name__ == "to":
        return func.decompose(*args, **kwargs)  # in inference mode, torch leaves it whole
    name = func.overloadpacket.__name__
    card.check(name)
    card.counted[name] += 1
    mine: list[PretendTensor] = []
    strangers: list[Tensor] = []
    plain = [_plain(value, mine, strangers) for value in args]
    named = {key: _plain(value, mine, strangers) for key, value in kwargs.items()}
    mixed_in_place = func._schema.is_mutable and isinstance(args[0], Tensor) and not isinstance(args[0], PretendTensor)
    if (strangers or mixed_in_place) and name not in ("copy_", "_to_copy"):
        card.refuse(RuntimeError(f"Expected all tensors to be on the same device, but {name} got {NAME}:0 and cpu"))
    to_cpu = name == "copy_" and not isinstance(args[0], PretendTensor)
    to_cpu |= name == "_to_copy" and bool(mine) and _type(kwargs.get("device")) == "cpu"
    by_mask = name == "index" and any(a.dtype is torch.bool for a in mine[1:])
    waits = to_cpu or name in SYNCHRONISING or by_mask
    if waits:
        card.synchronisations[name] += 1
    func_here = OWN.get(name, func)
    draws = torch.Tag.nondeterministic_seeded in func.tags

    def call() -> Any:
        return card.draw(func_here, plain, named) if draws else func_here(*plain, **named)

    if card.graph is None or torch.Tag.inplace_view in func.tags:
        out = call()
    else:
        if waits or strangers:
            card.refuse(torch.AcceleratorError(f"{name}: operation not permitted while a graph is recorded"))
        out = card.graph.note(call, (plain, named))
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
        return value if card.graph is None else value.clone()  # a graph keeps the number
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
