"""MNIST-1D: ten digit-like curves as noisy sequences of 40 numbers."""

from __future__ import annotations

import random
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from knobs import BadInputError, Count, DataConfig, DataSpec, NonNegative, Split, Splits, part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knobs import Array


@part
class MNIST1D(DataConfig):
    """Every argument of the paper's generator is a knob of the same name. The defaults make the paper's frozen set.

    Greydanus & Kobak 2024. The generator itself centres and scales by the whole set, test included. This is part of the
    benchmark's definition.
    """

    num_samples: Annotated[int, Field(ge=20)] = 5000
    """Samples in total; each of the ten classes has a tenth."""
    train_split: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Fraction of the samples that is not test."""
    validation: Count = 500
    """Training samples that become the validation split: the last ones (the generator has shuffled them)."""
    template_len: Annotated[int, Field(ge=2)] = 12
    """Points of a class's curve; with the greatest padding, the length to which a signal is stretched."""
    padding: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (36, 60)
    """Minimum and maximum points of padding, drawn for each sample."""
    scale_coeff: NonNegative = 0.4
    """Range of the random height: 1 +- half of this."""
    max_translation: Annotated[int, Field(ge=1)] = 48
    """Maximum number of points by which a signal is moved."""
    corr_noise_scale: NonNegative = 0.25
    """Size of the smooth noise in the padding."""
    iid_noise_scale: NonNegative = 0.02
    """Size of the white noise everywhere."""
    shear_scale: NonNegative = 0.75
    """Size of the random slope."""
    shuffle_seq: bool = False
    """Reorder the points of all signals by one random permutation, which removes locality."""
    final_seq_length: Annotated[int, Field(ge=2)] = 40
    """Points of a finished signal."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """The generator's seed."""
    fresh: Annotated[int, Field(ge=0, multiple_of=10)] = 0
    """Samples of one more test split, `fresh`, from the generator at `seed` + 1000. Each class has a tenth."""

    flat: bool = False
    """Give the points as a vector, for networks of dense layers. Off: a sequence."""

    def spec(self) -> DataSpec:
        """Return the spec: a sequence of one feature, or a vector if flat; ten classes."""
        length = self.final_seq_length
        if self.flat:
            return DataSpec(task="multiclass", layout="vector", shape=(length,), outputs=10, metric="accuracy")
        return DataSpec(task="multiclass", layout="sequence", shape=(length, 1), outputs=10, metric="accuracy")

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Generate the set. Both global random states are restored."""
        made = self._generate()
        x, x_test = self._shaped(made["x"]), self._shaped(made["x_test"])
        y = made["y"].astype(np.int64)
        kept = len(x) - self.validation
        if kept < 1 or len(made["x_test"]) < 1:
            raise BadInputError(
                f"data.validation = {self.validation}: of {len(x) + len(made['x_test'])} samples, train_split "
                f"{self.train_split:g} leaves {len(x)} for training and validation"
            )
        return Splits(
            train=Split(x[:kept].copy(), y[:kept].copy()),
            val=Split(x[kept:].copy(), y[kept:].copy()),
            test=Split(x_test, made["y_test"].astype(np.int64)),
            extra={"fresh": self._fresh()} if self.fresh else {},
        )

    def _shaped(self, x: Array) -> Array:
        return np.ascontiguousarray(x, dtype=np.float32).reshape(-1, *self.spec().shape)

    def _generate(self) -> dict[str, Any]:
        from mnist1d.data import make_dataset

        with _global_randomness_kept():
            made: dict[str, Any] = make_dataset(self._arguments())
        return made

    def _fresh(self) -> Split:
        """Draw curves that are not in the paper's set, centred and scaled by the mean and deviation of that set."""
        known, order = self._curves(self.num_samples, self.seed)
        curves, _ = self._curves(self.fresh, (self.seed + 1000) % 2**32)
        x = (curves[:, order] - known.mean()) / known.std()
        return Split(self._shaped(x), np.repeat(np.arange(10), self.fresh // 10))

    def _curves(self, samples: int, seed: int) -> tuple[Array, Array]:
        """Return the generator's curves by class before it shuffles, centres and scales them: (samples, points).

        Also return the order into which it would put their points: (points,).
        """
        from mnist1d.data import get_templates
        from mnist1d.transform import transform
        from mnist1d.utils import set_seed

        templates, arguments = get_templates(), self._arguments()
        with _global_randomness_kept():
            set_seed(seed)
            made = [
                transform(template, templates["t"], arguments)[0]
                for template in templates["x"]
                for _ in range(samples // len(templates["x"]))
            ]
            np.random.permutation(len(made))  # the generator draws the order of the samples first
            points = np.random.permutation(self.final_seq_length)
        return np.stack(made), points if self.shuffle_seq else np.arange(self.final_seq_length)

    def _arguments(self) -> SimpleNamespace:
        theirs = [name for name in MNIST1D.__annotations__ if name not in ("validation", "fresh", "flat")]
        return SimpleNamespace(**{name: getattr(self, name) for name in theirs})


@contextmanager
def _global_randomness_kept() -> Iterator[None]:
    """Restore both global random states, which the generator seeds. Raise `BadInputError` if it rejects the knobs."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    except (ValueError, IndexError) as error:
        raise BadInputError(f"the generator of mnist1d cannot work with these knobs: {error}") from error
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
