"""The fused recurrent cells of the pretend device: torch calls them on every device but the CPU, which has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Tensor = torch.Tensor


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
