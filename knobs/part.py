"""The parts of a configuration tree: how one is made, what each place may hold. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from knobs.errors import BadInputError, nearest

if TYPE_CHECKING:
    from torch import nn

    from knobs.data import DataSpec, Splits

T = TypeVar("T")

Value = bool | int | float | str | None | tuple[Any, ...]
"""What a knob can hold: JSON's scalars, or a tuple of them."""


def text_of(value: Value) -> str:
    """A knob's value as one types it: a tuple as a JSON list."""
    return json.dumps(value) if isinstance(value, tuple) else str(value)


Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""Ready-made ranges for fields: {1, 2, ...}, [0, inf), (0, inf), [0, 1)."""

_STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid", use_attribute_docstrings=True)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def part(cls: type[T]) -> type[T]:
    """Make `cls` a part: a frozen, keyword-only dataclass, its values checked strictly when it is built.

    A value outside its range raises `BadInputError`, one line that names the knob and what is allowed.
    """
    made = pydantic_dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    validating = made.__init__

    def checked(self: Any, /, *args: Any, **knobs: Any) -> None:
        try:
            validating(self, *args, **knobs)
        except ValidationError as error:
            raise BadInputError(_one_line(type(self), error)) from None

    made.__init__ = checked  # type: ignore[assignment]
    return cast("type[T]", made)


def _one_line(cls: type[Any], error: ValidationError) -> str:
    """The first problem that pydantic found, with the knob's dotted name and what is allowed."""
    first = error.errors()[0]
    leaf = ".".join(str(step) for step in first["loc"][:1]) or "?"
    where = f"{prefix}.{leaf}" if (prefix := getattr(cls, "part_name", "")) else leaf
    if first["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        owner = getattr(cls, "kind", "") or cls.__name__
        return f"{where}: {owner} has no such knob" + nearest(leaf, field_names(cls))
    if first["type"] == "missing":
        return f"{where} is missing"
    return refusal(where, first["input"], error)


def refusal(name: str, value: Any, error: ValidationError) -> str:
    """One line: the knob, its value, and what pydantic says is allowed; for a misspelt choice the nearest one."""
    first = error.errors()[0]
    message = first["msg"][:1].lower() + first["msg"][1:]
    hint = ""
    if first["type"] == "literal_error" and isinstance(value, str):
        options = [word.strip("' ") for word in str(first["ctx"]["expected"]).replace(" or ", ", ").split(",")]
        hint = nearest(value, options)
    return f"{name} = {value!r}: {message}{hint if 'did you mean' in hint else ''}"


@part
class Part:
    """A node of the tree. `kind` names the class, `part_name` the place in `RunConfig` where it goes."""

    kind: ClassVar[str] = ""
    part_name: ClassVar[str] = ""


@part
class ModelConfig(Part):
    """An architecture's knobs. Its kind is the name of its file in `models/`."""

    part_name: ClassVar[str] = "model"

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__module__.rpartition(".")[2]

    def build(self, spec: DataSpec) -> nn.Module:
        """The network for data of this spec; maps inputs (batch, *spec.shape) to (batch, spec.outputs).

        Raises `BadInputError`, one sentence, where it can't take such data.
        """
        raise AssertionError(f"{type(self).__name__} does not define build()")


@part
class DataConfig(Part):
    """A data set's knobs. Its kind is the name of its file in `datamodules/`."""

    part_name: ClassVar[str] = "data"

    batch_size: Count = 100
    """Samples in each optimizer step; the last, incomplete batch of an epoch is left out."""
    shuffle_features: bool = False
    """Reorder the positions of all samples alike, at random: features, time steps or pixels."""
    label_noise: Fraction = 0.0
    """Part of the training labels that is replaced by another class, at random; validation and test stay clean."""

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__module__.rpartition(".")[2]

    def spec(self) -> DataSpec:
        """Shapes and task, known from the knobs alone (nothing is loaded)."""
        raise AssertionError(f"{type(self).__name__} does not define spec()")

    def load(self) -> Splits:
        """Make or read the arrays. Called once a machine; what it returns is cached and fingerprinted."""
        raise AssertionError(f"{type(self).__name__} does not define load()")

    def sample(self, network: nn.Module) -> str:
        """Text made with a trained network, recorded as `sample.txt` where the test split is read; empty: none.

        `network` is in evaluation mode, on its own device; gradients are off.
        """
        del network
        return ""


@part
class OptimizerConfig(Part):
    """An optimizer's knobs; the kinds are in `knobs/optimizers.py`."""

    part_name: ClassVar[str] = "optimizer"
    lr: Positive
    """Peak learning rate; the schedule multiplies it by a factor of at most 1."""
    weight_decay: NonNegative = 0.0
    """L2 penalty added to the gradient (decoupled in AdamW)."""

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__name__.lower()


@part
class ScheduleConfig(Part):
    """A learning-rate schedule's knobs; the kinds are in `knobs/schedules.py`."""

    part_name: ClassVar[str] = "schedule"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps over which the factor rises linearly from near 0 before the schedule begins."""

    def __init_subclass__(cls) -> None:
        cls.kind = "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("_")

    def after_warmup(self, step: int, total: int) -> float:
        """The factor at `step` of `total`, both counted after the warm-up."""
        raise AssertionError(f"{type(self).__name__} does not define after_warmup()")

    def factor(self, step: int, max_steps: int) -> float:
        """What the peak learning rate is multiplied by in optimizer step `step` (0-based) of `max_steps`."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        return self.after_warmup(step - self.warmup_steps, max(1, max_steps - self.warmup_steps))


@part
class Training(Part):
    """How long and how a network is trained."""

    part_name: ClassVar[str] = "training"

    max_steps: Count = 1000
    """Optimizer steps."""
    val_every: Count | None = None
    """Optimizer steps between validations; none: once an epoch."""
    clip_norm: Positive | None = None
    """Clip the gradient to this Euclidean norm."""
    label_smoothing: Fraction = 0.0
    """Mass moved from the true class to all classes alike (Szegedy et al. 2016, section 7); training loss only."""
    precision: Literal["32", "64", "bf16-mixed"] = "32"
    """Floating-point format: float32, float64, or bfloat16 autocast over float32 weights."""
    threads: Count = 1
    """CPU threads of one run; part of a run's identity, since another count rounds differently."""
    early_stop: Count | None = None
    """Stop after this many validations without a better value of the monitored metric."""
    monitor: str | None = None
    """Validation metric that chooses the checkpoint: `loss`, `accuracy`, ...; none: the data set's own metric."""
    keep: Literal["best", "last"] = "best"
    """Which weights a run ends with: those that validation chose, or the last ones."""
    averaging: bool = False
    """Validate and keep the running mean of the weights over the steps (Ruppert 1988; Polyak & Juditsky 1992)."""
    average_from: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps before the running mean begins; until then it is the weights themselves."""
    layer_norms: bool = False
    """Record the gradient's norm of the first and of the last weight matrix too, as `grad_norm/first` and `/last`."""


def field_names(cls: type[Any]) -> list[str]:
    """A part's own knobs, in order."""
    return [field.name for field in dataclasses.fields(cls)]


def describe(cls: type[Any]) -> dict[str, str]:
    """Each knob's one-line description, from the docstring under its field, inherited ones too."""
    texts = {
        name: field.description
        for base in reversed(cls.__mro__)  # pydantic reads the docstrings of a class's own source only
        for name, field in getattr(base, "__pydantic_fields__", {}).items()
        if field.description
    }
    return {name: texts.get(name, "") for name in field_names(cls)}
