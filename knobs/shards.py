"""Training data that do not fit into memory: read from disk a shard at a time, in an order that any step can be had in.

The order of epoch e is drawn from (seed, e) alone: shards at random, samples at random within their shard. That is not
a permutation of all samples, which would read the disk once a sample (Bottou 2012, section 3, on shuffled passes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from knobs.datamodule import EVALUATION_SAMPLES, InMemoryData, mixed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from knobs.config import RunConfig
    from knobs.data import Split
    from knobs.datamodule import Pair

KEPT = 2
"""Shards in memory at a time: a batch may begin in one and end in the next."""


class ShardedData(InMemoryData):
    """As `InMemoryData`, the training split apart: that stays on disk."""

    def __init__(self, config: RunConfig, cache: Path, device: torch.device, fingerprint: str = "") -> None:
        self.shard_size = config.data.spec().shard
        self._kept: dict[int, Pair] = {}
        super().__init__(config, cache, device, fingerprint)

    def take(self, split: Split) -> None:
        """Keep the mapped arrays; their pages are the system's to drop."""
        self.on_disk = split
        self.samples = len(split.x)
        self.batch_bytes = split.x[: self.batch_size].nbytes

    def shard(self, index: int) -> Pair:
        """A shard's samples on the device, read now unless it was among the last."""
        if index not in self._kept:
            rows = slice(index * self.shard_size, (index + 1) * self.shard_size)
            x, y = (torch.from_numpy(np.array(array[rows])) for array in (self.on_disk.x, self.on_disk.y))
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[index] = self.placed(x, y)
        return self._kept[index]

    def gather(self, epoch: int, offset: int, count: int) -> Iterator[Pair]:
        """`count` batches of an epoch, from its batch number `offset` on."""
        size, order = self.batch_size, self.permutation(epoch)
        for batch in range(offset, offset + count):
            rows = order[batch * size : (batch + 1) * size]
            shards, lengths = torch.unique_consecutive(rows // self.shard_size, return_counts=True)
            parts = []
            for index, local in zip(
                shards.tolist(), torch.split(rows % self.shard_size, lengths.tolist()), strict=True
            ):
                x, y = self.shard(index)
                chosen = local.to(x.device)
                parts.append((x[chosen], y[chosen]))
            yield torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    def training_batches(self) -> Iterator[Pair]:
        """The whole training split in the order on disk, a shard in memory at a time."""
        for index in range(-(-self.samples // self.shard_size)):
            x, y = self.shard(index)
            yield from zip(*(torch.split(tensor, EVALUATION_SAMPLES) for tensor in (x, y)), strict=True)

    def _order(self, seed: int, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(mixed(seed, epoch))
        order = []
        for index in torch.randperm(-(-self.samples // self.shard_size), generator=generator).tolist():
            begin = index * self.shard_size
            length = min(self.shard_size, self.samples - begin)
            order.append(begin + torch.randperm(length, generator=generator))
        return torch.cat(order)


def opened(config: RunConfig, cache: Path, device: torch.device, fingerprint: str = "") -> InMemoryData:
    """The data of a run: in memory, or a shard of it at a time where its spec says so."""
    kind = ShardedData if config.data.spec().shard else InMemoryData
    return kind(config, cache, device, fingerprint)
