"""The configuration tree: `RunConfig` and its parts. Imports no torch.

A *knob* is one leaf of the tree, named by its dotted path (`model.width`, `optimizer.lr`). The same name is the
command-line flag, the MLflow parameter, the Optuna parameter and the report's label. A part's *kind* (`mlp`, `adamw`)
names its class and is written beside its knobs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self, cast, get_args

from pydantic import Field, TypeAdapter, ValidationError

from knobs.config.data import DataConfig, DataSpec
from knobs.config.kinds import KINDED, fitting_objective, kind_class, knob_order, usual_objective
from knobs.config.metric import Metric
from knobs.config.model import ModelConfig
from knobs.config.objective import ObjectiveConfig
from knobs.config.optimizer import OptimizerConfig
from knobs.config.parts import Part, Value, as_tuple, check_is_part, field_names, part, refusal
from knobs.config.schedule import ScheduleConfig
from knobs.config.training import Training
from knobs.errors import BadInputError, nearest


@part
class RunConfig:
    """Everything that determines one run: one training of one network on one data set, including its seed."""

    model: ModelConfig
    data: DataConfig
    objective: ObjectiveConfig = None  # type: ignore[assignment]  # never None once the config is built
    """Unset: the usual one of the data set's task."""
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    training: Training = Training()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Fixes the initial weights, the order of the data and dropout."""

    def __post_init__(self) -> None:
        for name in KINDED:  # a plain dataclass has an __init__ of its own, which checks nothing
            if name != "objective" or self.objective is not None:
                check_is_part(type(getattr(self, name)))
        spec = self.data.spec()
        object.__setattr__(self, "objective", fitting_objective(self.objective, spec.task))
        self.objective.check(spec)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics that the run records of each split, by name."""
        return self.objective.recorded_metrics(self.data.spec())

    @property
    def monitored(self) -> Metric:
        """The validation metric that chooses checkpoints. Raise `BadInputError` if the run does not record it."""
        spec, named = self.data.spec(), self.training.monitor
        return self.objective.metric(named or spec.metric, spec, "training.monitor" if named else "spec.metric")

    @property
    def network_spec(self) -> DataSpec:
        """The spec from which the network is built: the data set's, with the outputs that the objective needs."""
        return self.objective.network_spec(self.data.spec())

    def knobs(self) -> dict[str, Value]:
        """Return every knob by its dotted name, in the tree's order. `model.kind` names the class of the part."""
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
        """Return a copy with these knobs changed. A changed kind brings its own defaults for its part's other knobs.

        Raise `BadInputError` for an unknown name (the nearest one is named) or a bad value.
        """
        new: dict[str, Any] = {}
        for name, value in sorted(changes.items(), key=lambda item: knob_order(item[0])):
            place, _, leaf = name.partition(".")
            if place not in _fields(self) or bool(leaf) != isinstance(getattr(self, place), Part):
                raise BadInputError(f"{name} is no knob of this run" + nearest(name, self.knobs()))
            if not leaf:
                new[name] = value
                continue
            node = new.get(place, getattr(self, place))
            if place == "objective" and "objective" not in new:  # other data may have made it another one
                node = fitting_objective(node, new.get("data", self.data).spec().task)
            if leaf == "kind" and place in KINDED:
                new[place] = node if node.kind == value else kind_class(place, str(value))()
            elif leaf not in field_names(type(node)):
                names = [f"{place}.{known}" for known in field_names(type(node))]
                raise BadInputError(f"{name}: {node.kind or place} has no such knob" + nearest(name, names))
            else:
                new[place] = dataclasses.replace(node, **{leaf: value})
        return dataclasses.replace(self, **new)

    def parse_knob(self, name: str, text: str) -> Value:
        """Return the value of knob `name` that `text`, as typed on the command line, stands for."""
        place, _, leaf = name.partition(".")
        if leaf == "kind" and place in KINDED:
            return text
        if name not in self.knobs():
            raise BadInputError(f"{name} is no knob of this run" + nearest(name, self.knobs()))
        return _parse_value(type(getattr(self, place)) if leaf else type(self), leaf or place, name, text)

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Self:
        """Return the config whose knobs have these texts (`text_of`), as MLflow's parameters do.

        Raise `BadInputError` for an unknown kind or knob, or a value that does not fit.
        """
        leaves: dict[str, dict[str, str]] = {}
        for name, text in texts.items():
            place, _, leaf = name.partition(".")
            leaves.setdefault(place, {})[leaf] = text
        tree: dict[str, Any] = {}
        for place, found in leaves.items():
            if "" in found:
                tree[place] = _parse_value(cls, place, place, found[""])
                continue
            owner: Any = kind_class(place, found.pop("kind", "")) if place in KINDED else Training
            unknown = next((leaf for leaf in found if leaf not in field_names(owner)), None)
            if unknown is not None:
                raise BadInputError(f"{place}.{unknown} is no knob of this run" + nearest(unknown, field_names(owner)))
            tree[place] = owner(**{k: _parse_value(owner, k, f"{place}.{k}", text) for k, text in found.items()})
        return cls(**tree)

    def content(self) -> list[str]:
        """Return the modules of this run's kinds: `models.mlp`, `datamodules.digits`, ..."""
        return [f"{folder}.{getattr(self, name).kind}" for name, (folder, _) in KINDED.items()]

    def to_json(self) -> str:
        """Return canonical JSON: two configs are equal exactly when these strings are."""
        return json.dumps(self._tree(omit_defaults=False), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the config that `to_json` wrote. Strict: no coercion, no unknown knob, no inf or NaN."""
        try:
            tree = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise BadInputError(f"not a run's config: {error}") from None
        if not isinstance(tree, dict):
            raise BadInputError("not a run's config: expected a JSON object")
        return cls._from_tree(tree)

    def hash(self) -> str:
        """Return a short hash of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def digest(self, fingerprint: str, execution: str = "solo") -> str:
        """Return the hash of what determines a run: this config, the data's fingerprint and the execution.

        Knobs at their default are left out, so that a new knob changes no old digest.
        """
        content = {"config": self._tree(omit_defaults=True), "data": fingerprint}
        if execution != "solo":
            content["execution"] = execution
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def _tree(self, *, omit_defaults: bool) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name, node in _fields(self).items():
            if omit_defaults and name == "objective" and node == usual_objective(self.data.spec().task):
                continue
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
                leaves: dict[str, Any] = {k: as_tuple(v) for k, v in node.items()}
                owner = kind_class(name, leaves.pop("kind")) if name in KINDED else Training
                parts[name] = owner(**leaves)
            else:
                parts[name] = node
        return cls(**parts)


def _parse_value(owner: Any, leaf: str, name: str, text: str) -> Value:
    """Return the value that `text` stands for in this field of `owner`. `name` is the knob's dotted name."""
    field = owner.__pydantic_fields__[leaf]
    if text.lower() == "none" and type(None) in get_args(field.annotation):
        return None
    annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    try:
        if text.startswith("["):
            return cast("Value", TypeAdapter(annotated).validate_json(text))
        return cast("Value", TypeAdapter(annotated).validate_strings(text))
    except ValidationError as error:
        raise BadInputError(refusal(name, text, error)) from None


def _fields(node: Any) -> dict[str, Any]:
    """Return name and value of each field. Negative zero becomes zero, so that equal configs have equal JSON."""
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
