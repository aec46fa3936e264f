"""Training batches that change in every epoch: what the shipped changes do, and what `augment` may depend on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import quick
from trainings import toy_config

from datamodules.toy import Toy
from knobs import part
from knobs.data.augmentations import flip, mixup, noise, shift
from knobs.data.in_memory import InMemoryData, Interval, RunBatchData
from objectives.cross_entropy import CrossEntropy

if TYPE_CHECKING:
    from torch import Tensor

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5), st.integers(0, 9), st.sampled_from([(4, 2, 7), (3, 1, 6, 5)]))
def test_a_shift_moves_every_sample_and_fills_with_zeros(most: int, seed: int, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=generator(99)) + 1.0
    moved = shift(x, generator(seed), most)
    assert moved.shape == x.shape
    for old, new in zip(x, moved, strict=True):
        found = []
        for steps in torch.cartesian_prod(*[torch.arange(-most, most + 1)] * (x.dim() - 2)).view(-1, x.dim() - 2):
            padded = old
            for axis, by in enumerate(steps.tolist(), start=1):
                rolled = padded.roll(-by, axis)
                index = torch.arange(padded.shape[axis]) + by
                keep = (index >= 0) & (index < padded.shape[axis])
                padded = rolled * keep.view(-1, *[1] * (padded.dim() - axis - 1))
            found.append(bool(torch.equal(padded, new)))
        assert any(found)


def test_a_flip_reverses_about_half() -> None:
    x = torch.arange(4.0).expand(1000, 1, 2, 4)
    made = flip(x, generator())
    reversed_ones = (made == x.flip(-1)).all(dim=(1, 2, 3))
    assert bool((reversed_ones | (made == x).all(dim=(1, 2, 3))).all())
    assert 420 < int(reversed_ones.sum()) < 580


def test_noise_has_its_standard_deviation() -> None:
    assert float(noise(torch.zeros(100_000), generator(), 0.3).std()) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("classes", [3, None])
def test_mixup_mixes_samples_and_targets_alike(classes: int | None) -> None:
    x = torch.eye(6)[:, :4].clone()
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    targets = torch.nn.functional.one_hot(y, 3).float()
    mixed, found = mixup(x, y if classes else targets, generator(3), 0.4, classes)
    order_known = torch.linalg.lstsq(torch.cat([x, targets], 1).T, torch.cat([mixed, found], 1).T).solution
    assert torch.allclose(found.sum(1), torch.ones(6))
    assert torch.allclose(order_known.T @ torch.cat([x, targets], 1), torch.cat([mixed, found], 1), atol=1e-4)
    assert not torch.equal(mixed, x)


@part
class Noisy(Toy):
    """Toy data with noise that is drawn anew."""

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return samples with noise."""
        return noise(x, generator, 0.5), y


def noisy_config(seed: int = 0) -> object:
    config = toy_config()
    made = Noisy(**{name: getattr(config.data, name) for name in ("batch_size", "samples", "task", "layout")})
    return type(config)(
        model=config.model, data=made, optimizer=config.optimizer, schedule=config.schedule,
        training=config.training, seed=seed,
    )  # fmt: skip


def test_any_step_can_be_the_first(tmp_path: Path) -> None:
    data = InMemoryData(noisy_config(), tmp_path, CPU)
    whole = list(Interval(data, 0, 20))
    for begin in (1, 7, 8, 13):
        part_of = list(Interval(InMemoryData(noisy_config(), tmp_path, CPU), begin, 20))
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(part_of, whole[begin:], strict=True))
    plain = list(Interval(InMemoryData(toy_config(), tmp_path, CPU), 0, 20))
    assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(whole, plain, strict=True))
    differences = [a - b for (a, _), (b, _) in zip(whole, plain, strict=True)]
    again = differences[data.steps_per_epoch]
    assert not torch.allclose(differences[0], again, atol=1e-4)  # drawn anew in each epoch


def test_a_member_of_a_batch_sees_what_it_sees_alone(tmp_path: Path) -> None:
    together = list(Interval(RunBatchData(noisy_config(), tmp_path, CPU, (4, 9)), 0, 12))
    for place, seed in enumerate((4, 9)):
        alone = Interval(InMemoryData(noisy_config(seed), tmp_path, CPU), 0, 12)
        assert all(torch.equal(x[place], mine) for (x, _), (mine, _) in zip(together, alone, strict=True))


def test_evaluations_see_the_samples_as_they_are(tmp_path: Path) -> None:
    noisy, plain = InMemoryData(noisy_config(), tmp_path, CPU), InMemoryData(toy_config(), tmp_path, CPU)
    for name in ("training_batches", "val_dataloader"):
        assert all(
            torch.equal(a, b) for (a, _), (b, _) in zip(getattr(noisy, name)(), getattr(plain, name)(), strict=True)
        )


@part
class Mixed(Toy):
    """Toy data, mixed."""

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return mixed samples."""
        return mixup(x, y, generator, 0.4, classes=self.spec().outputs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_samples_train_alone_and_together(smoothing: float) -> None:
    data = Mixed()
    objective = CrossEntropy(label_smoothing=smoothing)
    outputs = torch.randn(2, 8, data.spec().outputs, generator=generator(), dtype=torch.float64)
    labels = torch.arange(8) % data.spec().outputs
    pairs = [data.augment(torch.randn(8, 4, dtype=torch.float64), labels, generator(seed)) for seed in (1, 2)]
    targets = torch.stack([y for _, y in pairs])
    together = objective.stacked_loss([objective, objective], outputs)
    assert together is not None
    alone = torch.stack([objective.loss(outputs[k], targets[k]).mean() for k in range(2)])
    torch.testing.assert_close(together(outputs, targets), alone, rtol=1e-12, atol=0)


MINE = '''"""Digits that are cut."""

from datamodules.digits import Digits
from knobs import part


@part
class Cut(Digits):
    """Digits that are cut."""

    def augment(self, x, y, generator):
        return x[:, :, 1:], y
'''
STUDY = '''"""Cut digits."""

from datamodules.cut import Cut
from knobs import RunConfig, Study, Training
from models.cnn import CNN
from optimizers.sgd import SGD
from schedules.constant import Constant

study = Study(
    baseline=RunConfig(
        model=CNN(), data=Cut(), optimizer=SGD(lr=0.1), schedule=Constant(), training=Training(max_steps=5)
    ),
    space=lambda trial, baseline: baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 0.01, 1)}),
    metric="val/accuracy",
    direction="maximize",
)
'''


@pytest.mark.slow
def test_a_batch_of_another_shape_names_the_users_line(tmp_path: Path) -> None:
    for folder, name, text in (("datamodules", "cut", MINE), ("studies", "cut_digits", STUDY)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(text)
    done = quick("run", "cut_digits", "--devices", "cpu:1", store=tmp_path / "store", cwd=tmp_path)
    assert done.code == 1
    assert "datamodules/cut.py:11: augment() of data.cut returns (100, 1, 7, 8), (100,)" in done.out + done.err
