"""Checks of studies: the cheap part of a launch, and networks at many draws of the space."""

from __future__ import annotations

from knobs.checks.check import FailedCheckError
from knobs.errors import BadInputError
from knobs.search import DRAWS, Study, check_space

BUILT = 12
"""Draws of a space at which the network is built."""


def check_study(name: str, study: Study) -> str:
    """Raise `BadInputError` if some draw of the space makes no run. Imports no torch."""
    drawn = {config.to_json() for config in check_space(name, study)}
    return f"{DRAWS} draws, {len(drawn)} different"


def check_draws_build(name: str, study: Study) -> str:
    """Raise `FailedCheckError` if the network of a draw does not build."""
    import torch

    from knobs.training.network import build_network_of

    for number, config in enumerate(check_space(name, study)[:BUILT]):
        try:
            with torch.random.fork_rng(devices=[]):
                build_network_of(config.model, config.network_spec)
        except BadInputError as error:
            raise FailedCheckError(f"draw {number} of the space of {name} does not build: {error}") from error
    return f"{BUILT} of them"
