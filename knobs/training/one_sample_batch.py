"""Refuses batch normalisation that is trained on batches of one sample, before a run and during it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from knobs.errors import BadInputError
from knobs.training.batch.spatial import StackedBatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knobs.config import RunConfig

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, StackedBatchNorm)


def check_one_sample_batch(config: RunConfig) -> None:
    """Raise `BadInputError` if the network cannot be trained on batches of one sample.

    Any other failure is left to the run.
    """
    if config.data.batch_size > 1:
        return
    spec = config.data.spec()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            network = config.model.build(config.network_spec).train()
            with refuse_one_sample_batch_norm(config, network):
                network(torch.zeros(1, *spec.shape))
    except BadInputError:
        raise
    except Exception:
        return


@contextmanager
def refuse_one_sample_batch_norm(config: RunConfig, network: nn.Module) -> Iterator[None]:
    """Within the block, raise `BadInputError` if a batch normalisation in training gets one value per channel.

    This hooks into every such layer's forward pass, which costs time: use it for batches of one sample only.
    """

    def check_values(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        if module.training and x.numel() == module.num_features:
            raise BadInputError(
                f"data.batch_size = {config.data.batch_size}: the batch normalisation of model {config.model.kind} "
                f"cannot be trained on a batch of one sample; use at least 2"
            )

    layers = [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
    hooks = [layer.register_forward_pre_hook(check_values, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
