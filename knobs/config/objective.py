"""The `objective` part: a run's training loss and its metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from knobs.config.data import DataSpec, Task
from knobs.config.metric import UNBOUNDED, Metric
from knobs.config.named_metrics import USUAL, metric_names, named_metric
from knobs.config.parts import KindedPart, part
from knobs.errors import BadInputError, KnobsError, nearest
from knobs.user_code import line_of, place_of, user_error

if TYPE_CHECKING:
    import torch

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

USUAL_KINDS: dict[Task, str] = {
    "regression": "squared_error",
    "binary": "binary_cross_entropy",
    "multiclass": "cross_entropy",
}
"""The objective of each task's data sets, unless a run names another."""


@part
class ObjectiveConfig(KindedPart):
    """A loss, its metrics and their knobs. Its kind is the name of its file in `objectives/`."""

    part_name: ClassVar[str] = "objective"
    tasks: ClassVar[tuple[Task, ...]] = ("regression", "binary", "multiclass")
    """The tasks that it fits."""
    loss_bounds: ClassVar[tuple[float, float]] = UNBOUNDED
    """The lowest and the highest possible value of the reported loss."""
    extra_metrics: tuple[str, ...] = ()
    """More metrics to record, by name: `f1`, `mae`, `top3_accuracy`, `f1_at_best_threshold`, ..."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss that a step minimizes: the mean over the batch, or one value per sample.

        `outputs`: (batch, outputs) as the network returns them, logits for classes; with a target per time step
        (batch, outputs, steps). `targets`: (batch,) or (batch, steps) classes, else (batch, targets) numbers.
        Values per sample are (batch,), or (batch, steps).
        """
        raise AssertionError(f"{type(self).__name__} does not define loss()")

    def reported_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the `loss` that is recorded of a whole split. Unless it is overridden, it is `loss`."""
        return self.loss(outputs, targets)

    def training_loss(self, targets: Callable[[], torch.Tensor]) -> Loss:
        """Return the function that steps call. Called once, before the first step; unless overridden, it is `loss`.

        `targets()` returns all training targets, on the device: for weights that depend on their frequencies.
        """
        del targets
        return self.loss

    def stacked_loss(self, members: Sequence[Self], like: torch.Tensor) -> Loss | None:
        """Return a faster loss for runs trained as one batch, or None if there is none for these members.

        It gets outputs of (members, batch, outputs[, steps]) and targets of (members, batch, ...), and returns each
        member's mean loss, (members,). `members` are their objectives, of one kind, this one first; `like` has the
        type and the device of their weights.
        """
        del members, like
        return None

    def outputs(self, spec: DataSpec) -> int:
        """Return how many numbers the network must return for a sample. Unless overridden, one per class or target."""
        return spec.outputs

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return what named metrics read: logits of classes, or values of targets. Unless overridden, the outputs."""
        return outputs

    def metrics(self, spec: DataSpec) -> Sequence[Metric]:
        """Return what is recorded besides `loss` and `extra_metrics`. Unless overridden, the usual ones of the task."""
        return [self.named(name, spec) for name in USUAL[spec.task]]

    def check(self, spec: DataSpec) -> None:
        """Raise `BadInputError` if it does not fit data of this spec."""
        if spec.task not in self.tasks:
            fits = " and ".join(self.tasks)
            raise BadInputError(
                f"objective.kind = {self.kind!r} is for {fits} tasks; the data set's task is {spec.task}"
            )
        for name in self.extra_metrics:
            try:
                named_metric(name, spec)
            except BadInputError as error:
                raise BadInputError(f"objective.extra_metrics: {error}") from None

    def named(self, name: str, spec: DataSpec) -> Metric:
        """Return the metric of this name over this objective's predictions."""
        metric = named_metric(name, spec)
        if type(self).predictions is ObjectiveConfig.predictions:
            return metric
        compute, choose = metric.compute, metric.choose

        def of_predictions(outputs: torch.Tensor, targets: torch.Tensor, *chosen: float) -> torch.Tensor | float:
            return compute(self.predictions(outputs).contiguous(), targets, *chosen)

        def chosen_of(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | float:
            assert choose is not None
            return choose(self.predictions(outputs).contiguous(), targets)

        return replace(metric, compute=of_predictions, choose=chosen_of if choose else None)

    def network_spec(self, spec: DataSpec) -> DataSpec:
        """Return the spec from which the network is built: with as many outputs as the loss needs."""
        outputs = self.outputs(spec)
        return spec if outputs == spec.outputs else replace(spec, outputs=outputs)

    def recorded_metrics(self, spec: DataSpec) -> dict[str, Metric]:
        """Return all metrics of a run by name, `loss` first.

        Raise `BadInputError`, with the user's line, if `metrics()` raises or returns anything else.
        """
        place = line_of(type(self).metrics)
        where = f"{place}: metrics() of objective {self.kind}" if place else f"metrics() of objective {self.kind}"
        try:
            own = list(self.metrics(spec))
        except Exception as error:
            if isinstance(error, KnobsError) and not place_of(error):
                raise
            about = f"metrics() of objective {self.kind}" if place_of(error) else where
            raise user_error(error, about) from error
        found = {"loss": Metric(name="loss", direction="minimize", bounds=self.loss_bounds, compute=self._mean_loss)}
        for metric in own:
            if not isinstance(metric, Metric):
                raise BadInputError(f"{where} returns {type(metric).__name__}; return Metric objects")
            if metric.name in found:
                raise BadInputError(f"{where} returns two metrics named {metric.name}")
            found[metric.name] = metric
        return found | {name: self.named(name, spec) for name in self.extra_metrics if name not in found}

    def metric(self, name: str, spec: DataSpec, knob: str) -> Metric:
        """Return the recorded metric of this name. Raise `BadInputError`, naming `knob`, if there is none."""
        found = self.recorded_metrics(spec)
        if name in found:
            return found[name]
        if name in metric_names(spec):
            raise BadInputError(f"{knob} = {name!r}: not recorded; add it to objective.extra_metrics")
        raise BadInputError(f"{knob} = {name!r}: no metric of objective {self.kind}" + nearest(name, found))

    def _mean_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.reported_loss(outputs, targets).mean()
