"""MNIST-1D: ten digit-like curves as noisy sequences of 40 numbers."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from knobs.config import Count, DataConfig, NonNegative, part
from knobs.data import DataSpec, Split, Splits
from knobs.errors import BadInputError


@part
class MNIST1D(DataConfig):
    """Every argument of the paper's generator is a knob of the same name; the defaults make the paper's frozen set.

    Greydanus & Kobak 2024. The generator itself centres and scales by the whole set, test included; that is part of the
    benchmark's definition.
    """

    num_samples: Annotated[int, Field(ge=20)] = 5000
    """Samples in all; each of the ten classes gets a tenth."""
    train_split: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Part that is not test."""
    validation: Count = 500
    """Training samples that are held for validation: the last ones (the generator has shuffled them)."""
    template_len: Annotated[int, Field(ge=2)] = 12
    """Points of a class's curve; with the greatest padding, the length that a signal is stretched to."""
    padding: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (36, 60)
    """Fewest and most points of padding, drawn anew for each sample."""
    scale_coeff: NonNegative = 0.4
    """Range of the random height: 1 +- half of this."""
    max_translation: Annotated[int, Field(ge=1)] = 48
    """Points by which a signal is moved, at most."""
    corr_noise_scale: NonNegative = 0.25
    """Size of the smooth noise in the padding."""
    iid_noise_scale: NonNegative = 0.02
    """Size of the white noise everywhere."""
    shear_scale: NonNegative = 0.75
    """Size of the random slope."""
    shuffle_seq: bool = False
    """Reorder the points of all signals alike, at random: what is left when there is no locality."""
    final_seq_length: Annotated[int, Field(ge=2)] = 40
    """Points of a finished signal."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """The generator's seed."""

    def spec(self) -> DataSpec:
        """A sequence of one feature; ten classes."""
        shape = (self.final_seq_length, 1)
        return DataSpec(task="multiclass", layout="sequence", shape=shape, outputs=10, metric="accuracy")

    def load(self) -> Splits:
        """Generate; both global random states are left as they were found."""
        made = self._generate()
        x = np.ascontiguousarray(made["x"], dtype=np.float32)[..., None]
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
            test=Split(
                np.ascontiguousarray(made["x_test"], dtype=np.float32)[..., None], made["y_test"].astype(np.int64)
            ),
        )

    def _generate(self) -> dict[str, Any]:
        from mnist1d.data import make_dataset

        own = {"batch_size", "validation"}
        arguments = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in own}
        states = random.getstate(), np.random.get_state()
        try:
            made: dict[str, Any] = make_dataset(SimpleNamespace(**arguments))
        except (ValueError, IndexError) as error:
            raise BadInputError(f"the generator of mnist1d cannot work with these knobs: {error}") from error
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
        return made
