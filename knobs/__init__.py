"""knobs: neural-network experiments you can trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knobs.config import DataConfig as DataConfig
    from knobs.config import ModelConfig as ModelConfig
    from knobs.config import RunConfig as RunConfig
    from knobs.config import Training as Training
    from knobs.config import part as part
    from knobs.data import DataSpec as DataSpec
    from knobs.data import Split as Split
    from knobs.data import Splits as Splits
    from knobs.study import Study as Study

_HOMES = {
    "DataConfig": "config",
    "DataSpec": "data",
    "ModelConfig": "config",
    "RunConfig": "config",
    "Split": "data",
    "Splits": "data",
    "Study": "study",
    "Training": "config",
    "part": "config",
}


def __getattr__(name: str) -> Any:
    """Imported when first used, so that `knobs --help` stays fast."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'knobs' has no attribute {name!r}")
    return getattr(import_module(f"knobs.{_HOMES[name]}"), name)
