"""What a run is: `RunConfig` and its parts, and the plain values that describe data. Imports no torch.

A *knob* is one leaf of the tree, named by its dotted path (`model.width`, `optimizer.lr`). Each part is a frozen
dataclass whose values are checked when it is built. A part builds its owner: `model.build(spec)` returns the network,
`optimizer.build(named_parameters)` the torch optimizer.
"""

from __future__ import annotations

from knobs.config.data import (
    BOUNDS,
    LOWER_IS_BETTER,
    METRICS,
    SPLITS,
    Array,
    DataConfig,
    DataSpec,
    Layout,
    Split,
    Splits,
    Task,
    monitored,
)
from knobs.config.model import ModelConfig
from knobs.config.optimizer import GroupedOptimizerConfig, OptimizerConfig
from knobs.config.parts import (
    Count,
    Fraction,
    NonNegative,
    Part,
    Positive,
    Value,
    as_tuple,
    describe,
    field_names,
    part,
    text_of,
)
from knobs.config.run import KINDED, RunConfig, kind_class
from knobs.config.schedule import ScheduleConfig
from knobs.config.training import Training

__all__ = [
    "BOUNDS",
    "KINDED",
    "LOWER_IS_BETTER",
    "METRICS",
    "SPLITS",
    "Array",
    "Count",
    "DataConfig",
    "DataSpec",
    "Fraction",
    "GroupedOptimizerConfig",
    "Layout",
    "ModelConfig",
    "NonNegative",
    "OptimizerConfig",
    "Part",
    "Positive",
    "RunConfig",
    "ScheduleConfig",
    "Split",
    "Splits",
    "Task",
    "Training",
    "Value",
    "as_tuple",
    "describe",
    "field_names",
    "kind_class",
    "monitored",
    "part",
    "text_of",
]
