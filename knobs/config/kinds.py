"""The parts whose class is chosen by a kind, and the objective of a run that names none."""

from __future__ import annotations

from knobs import discover
from knobs.config.data import DataConfig, Task
from knobs.config.model import ModelConfig
from knobs.config.objective import USUAL_KINDS, ObjectiveConfig
from knobs.config.optimizer import OptimizerConfig
from knobs.config.parts import Part, check_is_part
from knobs.config.schedule import ScheduleConfig

KINDED: dict[str, tuple[str, type[Part]]] = {
    "model": ("models", ModelConfig),
    "data": ("datamodules", DataConfig),
    "objective": ("objectives", ObjectiveConfig),
    "optimizer": ("optimizers", OptimizerConfig),
    "schedule": ("schedules", ScheduleConfig),
}
"""The parts whose class is chosen by `<part>.kind`: the folder that holds one file per kind, and the base class."""


def kind_class(part_name: str, kind: str) -> type[Part]:
    """Return the class of this kind. Raise `BadInputError` if the folder of the part has no such file."""
    folder, base = KINDED[part_name]
    found = discover.config_class(folder, kind, base)
    check_is_part(found)
    return found


def usual_objective(task: Task) -> ObjectiveConfig:
    """Return the objective of a task's data sets, unless a run names another: its knobs at their defaults."""
    made = kind_class("objective", USUAL_KINDS[task])()
    assert isinstance(made, ObjectiveConfig)
    return made


def knob_order(name: str) -> tuple[bool, bool]:
    """Return by what to sort changes of knobs: kinds first, which decide what knobs exist; then data, for the task."""
    return not name.endswith(".kind"), not name.startswith("data.")


def fitting_objective(objective: ObjectiveConfig | None, task: Task) -> ObjectiveConfig:
    """Return the objective; if it is unset, or another task's usual one at its defaults, this task's usual one."""
    usual = USUAL_KINDS[task]
    if objective is None or (
        objective.kind != usual and objective.kind in USUAL_KINDS.values() and objective == type(objective)()
    ):
        return usual_objective(task)
    return objective
