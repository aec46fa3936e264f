"""Backpropagation by hand in NumPy: the chain rule of each architecture, to compare with autograd.

Weights and gradients are lists in the order of the network's own parameters. The loss is the mean cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import erf, expit

from knobs import Array, DataSpec
from models._layers import Activation
from models.mlp import MLP
from models.resnet import ResNet
from models.rnn import RNN

if TYPE_CHECKING:
    from torch import nn

Function = Callable[[Array], Array]

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _normal(z: Array) -> Array:
    return np.asarray(0.5 * (1.0 + erf(z / np.sqrt(2.0))))


ACTIVATIONS: dict[Activation, tuple[Function, Function]] = {
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
    "tanh": (np.tanh, lambda z: 1.0 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: 1.0 * (z > 0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1.0, np.exp(z))),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(z)),
        lambda z: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(z)),
    ),
    "gelu": (
        lambda z: z * _normal(z),
        lambda z: _normal(z) + z * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi),
    ),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1.0 + z * expit(-z))),
}
"""Each nonlinearity with its derivative."""


def at_outputs(outputs: Array, labels: Array) -> Array:
    """Return the loss's gradient at the outputs: (probabilities - 1 at the label) / batch size."""
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    delta = powers / powers.sum(1, keepdims=True)
    delta[np.arange(len(labels)), labels] -= 1.0
    return np.asarray(delta / len(labels))


def mlp(weights: list[Array], x: Array, labels: Array, activation: Activation) -> list[Array]:
    """Return an MLP's gradients. A layer's delta is the delta above, through the weights, times its own slope."""
    f, slope = ACTIVATIONS[activation]
    head, offset = weights[-2:]
    layers = list(zip(weights[:-2:2], weights[1:-2:2], strict=True))
    inputs, sums = [x], []
    for w, b in layers:
        sums.append(inputs[-1] @ w.T + b)
        inputs.append(f(sums[-1]))
    delta = at_outputs(inputs[-1] @ head.T + offset, labels)
    gradients = [delta.T @ inputs[-1], delta.sum(0)]
    back = delta @ head
    for (w, _), z, below in zip(reversed(layers), reversed(sums), reversed(inputs[:-1]), strict=True):
        delta = back * slope(z)
        gradients = [delta.T @ below, delta.sum(0), *gradients]
        back = delta @ w
    return gradients


def resnet(weights: list[Array], x: Array, labels: Array, activation: Activation, residual: bool) -> list[Array]:
    """Return a residual network's gradients. A block's input gets one through the branch and one over the skip."""
    f, slope = ACTIVATIONS[activation]
    stem, shift = weights[:2]
    head, offset = weights[-2:]
    blocks = [weights[k : k + 4] for k in range(2, len(weights) - 2, 4)]
    stream, sums = [x @ stem.T + shift], []
    for w1, b1, w2, b2 in blocks:
        sums.append(f(stream[-1]) @ w1.T + b1)
        stream.append(residual * stream[-1] + f(sums[-1]) @ w2.T + b2)
    delta = at_outputs(f(stream[-1]) @ head.T + offset, labels)
    gradients = [delta.T @ f(stream[-1]), delta.sum(0)]
    back = (delta @ head) * slope(stream[-1])
    for (w1, _, w2, _), z, h in zip(reversed(blocks), reversed(sums), reversed(stream[:-1]), strict=True):
        inner = (back @ w2) * slope(z)
        gradients = [inner.T @ f(h), inner.sum(0), back.T @ f(z), back.sum(0), *gradients]
        back = residual * back + (inner @ w1) * slope(h)
    return [back.T @ x, back.sum(0), *gradients]


Cell = Literal["tanh", "relu", "gru", "lstm"]


