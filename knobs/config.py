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
from collections.abc import Mapping
from typing import Annotated, Any, Self, cast, get_args

from pydantic import Field, TypeAdapter, ValidationError

from knobs import discover, optimizers, schedules
from knobs.errors import BadInputError, nearest
from knobs.part import (
    Count,
    DataConfig,
    Fraction,
    ModelConfig,
    NonNegative,
    OptimizerConfig,
    Part,
    Positive,
    ScheduleConfig,
    Training,
    Value,
    describe,
    field_names,
    part,
    refusal,
    text_of,
)

__all__ = [
    "Count",
    "DataConfig",
    "Fraction",
    "ModelConfig",
    "NonNegative",
    "OptimizerConfig",
    "Part",
    "Positive",
    "RunConfig",
    "ScheduleConfig",
    "Training",
    "Value",
    "describe",
    "field_names",
    "kind_class",
    "part",
    "text_of",
]


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
        owner: Any = type(getattr(self, place)) if leaf else type(self)
        field = owner.__pydantic_fields__[leaf or place]
        if text.lower() == "none" and type(None) in get_args(field.annotation):
            return None
        annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        try:
            if text.startswith("["):
                return cast("Value", TypeAdapter(annotated).validate_json(text))
            return cast("Value", TypeAdapter(annotated).validate_strings(text))
        except ValidationError as error:
            raise BadInputError(refusal(name, text, error)) from None

    def to_json(self) -> str:
        """Canonical JSON: two configs are equal exactly when these strings are."""
        return json.dumps(self._tree(omit_defaults=False), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The config that `to_json` wrote; strict: no coercion, no unknown knob, no inf or NaN."""
        try:
            tree = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
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
                leaves: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in node.items()}
                owner = kind_class(name, leaves.pop("kind")) if name in KINDED else Training
                parts[name] = owner(**leaves)
            else:
                parts[name] = node
        return cls(**parts)


KINDED = ("model", "data", "optimizer", "schedule")
"""The places of the tree whose class is chosen by `<place>.kind`."""


def kind_class(place: str, kind: str) -> type[Part]:
    """The class of this kind at this place of the tree; models and data sets are found by their file's name."""
    if place == "model":
        return discover.config_class("models", kind, ModelConfig)
    if place == "data":
        return discover.config_class("datamodules", kind, DataConfig)
    kinds: dict[str, type[Part]] = {**optimizers.KINDS} if place == "optimizer" else {**schedules.KINDS}
    if kind not in kinds:
        raise BadInputError(f"{place}.kind = {kind!r}: no such {place}" + nearest(kind, kinds))
    return kinds[kind]


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
