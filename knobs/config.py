"""The configuration tree: `RunConfig` and its parts. Imports no torch.

A *knob* is one leaf of the tree, named by its dotted path (`model.width`, `optimizer.lr`). The same name is the
command-line flag, the MLflow parameter, the Optuna parameter and the report's label. Each part is a frozen dataclass
whose fields are checked when it is built; its *kind* (`mlp`, `adamw`) is written beside its fields, so that a field
typed as a base class never loses the knobs of its subclass.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from knobs.errors import BadInputError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from knobs.data import DataSpec, Splits

T = TypeVar("T")

Value = bool | int | float | str | None | tuple[Any, ...]
"""What a knob can hold: JSON's scalars, or a tuple of them."""

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
    checked_init = made.__init__

    def __init__(self: Any, /, *args: Any, **knobs: Any) -> None:
        try:
            checked_init(self, *args, **knobs)
        except ValidationError as error:
            raise BadInputError(_one_line(type(self), error)) from None

    made.__init__ = __init__  # type: ignore[method-assign]
    return cast("type[T]", made)


def _one_line(cls: type[Any], error: ValidationError) -> str:
    """The first problem that pydantic found, with the knob's dotted name and what is allowed."""
    first = error.errors()[0]
    leaf = ".".join(str(step) for step in first["loc"][:1]) or "?"
    where = f"{prefix}.{leaf}" if (prefix := getattr(cls, "part_name", "")) else leaf
    if first["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return f"{where}: {getattr(cls, 'kind', cls.__name__)} has no such knob" + nearest(leaf, field_names(cls))
    message = first["msg"][:1].lower() + first["msg"][1:]
    hint = ""
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        options = [word.strip("' ") for word in str(first["ctx"]["expected"]).replace(" or ", ", ").split(",")]
        hint = nearest(first["input"], options)
    return f"{where} = {first['input']!r}: {message}{hint if 'did you mean' in hint else ''}"


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

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__module__.rpartition(".")[2]

    def spec(self) -> DataSpec:
        """Shapes and task, known from the knobs alone (nothing is loaded)."""
        raise AssertionError(f"{type(self).__name__} does not define spec()")

    def load(self) -> Splits:
        """Make or read the arrays. Called once a machine; what it returns is cached and fingerprinted."""
        raise AssertionError(f"{type(self).__name__} does not define load()")


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


@part
class RunConfig:
    """Everything that determines one run: one training of one network on one data set, seed included."""

    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    training: Training = Training()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Fixes the initial weights, the order of the data and dropout."""

    def knobs(self) -> dict[str, Value]:
        """Every knob by its dotted name, in the tree's order; `model.kind` names the part itself."""
        flat: dict[str, Value] = {}
        for name, node in _fields(self).items():
            if isinstance(node, Part):
                if node.kind:
                    flat[f"{name}.kind"] = node.kind
                flat |= {f"{name}.{leaf}": value for leaf, value in _fields(node).items()}
            else:
                flat[name] = node
        return flat

    def with_knobs(self, changes: Mapping[str, Value]) -> Self:
        """A copy with these knobs changed. A changed kind brings its own defaults for its part's other knobs.

        Raises `BadInputError` for a name that is no knob of this tree (the nearest is named) or a bad value.
        """
        new: dict[str, Any] = {}
        for name, value in sorted(changes.items(), key=lambda item: not item[0].endswith(".kind")):
            place, _, leaf = name.partition(".")
            if place not in _fields(self) or bool(leaf) != isinstance(getattr(self, place), Part):
                raise BadInputError(f"{name} is no knob of this run" + nearest(name, self.knobs()))
            if not leaf:
                new[name] = value
                continue
            node = new.get(place, getattr(self, place))
            if leaf == "kind" and place in KINDED:
                new[place] = node if node.kind == value else kind_class(place, str(value))()
            elif leaf not in field_names(type(node)):
                names = [f"{place}.{known}" for known in field_names(type(node))]
                raise BadInputError(f"{name}: {node.kind or place} has no such knob" + nearest(name, names))
            else:
                new[place] = dataclasses.replace(node, **{leaf: value})
        return dataclasses.replace(self, **new)

    def parse_knob(self, name: str, text: str) -> Value:
        """The value that `text`, as typed on the command line, stands for at knob `name`."""
        place, _, leaf = name.partition(".")
        if leaf == "kind" and place in KINDED:
            return text
        if name not in self.knobs():
            raise BadInputError(f"{name} is no knob of this run" + nearest(name, self.knobs()))
        owner = type(getattr(self, place)) if leaf else type(self)
        field = owner.__pydantic_fields__[leaf or place]  # type: ignore[attr-defined]
        if text.lower() == "none":
            return None
        annotated = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        try:
            if text.startswith("["):
                return cast("Value", TypeAdapter(annotated).validate_json(text))
            return cast("Value", TypeAdapter(annotated).validate_strings(text))
        except ValidationError as error:
            problem = error.errors()[0]
            message = problem["msg"][:1].lower() + problem["msg"][1:]
            raise BadInputError(f"{name} = {text!r}: {message}") from None

    def to_json(self) -> str:
        """Canonical JSON: two configs are equal exactly when these strings are."""
        return json.dumps(self._tree(omit_defaults=False), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The config that `to_json` wrote; strict: no coercion, no unknown knob, no inf or NaN."""
        try:
            tree = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
        except ValueError as error:
            raise BadInputError(f"not a run's config: {error}") from None
        if not isinstance(tree, dict):
            raise BadInputError("not a run's config: expected a JSON object")
        return cls._from_tree(tree)

    def digest(self, fingerprint: str, execution: str = "solo") -> str:
        """Hash of what determines a run: this config, the data's fingerprint and how it is executed.

        Knobs at their default are left out, so that a new knob moves no old digest.
        """
        content = {"config": self._tree(omit_defaults=True), "data": fingerprint}
        if execution != "solo":
            content["execution"] = execution
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def _tree(self, *, omit_defaults: bool) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name, node in _fields(self).items():
            if isinstance(node, Part):
                defaults = _fields_with_default(type(node)) if omit_defaults else {}
                leaves = {k: v for k, v in _fields(node).items() if k not in defaults or defaults[k] != v}
                tree[name] = ({"kind": node.kind} if node.kind else {}) | leaves
            else:
                tree[name] = node
        return tree

    @classmethod
    def _from_tree(cls, tree: Mapping[str, Any]) -> Self:
        parts: dict[str, Any] = {}
        for name, node in tree.items():
            if name in KINDED or name == "training":
                if not isinstance(node, dict) or (name in KINDED and not isinstance(node.get("kind"), str)):
                    raise BadInputError(f"{name}: expected an object with its kind and knobs")
                leaves = {k: tuple(v) if isinstance(v, list) else v for k, v in node.items()}
                owner = kind_class(name, leaves.pop("kind")) if name in KINDED else Training
                parts[name] = owner(**leaves)
            else:
                parts[name] = node
        return cls(**parts)


KINDED = ("model", "data", "optimizer", "schedule")
"""The places of the tree whose class is chosen by `<place>.kind`."""


def kind_class(place: str, kind: str) -> type[Part]:
    """The class of this kind at this place of the tree; models and data sets are found by their file's name."""
    from knobs import discover, optimizers, schedules  # the engine reaches content only through discover

    if place == "model":
        return discover.config_class("models", kind, ModelConfig)
    if place == "data":
        return discover.config_class("datamodules", kind, DataConfig)
    kinds: dict[str, type[Part]] = {**optimizers.KINDS} if place == "optimizer" else {**schedules.KINDS}
    if kind not in kinds:
        raise BadInputError(f"{place}.kind = {kind!r}: no such {place}" + nearest(kind, kinds))
    return kinds[kind]


def field_names(cls: type[Any]) -> list[str]:
    """A part's own knobs, in order."""
    return [field.name for field in dataclasses.fields(cls)]


def describe(cls: type[Any]) -> dict[str, str]:
    """Each knob's one-line description, from the docstring under its field."""
    return {name: field.description or "" for name, field in cls.__pydantic_fields__.items()}


def _fields(node: Any) -> dict[str, Any]:
    """Name and value of each field; a float's negative zero reads as zero, so that equal configs have equal JSON."""
    values = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    return {k: v + 0.0 if isinstance(v, float) else v for k, v in values.items()}


def _fields_with_default(cls: type[Any]) -> dict[str, Any]:
    missing = dataclasses.MISSING
    return {f.name: f.default for f in dataclasses.fields(cls) if f.default is not missing}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name is given twice")
    return dict(pairs)
