"""Cells of equal size or equal compute: one knob is solved for in each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from knobs.config import RunConfig
from knobs.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class Match:
    """Solve for one knob in every cell so that the cells are equal in size or in compute."""

    knob: str
    """A knob that takes whole numbers, such as `model.width`."""
    target: int
    """Trainable parameters, or multiply-adds of one sample's forward pass."""
    what: Literal["parameters", "compute"] = "parameters"
    low: int = 1
    high: int = 4096


@functools.cache
def match_config(config: RunConfig, match: Match) -> RunConfig:
    """Return the config whose `match.knob` brings the network closest to the target.

    Bisection finds it, since the size grows with the knob. Raise `BadInputError` if no value of the knob comes within
    half of the target.
    """

    def size(value: int) -> int:
        return network_size(config.with_knobs({match.knob: value}), match.what)

    low, high = match.low, match.high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= match.target else (low, middle)
    best = min((low, high), key=lambda value: abs(size(value) - match.target))
    if not 0.5 <= size(best) / match.target <= 1.5:
        raise BadInputError(f"no {match.knob} from {match.low} to {match.high} gives {match.target} {match.what}")
    return config.with_knobs({match.knob: best})


def network_size(config: RunConfig, what: Literal["parameters", "compute"]) -> int:
    """Return a network's trainable parameters, or the multiply-adds of its forward pass on one sample."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    spec = config.network_spec
    with torch.random.fork_rng(devices=[]):
        network = config.model.build(spec).eval()
    if what == "parameters":
        return sum(p.numel() for p in network.parameters() if p.requires_grad)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *spec.shape))
    return int(counter.get_total_flops()) // 2
