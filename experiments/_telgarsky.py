"""Telgarsky's construction (2016): a sawtooth that a deep and narrow ReLU network computes and a shallow one cannot."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from datamodules.sawtooth import Sawtooth, tent
from models.mlp import MLP

FOLDS = 6
"""Folds of the construction, whose classes alternate along 65 intervals."""
DATA = Sawtooth(folds=FOLDS)
DEEP = MLP(depth=FOLDS, width=2, activation="relu")


@torch.no_grad()
def built() -> nn.Module:
    """Return the network of `DEEP` with the weights of the construction. Every hidden layer adds one fold.

    On (0, 1) the tent map is 2 relu(x) - 4 relu(x - 1/2).
    """
    network = DEEP.build(DATA.spec()).double()
    first, *inner, head = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
    fold = torch.tensor([[2.0, -4.0]], dtype=torch.float64)
    offset = torch.tensor([0.0, -0.5], dtype=torch.float64)
    first.weight.fill_(12.0**-0.5)  # undoes the data's scaling
    first.bias.copy_(0.5 + offset)
    for layer in inner:
        layer.weight.copy_(fold.expand(2, 2))
        layer.bias.copy_(offset)
    head.weight.copy_(torch.cat([-fold, fold]))
    head.bias.copy_(torch.tensor([0.5, -0.5], dtype=torch.float64))
    return network


def construction_error() -> float:
    """Return the greatest distance of the built network from the sawtooth, over 100,001 points of [0, 1]."""
    place = np.linspace(0.0, 1.0, 100_001)
    x = torch.from_numpy((place - 0.5) * math.sqrt(12.0))[:, None]
    with torch.no_grad():
        height = built()(x)[:, 1].numpy() + 0.5
    return float(np.abs(height - tent(place, FOLDS)).max())


def construction_mistakes() -> float:
    """Return the fraction of the test samples that the built network classifies wrongly."""
    test = DATA.load().test
    with torch.no_grad():
        found = built()(torch.from_numpy(test.x).double()).argmax(1).numpy()
    return float((found != test.y).mean())


def shallow_width() -> int:
    """Return the width of one hidden layer that has as many parameters as the construction."""
    parameters = sum(p.numel() for p in built().parameters())
    return (parameters - 2) // 4  # per unit weight, bias and a weight to each output; two biases of the outputs


def shallow_bound() -> float:
    """Return the greatest fraction of [0, 1] that a network with one hidden layer of `shallow_width` can get right.

    Its output is a continuous function of at most width + 1 straight pieces, which changes sign at most width + 1
    times. Dynamic programming over a grid, whose points avoid the classes' borders, finds the best such function.
    """
    points = 100 * 2 ** (FOLDS + 1)
    classes = (tent((np.arange(points) + 0.5) / points, FOLDS) > 0.5).astype(np.int64)
    right = np.zeros((shallow_width() + 2, 2), dtype=np.int64)  # by changes so far and current class
    for label in classes:
        right[1:] = np.maximum(right[1:], right[:-1, ::-1])
        right[:, label] += 1
    return float(right.max() / points)


def shallow_theory() -> float:
    """Return the same bound by counting: 1/2 for a constant, plus half an interval for every change."""
    return 0.5 + (shallow_width() + 1) / 2.0 ** (FOLDS + 1)
