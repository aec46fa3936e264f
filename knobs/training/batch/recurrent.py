"""Recurrent layers of several networks as one: all members take a time step together.

A small recurrent network on a CPU spends most of its time on the overhead of single operations. Here a time step of all
members takes about ten of them, the backward pass is written by hand, and the gradients of the recurrent weights are
one product over all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn

Tensor = torch.Tensor

sigmoid_backward: Callable[[Tensor, Tensor], Tensor] = torch.ops.aten.sigmoid_backward.default
tanh_backward: Callable[[Tensor, Tensor], Tensor] = torch.ops.aten.tanh_backward.default
threshold_backward: Callable[[Tensor, Tensor, float], Tensor] = torch.ops.aten.threshold_backward.default


class StackedRecurrent(nn.Module):
    """One-layer `nn.RNN`, `nn.GRU` or `nn.LSTM` over (members, batch, steps, features).

    The parameters keep their names and get a leading axis of members.
    """

    def __init__(self, layers: Sequence[nn.RNNBase], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        first = layers[0]
        for name, _parameter in first.named_parameters():
            stacked = torch.stack([cast("Tensor", getattr(layer, name)).detach() for layer in layers])
            self.register_parameter(name, nn.Parameter(stacked))
        self.cell: Any = {"GRU": _GRU, "LSTM": _LSTM}.get(first.mode, _Simple)
        self.more = (first.mode == "RNN_RELU",) if self.cell is _Simple else ()
        self.directions = ("", "_reverse") if first.bidirectional else ("",)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return all states, (members, batch, steps, directions * width); no last state, unlike torch's layers."""
        return torch.cat([self._read(x, suffix) for suffix in self.directions], -1), None

    def _read(self, x: Tensor, suffix: str) -> Tensor:
        w, recurrent, bias, recurrent_bias = (
            getattr(self, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        members, batch, steps, features = x.shape
        by_time = x.transpose(1, 2)
        if suffix:
            by_time = by_time.flip(1)
        flat = by_time.reshape(members, steps * batch, features)
        gates = torch.baddbmm(bias.unsqueeze(1), flat, w.transpose(1, 2)).view(members, steps, batch, -1)
        states: Tensor = self.cell.apply(gates, recurrent, recurrent_bias, *self.more)
        if suffix:
            states = states.flip(1)
        return states.transpose(1, 2)


def can_stack_recurrent(layer: nn.RNNBase) -> bool:
    """Return whether `StackedRecurrent` computes what this layer does."""
    return layer.num_layers == 1 and layer.batch_first and layer.bias and not layer.proj_size


def _weight_gradients(gates: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the recurrent weights and their bias.

    `gates`: gradients of what the product with them gives, (members, steps, batch, gates); `states`: those before each
    step.
    """
    flat = gates.flatten(1, 2)
    return torch.bmm(flat.transpose(1, 2), states.flatten(1, 2)), flat.sum(1)


class _Simple(torch.autograd.Function):
    """h = tanh or relu of (gates + W h + b), step by step (Elman 1990)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        members, steps, batch, width = gates.shape
        states = gates.new_zeros(members, steps + 1, batch, width)
        gates, turned = gates + bias[:, None, None], weight.transpose(1, 2)
        for step in range(steps):
            now = torch.baddbmm(gates[:, step], states[:, step], turned)
            states[:, step + 1] = now.relu_() if relu else now.tanh_()
        ctx.save_for_backward(weight, states)
        ctx.relu = relu
        return states[:, 1:].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        weight, states = ctx.saved_tensors
        back, ahead = torch.empty_like(states[:, 1:]), None
        for step in range(gradient.shape[1] - 1, -1, -1):
            total = gradient[:, step] if ahead is None else torch.baddbmm(gradient[:, step], ahead, weight)
            state = states[:, step + 1]
            ahead = threshold_backward(total, state, 0.0) if ctx.relu else tanh_backward(total, state)
            back[:, step] = ahead
        return back, *_weight_gradients(back, states[:, :-1]), None


class _GRU(torch.autograd.Function):
    """Reset gate, update gate, new state: torch's order and formulas (Cho et al. 2014)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        members, steps, batch, width = *gates.shape[:3], gates.shape[3] // 3
        states = gates.new_zeros(members, steps + 1, batch, width)
        opened = gates.new_empty(members, steps, batch, 2 * width)
        news, recurrent = torch.empty_like(states[:, 1:]), torch.empty_like(states[:, 1:])
        turned, bias = weight.transpose(1, 2), bias.unsqueeze(1)
        for step in range(steps):
            h = states[:, step]
            product = torch.baddbmm(bias, h, turned)
            both = torch.add(gates[:, step, :, : 2 * width], product[..., : 2 * width]).sigmoid_()
            reset, update = both[..., :width], both[..., width:]
            new = torch.addcmul(gates[:, step, :, 2 * width :], reset, product[..., 2 * width :]).tanh_()
            opened[:, step], news[:, step], recurrent[:, step] = both, new, product[..., 2 * width :]
            torch.lerp(new, h, update, out=states[:, step + 1])
        ctx.save_for_backward(weight, states, opened, news, recurrent)
        return states[:, 1:].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        weight, states, opened, news, recurrent = ctx.saved_tensors
        width = news.shape[3]
        inputs = opened.new_empty(*opened.shape[:3], 3 * width)  # gradients of the gates of the inputs
        hidden = torch.empty_like(inputs)  # and of those of the states
        ahead: Tensor | None = None
        for step in range(gradient.shape[1] - 1, -1, -1):
            total = gradient[:, step] if ahead is None else gradient[:, step] + ahead
            both, new, h = opened[:, step], news[:, step], states[:, step]
            reset, update = both[..., :width], both[..., width:]
            kept = total * update
            of_new = tanh_backward(total - kept, new)
            of_both = sigmoid_backward(torch.cat([of_new * recurrent[:, step], total * (h - new)], -1), both)
            inputs[:, step, :, : 2 * width], inputs[:, step, :, 2 * width :] = of_both, of_new
            hidden[:, step, :, : 2 * width] = of_both
            torch.mul(of_new, reset, out=hidden[:, step, :, 2 * width :])
            ahead = torch.baddbmm(kept, hidden[:, step], weight)
        return inputs, *_weight_gradients(hidden, states[:, :-1])


class _LSTM(torch.autograd.Function):
    """Input, forget, cell and output gate: torch's order and formulas (Hochreiter & Schmidhuber 1997)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        members, steps, batch, width = *gates.shape[:3], gates.shape[3] // 4
        states = gates.new_zeros(members, steps + 1, batch, width)
        cells, squashed = torch.zeros_like(states), torch.empty_like(states[:, 1:])
        # tanh(x) = 2 sigmoid(2 x) - 1, so that one sigmoid serves all gates
        doubled = torch.ones(4, 1, device=gates.device, dtype=gates.dtype)
        doubled[2] = 2
        factor = doubled.expand(4, width).flatten()
        gates, turned = (gates + bias[:, None, None]).mul_(factor), (weight.transpose(1, 2) * factor)
        news = gates[..., 2 * width : 3 * width].unbind(1)
        enters, forgets, _, leaves = (gate.unbind(1) for gate in torch.split(gates, width, -1))
        h, c, tanh_c = states.unbind(1), cells.unbind(1), squashed.unbind(1)
        for step, now in enumerate(gates.unbind(1)):
            now.baddbmm_(h[step], turned).sigmoid_()
            news[step].mul_(2).sub_(1)
            torch.mul(forgets[step], c[step], out=c[step + 1]).addcmul_(enters[step], news[step])
            torch.mul(leaves[step], torch.tanh(c[step + 1], out=tanh_c[step]), out=h[step + 1])
        ctx.save_for_backward(weight, states, cells, squashed, gates)
        return states[:, 1:].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        weight, states, cells, squashed, gates = ctx.saved_tensors
        steps, width = squashed.shape[1], squashed.shape[3]
        enter, forget, new, leave = torch.split(gates, width, -1)
        back = torch.empty_like(gates)  # each gate's slope times what the gate is multiplied by, then the gradients
        of_enter, of_forget, of_new, of_leave = torch.split(back, width, -1)
        torch.ops.aten.sigmoid_backward.grad_input(new, enter, grad_input=of_enter)
        torch.ops.aten.sigmoid_backward.grad_input(cells[:, :-1], forget, grad_input=of_forget)
        torch.ops.aten.tanh_backward.grad_input(enter, new, grad_input=of_new)
        torch.ops.aten.sigmoid_backward.grad_input(squashed, leave, grad_input=of_leave)
        through = tanh_backward(leave, squashed)
        lists = (x.unbind(1) for x in (gradient, back, through, forget, back[..., : 3 * width], of_leave))
        gradients, backs, throughs, forgets, by_cell, by_state = lists
        ahead = of_cell = None
        for step in range(steps - 1, -1, -1):
            total = gradients[step] if ahead is None else torch.baddbmm(gradients[step], ahead, weight)
            of_cell = total * throughs[step] if of_cell is None else torch.addcmul(of_cell, total, throughs[step])
            ahead = backs[step]
            by_cell[step].view(*of_cell.shape[:2], 3, width).mul_(of_cell.unsqueeze(-2))
            by_state[step].mul_(total)
            of_cell = of_cell * forgets[step]
        return back, *_weight_gradients(back, states[:, :-1])
