"""Contracts of every objective, and each shipped loss against its definition."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight
from support import ROOT

from knobs import BadInputError, DataSpec, ObjectiveConfig, discover
from knobs.checks.objectives import check_loss, check_metrics, drawn_batch
from knobs.config import kind_class, usual_objective
from knobs.training.losses import BatchLoss, TrainingLoss
from objectives.binary_cross_entropy import BinaryCrossEntropy
from objectives.cross_entropy import CrossEntropy
from objectives.focal import Focal
from objectives.gaussian import Gaussian
from objectives.huber import Huber
from objectives.quantile import Quantile
from objectives.squared_error import SquaredError

Tensor = torch.Tensor

SPECS = {
    "regression": DataSpec(task="regression", layout="vector", shape=(4,), outputs=2, metric="r2"),
    "binary": DataSpec(task="binary", layout="vector", shape=(4,), outputs=1, metric="auroc"),
    "multiclass": DataSpec(task="multiclass", layout="vector", shape=(4,), outputs=4, metric="accuracy"),
    "per step": DataSpec(
        task="multiclass", layout="sequence", shape=(3, 1), outputs=4, metric="accuracy", tokens=4, per_step=True
    ),
}
KNOBS: dict[str, list[dict[str, Any]]] = {
    "cross_entropy": [
        {"label_smoothing": 0.2},
        {"class_weights": (0.5, 1.0, 2.0, 4.0)},
        {"balanced": True},
        {"balanced": True, "label_smoothing": 0.1},
    ],
    "binary_cross_entropy": [{"label_smoothing": 0.2}, {"pos_weight": 3.0, "label_smoothing": 0.1}, {"balanced": True}],
    "focal": [{"gamma": 0.0}, {"gamma": 0.5}],
    "huber": [{"delta": 0.2}],
    "quantile": [{"level": 0.9}],
    "gaussian": [{"min_sd": 0.1}],
}
"""Values of knobs that every contract holds for, besides the defaults."""

CASES: dict[str, tuple[ObjectiveConfig, DataSpec]] = {}
for name in discover.files("objectives", ROOT):
    cls: Any = kind_class("objective", name)
    for knobs in [{}, *KNOBS.get(name, [])]:
        for label, spec in SPECS.items():
            if spec.task in cls.tasks:
                CASES[f"{name} {label} {knobs or ''}"] = (cls(**knobs), spec)

every = pytest.mark.parametrize(("objective", "spec"), CASES.values(), ids=CASES)


def training_loss(objective: ObjectiveConfig, targets: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss that a step minimizes, a mean, if these are all training targets."""
    made = TrainingLoss(objective, lambda: targets)
    return made.compute


@every
def test_its_checks_pass(objective: ObjectiveConfig, spec: DataSpec) -> None:
    check_loss(objective, spec)
    assert check_metrics(objective, spec).startswith("loss, ")


@every
def test_the_gradient_is_that_of_finite_differences(objective: ObjectiveConfig, spec: DataSpec) -> None:
    outputs, targets = drawn_batch(objective, spec, 12)
    loss = training_loss(objective, targets)
    assert torch.autograd.gradcheck(lambda given: loss(given, targets), outputs.requires_grad_())


@every
def test_the_mean_over_samples_is_the_loss_of_the_batch(objective: ObjectiveConfig, spec: DataSpec) -> None:
    outputs, targets = drawn_batch(objective, spec, 24)
    loss = training_loss(objective, targets)
    alone = [loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(outputs))]
    assert torch.stack(alone).mean().item() == pytest.approx(loss(outputs, targets).item(), rel=1e-9)


@every
def test_the_order_of_the_samples_changes_nothing(objective: ObjectiveConfig, spec: DataSpec) -> None:
    outputs, targets = drawn_batch(objective, spec)
    order = torch.randperm(len(outputs), generator=torch.Generator().manual_seed(3))
    loss = training_loss(objective, targets)
    assert loss(outputs[order], targets[order]).item() == pytest.approx(loss(outputs, targets).item(), rel=1e-9)
    reported = objective.reported_loss(outputs, targets).mean().item()
    assert objective.reported_loss(outputs[order], targets[order]).mean().item() == pytest.approx(reported, rel=1e-9)


@every
@pytest.mark.parametrize("floats", [torch.float32, torch.float64])
def test_a_batch_of_runs_has_the_losses_and_gradients_of_its_runs(
    objective: ObjectiveConfig, spec: DataSpec, floats: torch.dtype
) -> None:
    outputs, targets = drawn_batch(objective, spec, 3 * 16)
    outputs, targets = outputs.to(floats), targets.to(floats) if targets.is_floating_point() else targets
    outputs, many = outputs.view(3, 16, *outputs.shape[1:]).requires_grad_(), targets.view(3, 16, *targets.shape[1:])
    found = BatchLoss([objective] * 3, lambda: targets).compute(outputs, many)
    (gradient,) = torch.autograd.grad(found.sum(), outputs)
    loss = training_loss(objective, targets)
    alone = [loss(outputs[i], many[i]) for i in range(3)]
    (expected,) = torch.autograd.grad(torch.stack(alone).sum(), outputs)
    torch.testing.assert_close(found, torch.stack(alone))
    torch.testing.assert_close(gradient, expected)


