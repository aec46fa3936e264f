"""Batches cut from tensors that stay on the device: no loader processes, no collation of single samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningDataModule

from knobs.config import Split, Splits
from knobs.data.prepared import open_prepared
from knobs.devices import device_kind
from knobs.errors import BadInputError
from knobs.user_code import line_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from knobs.config import RunConfig

Pair = tuple[torch.Tensor, torch.Tensor]

EVALUATION_SAMPLES = 4096
"""Samples in one forward pass of an evaluation."""

GATHER_BYTES = 1 << 26
"""Bytes of samples that are gathered at once for several batches and then sliced."""


EVALUATION_BYTES = 1 << 26
"""Bytes of the samples in one forward pass of an evaluation; a network's activations take many times as much."""


def evaluation_samples(x: torch.Tensor) -> int:
    """Return how many of these samples one forward pass of an evaluation takes."""
    return max(1, min(EVALUATION_SAMPLES, EVALUATION_BYTES // max(1, x[:1].nbytes)))


def float_type(config: RunConfig) -> torch.dtype:
    """Return the type of weights and data in the run's precision."""
    return torch.float64 if config.training.precision == "64" else torch.float32


class Interval:
    """The batches of the optimizer steps from `begin` up to but excluding `end`, between two validations.

    The order of epoch e is a permutation drawn from (seed, e) alone, so any step's batch can be made without the steps
    before it. Iterating yields (x, y): (batch, *spec.shape) and the targets.
    """

    def __init__(self, data: InMemoryData, begin: int, end: int) -> None:
        self.data, self.begin, self.end = data, begin, end

    def __iter__(self) -> Iterator[Pair]:
        step = self.begin
        while step < self.end:
            epoch, offset = divmod(step, self.data.steps_per_epoch)
            count = min(self.end - step, self.data.steps_per_epoch - offset, self.data.gather_batches)
            batches = self.data.gather(epoch, offset, count)
            yield from self.data.augmented(batches, epoch, offset) if self.data.augments else batches
            step += count


class InMemoryData(LightningDataModule):
    """The splits of a prepared data set as tensors on one device. Lightning gets an interval as one training batch."""

    def __init__(
        self, config: RunConfig, cache: Path, device: torch.device, fingerprint: str = "", *, test: bool = True
    ) -> None:
        """`test`: put the test splits on the device too."""
        super().__init__()
        splits: Splits = open_prepared(config.data, cache, fingerprint)
        self.device, self.floats = device, float_type(config)
        self.batch_size = min(config.data.batch_size, len(splits.train.x))
        self.keep_training_split(splits.train)
        self.val = self._tensors(splits.val)
        self.test_splits = {"": splits.test, **splits.extra} if test else {}
        """The arrays of the test splits by name; the main one has an empty name."""
        self.seed, self.config = config.seed, config.data
        self.augments = config.data.augments
        self._generator = device_kind(device.type).generator(device) if self.augments else None
        self.steps_per_epoch = self.samples // self.batch_size
        self.val_every = config.training.val_every or self.steps_per_epoch
        self.max_steps = config.training.max_steps
        self.start = 0
        self.gather_batches = max(1, GATHER_BYTES // max(1, self.batch_bytes))
        self._epoch: tuple[int, torch.Tensor] | None = None

    def keep_training_split(self, split: Split) -> None:
        """Put the training split on the device."""
        self.train = self._tensors(split)
        self.samples = len(self.train[0])
        self.batch_bytes = self.train[0][: self.batch_size].nbytes

    def to_device(self, x: torch.Tensor, y: torch.Tensor) -> Pair:
        """Return the tensors on the device, floating-point numbers in the run's precision."""
        x = x.to(self.device, self.floats) if x.is_floating_point() else x.to(self.device)
        return x, y.to(self.device, self.floats) if y.is_floating_point() else y.to(self.device)

    def _tensors(self, split: Split) -> Pair:
        return self.to_device(torch.from_numpy(split.x), torch.from_numpy(split.y))

    def permutation(self, epoch: int) -> torch.Tensor:
        """Return the order of the training samples in this epoch, on the device. It depends on (seed, epoch) alone."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._draw_order(self.seed, epoch))
        return self._epoch[1]

    def _draw_order(self, seed: int, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
        order = torch.randperm(len(self.train[0]), generator=generator)
        return self.upload(order)

    def upload(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a CPU tensor on the device, without waiting for the device."""
        return device_kind(self.device.type).upload(tensor, self.device)

    def gather(self, epoch: int, offset: int, count: int) -> Iterator[Pair]:
        """Yield `count` batches of an epoch, from its batch number `offset`. Their samples are gathered at once."""
        size = self.batch_size
        chosen = self.permutation(epoch)[offset * size : (offset + count) * size]
        x, y = self.train
        return zip(torch.split(x[chosen], size), torch.split(y[chosen], size), strict=True)

    def augmented(self, batches: Iterable[Pair], epoch: int, first: int) -> Iterator[Pair]:
        """Yield changed batches. The changes of batch b of epoch e are drawn from (seed, e, b) alone."""
        for number, (x, y) in enumerate(batches, start=first):
            yield self.augment(x, y, self.seed, epoch, number)

    def augment(self, x: torch.Tensor, y: torch.Tensor, seed: int, epoch: int, number: int) -> Pair:
        """Return a changed batch. Raise `BadInputError` if samples have another shape or number than before."""
        assert self._generator is not None
        self._generator.manual_seed(mix_seed(mix_seed(seed, epoch), number))
        with torch.no_grad():
            made = self.config.augment(x, y, self._generator)
        fine = isinstance(made, tuple) and len(made) == 2 and all(isinstance(one, torch.Tensor) for one in made)
        if not fine or made[0].shape != x.shape or len(made[1]) != len(y):
            place = line_of(type(self.config).augment)
            shapes = ", ".join(str(tuple(one.shape)) for one in made) if fine else type(made).__name__
            raise BadInputError(
                f"{f'{place}: ' if place else ''}augment() of data.{self.config.kind} returns {shapes}; expected x "
                f"{tuple(x.shape)}, and y of {len(y)} samples"
            )
        return made

    def intervals_left(self) -> int:
        """Return the number of validations from `start` to `max_steps`, including the last one."""
        return -(-self.max_steps // self.val_every) - self.start // self.val_every

    def train_dataloader(self) -> Any:
        """Return the loader of one interval per Lightning epoch."""
        return _OneInterval(self)

    def val_dataloader(self) -> Any:
        """Return the validation split in large batches."""
        return _Batches(self.batches(self.val))

    def training_targets(self) -> torch.Tensor:
        """Return all targets of the training split, on the device."""
        return self.train[1]

    def training_batches(self) -> Iterable[Pair]:
        """Return the whole training split, for an evaluation."""
        return self.batches(self.train)

    def batches(self, split: Pair, members: int = 1) -> list[Pair]:
        """Return a whole split in large batches: `EVALUATION_SAMPLES` each, or fewer if samples are large.

        `members`: so many networks take each sample at once.
        """
        size = max(1, evaluation_samples(split[0]) // members)
        return list(zip(*(torch.split(tensor, size) for tensor in split), strict=True))

    def test_batches(self) -> Iterator[tuple[str, list[Pair]]]:
        """Yield name and batches of each test split. A split is on the device only while it is evaluated."""
        for name, split in self.test_splits.items():
            yield name, self.batches(self._tensors(split))


class RunBatchData(InMemoryData):
    """The splits for all members of a batch of runs. Each member has the order of samples that it has alone."""

    def __init__(
        self, config: RunConfig, cache: Path, device: torch.device, seeds: Sequence[int], fingerprint: str = ""
    ) -> None:
        super().__init__(config, cache, device, fingerprint)
        self.seeds = tuple(seeds)
        self.gather_batches = max(1, self.gather_batches // len(self.seeds))
        self._orders: tuple[int, torch.Tensor] | None = None

    def val_dataloader(self) -> Any:
        """Return the validation split in batches that all members take at once."""
        return _Batches(self.batches(self.val, len(self.seeds)))

    def gather(self, epoch: int, offset: int, count: int) -> Iterator[Pair]:
        """Yield batches of (members, batch, *shape) and their targets."""
        if self._orders is None or self._orders[0] != epoch:
            self._orders = (epoch, torch.stack([self._draw_order(seed, epoch) for seed in self.seeds]))
        size = self.batch_size
        chosen = self._orders[1][:, offset * size : (offset + count) * size]
        chosen = chosen.reshape(len(self.seeds), count, size).transpose(0, 1)
        x, y = self.train
        return zip(x[chosen].unbind(0), y[chosen].unbind(0), strict=True)

    def augmented(self, batches: Iterable[Pair], epoch: int, first: int) -> Iterator[Pair]:
        """Yield changed batches: each member's as it has them alone."""
        for number, (x, y) in enumerate(batches, start=first):
            pairs = zip(x.unbind(0), y.unbind(0), self.seeds, strict=True)
            made = [self.augment(one, targets, seed, epoch, number) for one, targets, seed in pairs]
            yield torch.stack([one for one, _ in made]), torch.stack([targets for _, targets in made])


class _Batches:
    """A loader over finished batches (Lightning takes a plain list for several loaders)."""

    def __init__(self, batches: list[Pair]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.batches)


class _OneInterval:
    """The loader that Lightning gets: each pass over it yields the next interval, once."""

    def __init__(self, data: InMemoryData) -> None:
        self.data = data
        self.next = data.start

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Interval]:
        begin = self.next
        self.next = min((begin // self.data.val_every + 1) * self.data.val_every, self.data.max_steps)
        yield Interval(self.data, begin, self.next)


def mix_seed(seed: int, epoch: int) -> int:
    """Return one 63-bit seed from two numbers. One SplitMix64 round maps neighbours far apart."""
    z = (seed + (epoch + 1) * 0x9E3779B97F4A7C15) & (2**64 - 1)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (z ^ (z >> 31)) & (2**63 - 1)
