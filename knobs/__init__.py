"""knobs: neural-network experiments you can trust.

`import knobs` is cheap: each name below is imported when it is first used. It also makes content importable, so that
`from models.mlp import MLP` works in scripts and notebooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knobs.code.imported import install_noting_finder as _install_noting_finder
from knobs.public import HOMES as _HOMES

if TYPE_CHECKING:
    from knobs.ablation import Ablation as Ablation
    from knobs.ablation import Beats as Beats
    from knobs.ablation import BeatsAtEveryBudget as BeatsAtEveryBudget
    from knobs.ablation import Cell as Cell
    from knobs.ablation import Computed as Computed
    from knobs.ablation import Derived as Derived
    from knobs.ablation import Exceeds as Exceeds
    from knobs.ablation import Factor as Factor
    from knobs.ablation import Match as Match
    from knobs.ablation import Matches as Matches
    from knobs.ablation import NoDifference as NoDifference
    from knobs.ablation import Quick as Quick
    from knobs.ablation import RecordedValues as RecordedValues
    from knobs.ablation import Reference as Reference
    from knobs.ablation import Trend as Trend
    from knobs.config import Array as Array
    from knobs.config import Count as Count
    from knobs.config import DataConfig as DataConfig
    from knobs.config import DataSpec as DataSpec
    from knobs.config import Fraction as Fraction
    from knobs.config import GroupedOptimizerConfig as GroupedOptimizerConfig
    from knobs.config import Metric as Metric
    from knobs.config import ModelConfig as ModelConfig
    from knobs.config import NonNegative as NonNegative
    from knobs.config import ObjectiveConfig as ObjectiveConfig
    from knobs.config import OptimizerConfig as OptimizerConfig
    from knobs.config import Part as Part
    from knobs.config import Positive as Positive
    from knobs.config import RunConfig as RunConfig
    from knobs.config import ScheduleConfig as ScheduleConfig
    from knobs.config import Split as Split
    from knobs.config import Splits as Splits
    from knobs.config import Training as Training
    from knobs.config import Value as Value
    from knobs.config import part as part
    from knobs.data import on_disk as on_disk
    from knobs.errors import BadInputError as BadInputError
    from knobs.search import Replicates as Replicates
    from knobs.search import Study as Study
    from knobs.training.combined_optimizer import CombinedOptimizer as CombinedOptimizer

_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605  (computed: one list of names is enough)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module 'knobs' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


_install_noting_finder()