def forward(cell: Cell, a: Array, b: Array, h: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
    """Compute one step from the gates' sums `a` of the input and `b` of the state, the state and the memory.

    Return the next state and memory, and a trace for `backward`.
    """
    if cell == "lstm":
        i, f, g, o = np.split(a + b, 4, axis=1)
        i, f, g, o = expit(i), expit(f), np.tanh(g), expit(o)
        memory = f * c + i * g
        return o * np.tanh(memory), memory, (i, f, g, o, c, memory)
    if cell == "gru":
        (ar, az, an), (br, bz, bn) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
        r, z = expit(ar + br), expit(az + bz)
        n = np.tanh(an + r * bn)
        return (1.0 - z) * n + z * h, c, (r, z, n, bn, h)
    return ACTIVATIONS[cell][0](a + b), c, (a + b,)


def backward(cell: Cell, dh: Array, dc: Array, trace: tuple[Array, ...]) -> tuple[Array, Array, Array, Array]:
    """Return the gradients at both gates' sums, and those past the gates at the state and memory before the step."""
    if cell == "lstm":
        i, f, g, o, c, memory = trace
        t = np.tanh(memory)
        dc = dc + dh * o * (1.0 - t**2)
        sums = (dc * g * i * (1.0 - i), dc * c * f * (1.0 - f), dc * i * (1.0 - g**2), dh * t * o * (1.0 - o))
        both = np.concatenate(sums, axis=1)
        return both, both, np.zeros_like(dh), dc * f
    if cell == "gru":
        r, z, n, bn, h = trace
        dn = dh * (1.0 - z) * (1.0 - n**2)
        dz, dr = dh * (h - n) * z * (1.0 - z), dn * bn * r * (1.0 - r)
        return np.concatenate([dr, dz, dn], axis=1), np.concatenate([dr, dz, dn * r], axis=1), dh * z, dc
    both = dh * ACTIVATIONS[cell][1](trace[0])
    return both, both, np.zeros_like(dh), dc


def rnn(weights: list[Array], x: Array, labels: Array, cell: Cell) -> list[Array]:
    """Return a recurrent network's gradients, through time (Werbos 1990): each state gets one from the layer above and
    one from the next step.
    """
    head, offset = weights[-2:]
    layers = [weights[k : k + 4] for k in range(0, len(weights) - 2, 4)]
    steps, inputs, traces = x.shape[1], [x], []
    for w, u, bw, bu in layers:
        h = c = np.zeros((len(x), u.shape[1]))
        states, trace = [h], []
        for t in range(steps):
            h, c, kept = forward(cell, inputs[-1][:, t] @ w.T + bw, h @ u.T + bu, h, c)
            states.append(h)
            trace.append(kept)
        inputs.append(np.stack(states[1:], axis=1))
        traces.append((states, trace))
    delta = at_outputs(inputs[-1][:, -1] @ head.T + offset, labels)
    gradients = [delta.T @ inputs[-1][:, -1], delta.sum(0)]
    from_above = np.zeros_like(inputs[-1])
    from_above[:, -1] = delta @ head
    for (w, u, _, _), below, (states, trace) in zip(reversed(layers), inputs[-2::-1], reversed(traces), strict=True):
        dw, du, dbw, dbu = np.zeros_like(w), np.zeros_like(u), np.zeros(len(w)), np.zeros(len(u))
        to_below = np.zeros_like(below)
        dh = dc = np.zeros_like(states[0])
        for t in reversed(range(steps)):
            da, db, past, dc = backward(cell, dh + from_above[:, t], dc, trace[t])
            dw, dbw = dw + da.T @ below[:, t], dbw + da.sum(0)
            du, dbu = du + db.T @ states[t], dbu + db.sum(0)
            to_below[:, t] = da @ w
            dh = past + db @ u
        gradients = [dw, du, dbw, dbu, *gradients]
        from_above = to_below
    return gradients


def _spec(layout: Literal["vector", "sequence"]) -> DataSpec:
    shape = (4,) if layout == "vector" else (5, 2)
    return DataSpec(task="multiclass", layout=layout, shape=shape, outputs=3, metric="accuracy")


Gradient = Callable[[list[Array], Array, Array], list[Array]]


def _cases(architecture: str) -> list[tuple[Any, DataSpec, Gradient]]:
    """Every network of an architecture: config, data and gradient by hand."""
    if architecture == "rnn":
        cells: tuple[Cell, ...] = ("tanh", "relu", "gru", "lstm")
        return [(RNN(cell=cell, depth=2, width=4), _spec("sequence"), partial(rnn, cell=cell)) for cell in cells]
    if architecture == "mlp":
        return [
            (MLP(depth=3, width=5, activation=name), _spec("vector"), partial(mlp, activation=name))
            for name in ACTIVATIONS
        ]
    return [
        (
            ResNet(depth=2, width=5, norm="none", activation=name, residual=residual),
            _spec("vector"),
            partial(resnet, activation=name, residual=residual),
        )
        for name in ACTIVATIONS
        for residual in (True, False)
    ]


def largest_difference(architecture: str, to: str) -> float:
    """Return the largest absolute difference of the gradient by hand to autograd or to central `differences`.

    In float64, over all weights and networks of an architecture (mlp, resnet or rnn).
    """
    import torch
    from torch.nn import functional as F

    worst = 0.0
    for config, spec, gradient in _cases(architecture):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = config.build(spec).double()
            for parameter in network.parameters():  # with biases of 0, units after a dead ReLU would be at the kink
                parameter.data += 0.1 * torch.randn_like(parameter)
            x = torch.randn(8, *spec.shape, dtype=torch.float64)
        labels = torch.arange(8) % spec.outputs
        by_hand = gradient([p.detach().numpy() for p in network.parameters()], x.numpy(), labels.numpy())

        def loss(network: nn.Module = network, x: Any = x, labels: Any = labels) -> torch.Tensor:
            return F.cross_entropy(network(x), labels)

        if to == "autograd":
            found = [g.numpy() for g in torch.autograd.grad(loss(), list(network.parameters()))]
        else:
            found = [_central(parameter.data, loss) for parameter in network.parameters()]
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(by_hand, found, strict=True)))
    return worst


def _central(weight: Any, loss: Callable[[], Any], step: float = 1e-5) -> Array:
    """Return (loss(w + h) - loss(w - h)) / 2h for each entry, one at a time."""
    import torch

    flat, found = weight.view(-1), np.zeros(weight.numel())
    with torch.inference_mode():
        for k in range(len(flat)):
            kept = flat[k].item()
            ends = []
            for sign in (1.0, -1.0):
                flat[k] = kept + sign * step
                ends.append(loss().item())
            flat[k] = kept
            found[k] = (ends[0] - ends[1]) / (2.0 * step)
    return found.reshape(tuple(weight.shape))
