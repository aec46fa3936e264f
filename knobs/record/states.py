"""The one table of run states, and what each state means in MLflow and in Optuna."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MlflowStatus = Literal["RUNNING", "FINISHED", "KILLED", "FAILED"]


@dataclass(frozen=True)
class State:
    """A state of a run and what it means in the two stores."""

    name: str
    mlflow: MlflowStatus
    optuna: Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]
    ended: bool = True
    """The run will not continue."""
    finished: bool = False
    """The run has values at the checkpoint that validation chose."""
    trainable: bool = True
    """False if the config itself failed: its trial violates a constraint, so that the search moves away."""
    reproducible: bool = False
    """Training again must end in this state; the other states have causes outside the training."""


class StateName:
    """Values of `Tag.STATE`."""

    RUNNING: Final = "running"
    FINISHED: Final = "finished"
    REUSED: Final = "reused"
    PRUNED: Final = "pruned"
    DIVERGED: Final = "diverged"
    OUT_OF_MEMORY: Final = "out_of_memory"
    INTERRUPTED: Final = "interrupted"
    LOST: Final = "lost"
    FAILED: Final = "failed"
    NO_RUN_FINISHED: Final = "no run finished"
    """State of a cell without a result."""


STATES: Final = {
    state.name: state
    for state in (
        State(StateName.RUNNING, "RUNNING", "RUNNING", ended=False),
        State(StateName.FINISHED, "FINISHED", "COMPLETE", finished=True, reproducible=True),
        State(StateName.REUSED, "FINISHED", "COMPLETE", finished=True, reproducible=True),
        State(StateName.PRUNED, "KILLED", "PRUNED", reproducible=True),
        State(StateName.DIVERGED, "FAILED", "PRUNED", trainable=False, reproducible=True),
        State(StateName.OUT_OF_MEMORY, "FAILED", "PRUNED", trainable=False),
        State(StateName.INTERRUPTED, "KILLED", "WAITING", ended=False),
        State(StateName.LOST, "FAILED", "FAIL"),
        State(StateName.FAILED, "FAILED", "FAIL"),
        State(StateName.NO_RUN_FINISHED, "FINISHED", "FAIL"),
    )
}
"""The one table of states."""


def is_ended(state: str) -> bool:
    """Return whether a run in this state will not continue."""
    return state in STATES and STATES[state].ended


def is_finished(state: str) -> bool:
    """Return whether a run in this state has values at its chosen checkpoint."""
    return state in STATES and STATES[state].finished
