"""Batches of training data that do not fit into memory, read from disk one shard at a time.

The order of epoch e is drawn from (seed, e) alone: shards at random, samples at random within their shard. This is not
a permutation of all samples, which would read the disk once per sample (Bottou 2012, section 3, on shuffled passes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from knobs.data.in_memory import InMemoryData, mix_seed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from knobs.config import RunConfig, Split
    from knobs.data.in_memory import Pair

SHARDS_KEPT = 2
"""Shards in memory at a time. A batch may begin in one shard and end in the next."""


class ShardedData(InMemoryData):
    """Like `InMemoryData`, except that the training split stays on disk."""

    def __init__(
        self, config: RunConfig, cache: Path, device: torch.device, fingerprint: str = "", *, test: bool = True
    ) -> None:
        self.shard_size = config.data.spec().shard
        self._kept: dict[int, Pair] = {}
        super().__init__(config, cache, device, fingerprint, test=test)

    def keep_training_split(self, split: Split) -> None:
        """Keep the mapped arrays; the operating system may drop their pages."""
        self.on_disk = split
        self.samples = len(split.x)
        self.batch_bytes = split.x[: self.batch_size].nbytes

    def shard(self, index: int) -> Pair:
        """Return a shard's samples on the device. It is read from disk unless it is still in memory."""
        if index not in self._kept:
            rows = slice(index * self.shard_size, (index + 1) * self.shard_size)
            x, y = (self.upload(torch.from_numpy(np.array(array[rows]))) for array in (self.on_disk.x, self.on_disk.y))
            while len(self._kept) >= SHARDS_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[index] = self.to_device(x, y)
        return self._kept[index]

    def gather(self, epoch: int, offset: int, count: int) -> Iterator[Pair]:
        """Yield `count` batches of an epoch, from its batch number `offset`."""
        size, order = self.batch_size, self.permutation(epoch)
        for batch in range(offset, offset + count):
            rows = order[batch * size : (batch + 1) * size]
            shards, lengths = torch.unique_consecutive(rows // self.shard_size, return_counts=True)
            parts = []
            for index, local in zip(
                shards.tolist(), torch.split(rows % self.shard_size, lengths.tolist()), strict=True
            ):
                x, y = self.shard(index)
                chosen = self.upload(local)
                parts.append((x[chosen], y[chosen]))
            yield torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    def training_targets(self) -> torch.Tensor:
        """Return all targets of the training split, read from disk."""
        return self.upload(torch.from_numpy(np.array(self.on_disk.y)))

    def training_batches(self) -> Iterator[Pair]:
        """Yield the whole training split in the order on disk, one shard in memory at a time."""
        for index in range(-(-self.samples // self.shard_size)):
            x, y = self.shard(index)
            yield from self.batches((x, y))

    def _draw_order(self, seed: int, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
        order = []
        for index in torch.randperm(-(-self.samples // self.shard_size), generator=generator).tolist():
            begin = index * self.shard_size
            length = min(self.shard_size, self.samples - begin)
            order.append(begin + torch.randperm(length, generator=generator))
        return torch.cat(order)


def open_run_data(
    config: RunConfig, cache: Path, device: torch.device, fingerprint: str = "", *, test: bool = True
) -> InMemoryData:
    """Return the data of a run: in memory, or sharded if its spec says so. `test`: with the test splits."""
    kind = ShardedData if config.data.spec().shard else InMemoryData
    return kind(config, cache, device, fingerprint, test=test)
