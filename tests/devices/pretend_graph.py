"""Graphs of the pretend device: the operators of a step, recorded once and run again on the same tensors.

As on CUDA, recording changes nothing, and Python's numbers become part of the record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Tensor = torch.Tensor


class Graph:
    """A recorded step. Its tensors are those of the CPU that stand for the card's."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], Any], list[Tensor]]] = []
        """Each operator with its arguments, and the tensors for its results."""
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def note(self, call: Callable[[], Any], arguments: Any) -> Any:
        """Record a call and return its results. `undo` takes back what it changes."""
        for tensor in tensors(arguments):  # not all operators say that they change an argument
            whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())  # type: ignore[call-overload]
            self._before.setdefault(whole.data_ptr(), (whole, whole.clone()))
        out = call()
        self.calls.append((call, tensors(out)))
        return out

    def undo(self) -> None:
        """Give every tensor the value that it had before the step was recorded."""
        for tensor, value in self._before.values():
            tensor.copy_(value)
        self._before.clear()

    def replay(self) -> None:
        """Run the step."""
        with torch.no_grad():
            for call, results in self.calls:
                for old, new in zip(results, tensors(call()), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors in an argument or a result."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return tensors(list(value.values()))
    return [tensor for one in value for tensor in tensors(one)] if isinstance(value, list | tuple) else []
