"""Weights of a recorded run as the initial ones of another."""

from __future__ import annotations

from pathlib import Path

from knobs.config import RunConfig
from knobs.errors import BadInputError
from knobs.record.schema import Artifact
from knobs.record.stores.mlflow_store import Tracker


def initial_checkpoint(tracker: Tracker, config: RunConfig) -> Path | None:
    """Return the checkpoint with a run's initial weights; None if they are the model's own.

    Raise `BadInputError` if the store has no such run, or no checkpoint of it.
    """
    source = config.training.init_from
    if source is None:
        return None
    try:
        return tracker.artifact(tracker.get(source).trained_run, Artifact.BEST_CHECKPOINT)
    except BadInputError as error:
        raise BadInputError(f"training.init_from: {error}") from None
