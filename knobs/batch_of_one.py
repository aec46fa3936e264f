"""Batches of one sample, on which batch normalisation cannot be trained: said in our words, before anything runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from knobs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knobs.config import RunConfig


@contextmanager
def explained(config: RunConfig) -> Iterator[None]:
    """Within, torch's complaint becomes a `BadInputError`."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise BadInputError(
            f"data.batch_size = {config.data.batch_size}: the batch normalisation of model {config.model.kind} "
            f"cannot be trained on a batch of one sample; at least 2"
        ) from None


def check(config: RunConfig) -> None:
    """Raise `BadInputError` where a step on one sample would fail so. Any other failure is for the run to tell."""
    if config.data.batch_size > 1:
        return
    spec = config.data.spec()
    try:
        with torch.random.fork_rng(), torch.no_grad(), explained(config):
            config.model.build(spec).train()(torch.zeros(1, *spec.shape))
    except BadInputError:
        raise
    except Exception:
        return