class Contrastive(ObjectiveConfig):
    """Each sample's loss depends on the others of its batch."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs @ outputs.T).logsumexp(1) - outputs.square().sum(1)


def test_members_of_a_batch_never_see_each_others_samples() -> None:
    outputs, targets = drawn_batch(Contrastive(), SPECS["multiclass"], 3 * 16)
    found = BatchLoss([Contrastive()] * 3, lambda: targets).compute(outputs.view(3, 16, -1), targets.view(3, 16))
    alone = [Contrastive().loss(rows, targets).mean() for rows in outputs.split(16)]
    torch.testing.assert_close(found, torch.stack(alone))


def test_a_loss_that_draws_draws_once_a_step() -> None:
    """The look at a loss leaves no trace, so that a run that continues draws what it would have drawn."""

    class Drawing(ObjectiveConfig):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return outputs.mean() * torch.rand(())

    outputs, targets = drawn_batch(Drawing(), SPECS["multiclass"])
    made = TrainingLoss(Drawing(), lambda: targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = [made.compute(outputs, targets).item() for _ in range(2)]
        torch.manual_seed(0)
        assert found == [(outputs.mean() * torch.rand(())).item() for _ in range(2)]


@pytest.mark.parametrize(
    "members",
    [
        [CrossEntropy(label_smoothing=s) for s in (0.0, 0.1, 0.3)],
        [Focal(gamma=g) for g in (0.0, 1.0, 3.0)],
        [Focal(gamma=g) for g in (1.0, 1.0001, 1.0002)],
        [CrossEntropy(balanced=True, label_smoothing=s) for s in (0.0, 0.1, 0.3)],
    ],
    ids=["smoothing", "gamma", "nearly equal", "balanced"],
)
def test_members_of_a_batch_may_differ_in_numbers(members: list[ObjectiveConfig]) -> None:
    outputs, targets = drawn_batch(members[0], SPECS["multiclass"], 3 * 16)
    found = BatchLoss(members, lambda: targets).compute(outputs.view(3, 16, -1), targets.view(3, 16))
    for i, member in enumerate(members):
        rows = slice(i * 16, (i + 1) * 16)
        alone = training_loss(member, targets)(outputs[rows], targets[rows])
        assert found[i].item() == pytest.approx(alone.item())


# Values


def test_class_weights_multiply_each_samples_loss() -> None:
    outputs, targets = drawn_batch(CrossEntropy(), SPECS["multiclass"])
    weights = (0.5, 1.0, 2.0, 4.0)
    plain = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    expected = (plain * torch.tensor(weights).double()[targets]).mean().item()
    assert CrossEntropy(class_weights=weights).loss(outputs, targets).mean().item() == pytest.approx(expected)
    assert training_loss(CrossEntropy(class_weights=weights), targets)(outputs, targets).item() == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.parametrize(("cls", "task"), [(CrossEntropy, "multiclass"), (BinaryCrossEntropy, "binary")])
def test_balanced_is_scikit_learns_balanced(cls: type[Any], task: str) -> None:
    outputs, targets = drawn_batch(cls(), SPECS[task], 40)
    rare = torch.cat([torch.arange(40)[targets.flatten() == 0][:3], torch.arange(40)[targets.flatten() != 0]])
    outputs, targets = outputs[rare], targets[rare]
    labels = targets.flatten().long()
    weights = compute_class_weight("balanced", classes=np.unique(labels), y=labels.numpy())
    two = torch.cat([torch.zeros_like(outputs), outputs], 1) if task == "binary" else outputs
    plain = torch.nn.functional.cross_entropy(two, labels, reduction="none")
    found = training_loss(cls(balanced=True), targets)(outputs, targets).item()
    assert found == pytest.approx((plain * torch.from_numpy(weights)[labels]).mean().item(), rel=1e-6)
    assert cls(balanced=True).reported_loss(outputs, targets).item() == pytest.approx(plain.mean().item())


@pytest.mark.parametrize(
    "objective",
    [
        CrossEntropy(label_smoothing=0.3),
        CrossEntropy(class_weights=(0.5, 1.0, 2.0, 4.0)),
        CrossEntropy(balanced=True),
        BinaryCrossEntropy(label_smoothing=0.3),
        BinaryCrossEntropy(pos_weight=3.0),
        BinaryCrossEntropy(balanced=True),
    ],
)
def test_the_reported_loss_is_without_smoothing_and_weights(objective: ObjectiveConfig) -> None:
    outputs, targets = drawn_batch(objective, SPECS[objective.tasks[0]])
    assert torch.equal(objective.reported_loss(outputs, targets), type(objective)().loss(outputs, targets))


def test_pos_weight_is_torchs() -> None:
    outputs, targets = drawn_batch(BinaryCrossEntropy(), SPECS["binary"])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(outputs, targets, pos_weight=torch.tensor(3.0))
    assert BinaryCrossEntropy(pos_weight=3.0).loss(outputs, targets).mean().item() == pytest.approx(expected.item())


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_its_formula(task: str, gamma: float) -> None:
    outputs, targets = drawn_batch(Focal(), SPECS[task])
    two = torch.cat([torch.zeros_like(outputs), outputs], 1) if task == "binary" else outputs
    right = two.softmax(1).gather(1, targets.long().view(-1, 1)).squeeze(1)
    found = Focal(gamma=gamma).loss(outputs, targets)
    torch.testing.assert_close(found, -((1 - right) ** gamma) * right.log())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_stays_finite_at_certainty(gamma: float) -> None:
    outputs = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], requires_grad=True)
    loss = Focal(gamma=gamma).loss(outputs, torch.tensor([0, 0])).sum()
    loss.backward()
    assert outputs.grad is not None
    assert math.isfinite(loss.item())
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize(
    "objective",
    [CrossEntropy(), CrossEntropy(class_weights=(0.5, 1.0, 2.0, 4.0)), Focal(gamma=1.5), CrossEntropy(balanced=True)],
)
def test_probabilities_of_one_class_are_its_label(objective: ObjectiveConfig) -> None:
    outputs, targets = drawn_batch(objective, SPECS["multiclass"])
    loss = objective.training_loss(lambda: targets)
    certain = torch.nn.functional.one_hot(targets, 4).double()
    torch.testing.assert_close(loss(outputs, certain).mean(), loss(outputs, targets).mean())


def test_regressions_are_their_formulas() -> None:
    outputs, targets = drawn_batch(SquaredError(), SPECS["regression"])
    o, t = outputs.numpy(), targets.numpy()
    found = {
        name: cls.loss(outputs, targets).mean().item()
        for name, cls in {"squared": SquaredError(), "huber": Huber(delta=0.7), "low": Quantile(level=0.1)}.items()
    }
    error = np.abs(o - t)
    huber = np.where(error <= 0.7, error**2 / 2, 0.7 * (error - 0.35)).mean()
    assert found == pytest.approx(
        {"squared": sk.mean_squared_error(t, o), "huber": huber, "low": sk.mean_pinball_loss(t, o, alpha=0.1)}
    )


def test_gaussian_is_scipys_log_density() -> None:
    outputs, targets = drawn_batch(Gaussian(), SPECS["regression"])
    assert outputs.shape[1] == 4
    mean, raw = outputs.numpy()[:, :2], outputs.numpy()[:, 2:]
    expected = -stats.norm.logpdf(targets.numpy(), mean, np.logaddexp(0, raw) + 0.001).mean()
    assert Gaussian().loss(outputs, targets).mean().item() == pytest.approx(expected)
    metrics = Gaussian(extra_metrics=("mae",)).recorded_metrics(SPECS["regression"])
    mae = sk.mean_absolute_error(targets.numpy(), mean)
    assert float(metrics["mae"].scalar(outputs, targets)) == pytest.approx(mae)


# What is refused


@pytest.mark.parametrize(
    ("objective", "spec", "said"),
    [
        (CrossEntropy(), "binary", "objective.kind = 'cross_entropy' is for multiclass tasks; .* task is binary"),
        (Huber(), "multiclass", "is for regression tasks"),
        (CrossEntropy(class_weights=(1.0, 2.0)), "multiclass", "2 weights for 4 classes"),
        (CrossEntropy(class_weights=(1.0,) * 4, balanced=True), "multiclass", "set one"),
        (BinaryCrossEntropy(pos_weight=2.0, balanced=True), "binary", "set one"),
        (CrossEntropy(extra_metrics=("f2",)), "multiclass", "objective.extra_metrics: .*'f2'; did you mean f1"),
        (CrossEntropy(extra_metrics=("top4_accuracy",)), "multiclass", "there are 4 classes"),
        (Huber(extra_metrics=("auroc",)), "regression", "no metric of a regression task is named 'auroc'"),
    ],
)
def test_what_does_not_fit_is_refused(objective: ObjectiveConfig, spec: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        objective.check(SPECS[spec])


def test_one_label_only_cannot_be_balanced() -> None:
    outputs, targets = drawn_batch(BinaryCrossEntropy(), SPECS["binary"])
    with pytest.raises(BadInputError, match="one label only"):
        training_loss(BinaryCrossEntropy(balanced=True), torch.ones_like(targets))(outputs, targets)


def test_a_class_without_training_samples_weighs_nothing() -> None:
    outputs, targets = drawn_batch(CrossEntropy(), SPECS["multiclass"])
    found = training_loss(CrossEntropy(balanced=True), targets.clamp(max=1) * 2)(outputs, targets.clamp(max=1) * 2)
    assert math.isfinite(found.item())


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_every_task_has_a_usual_objective(task: Any) -> None:
    assert task in usual_objective(task).tasks
