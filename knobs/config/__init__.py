"""What a run is: `RunConfig` and its parts, and the plain values that describe data. Imports no torch.

A *knob* is one leaf of the tree, named by its dotted path (`model.width`, `optimizer.lr`). Each part is a frozen
dataclass whose values are checked when it is built. A part builds its owner: `model.build(spec)` returns the network,
`optimizer.build(named_parameters)` the torch optimizer, `objective.loss(outputs, targets)` the loss.
"""

from __future__ import annotations

from knobs.config.data import (
    SPLITS,
    Array,
    DataConfig,
    DataSpec,
    Layout,
    Split,
    Splits,
    Task,
)
from knobs.config.kinds import KINDED, kind_class, knob_order, usual_objective
from knobs.config.metric import Direction, Metric
from knobs.config.model import ModelConfig
from knobs.config.named_metrics import metric_names, usual_direction
from knobs.config.objective import ObjectiveConfig
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
from knobs.config.run import RunConfig
from knobs.config.schedule import ScheduleConfig
from knobs.config.training import Training

__all__ = [
    "KINDED",
    "SPLITS",
    "Array",
    "Count",
    "DataConfig",
    "DataSpec",
    "Direction",
    "Fraction",
    "GroupedOptimizerConfig",
    "Layout",
    "Metric",
    "ModelConfig",
    "NonNegative",
    "ObjectiveConfig",
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
    "knob_order",
    "metric_names",
    "part",
    "text_of",
    "usual_direction",
    "usual_objective",
]
