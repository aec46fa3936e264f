"""The parts of a configuration tree: how a part is made and checked, and which values a knob may hold."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, ClassVar, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from knobs.errors import BadInputError, nearest
from knobs.user_code import line_of

T = TypeVar("T")

Value = bool | int | float | str | None | tuple[Any, ...]
"""The values a knob can hold: JSON's scalars, or a tuple of them."""

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""Ready-made ranges for fields: {1, 2, ...}, [0, inf), (0, inf), [0, 1)."""

_STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid", use_attribute_docstrings=True)


def text_of(value: Value) -> str:
    """Return a knob's value as a user types it; a tuple is a JSON list."""
    return json.dumps(value) if isinstance(value, tuple) else str(value)


def as_tuple(value: Any) -> Any:
    """Return a knob's value that was read from JSON, which knows lists but no tuples."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


@dataclass_transform(kw_only_default=True, frozen_default=True)
def part(cls: type[T]) -> type[T]:
    """Make `cls` a part: a frozen, keyword-only dataclass whose values are checked strictly when it is built.

    A value outside its range raises `BadInputError`: one line that names the knob and the allowed values.
    """
    made = pydantic_dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    validating = made.__init__

    def checked(self: Any, /, *args: Any, **knobs: Any) -> None:
        check_is_part(type(self))
        try:
            validating(self, *args, **knobs)
        except ValidationError as error:
            raise BadInputError(_one_line(type(self), error)) from None

    made.__init__ = checked  # type: ignore[assignment]
    return cast("type[T]", made)


def check_is_part(cls: type[Any]) -> None:
    """Raise `BadInputError` if a class declares knobs but has no `@part` above it: they would be ignored."""
    if "__pydantic_fields__" in vars(cls):
        return
    declared = [name for name, kind in vars(cls).get("__annotations__", {}).items() if "ClassVar" not in str(kind)]
    if declared:
        place = line_of(cls)
        where = f"{place}: " if place else ""
        raise BadInputError(
            f"{where}class {cls.__name__} needs @part above it (from knobs import part); without it, {declared[0]} is "
            f"no knob"
        )


def _one_line(cls: type[Any], error: ValidationError) -> str:
    """Describe the first problem that pydantic found, with the knob's dotted name and the allowed values."""
    first = error.errors()[0]
    leaf = ".".join(str(step) for step in first["loc"][:1]) or "?"
    name = f"{prefix}.{leaf}" if (prefix := getattr(cls, "part_name", "")) else leaf
    if first["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        owner = getattr(cls, "kind", "") or cls.__name__
        return f"{name}: {owner} has no such knob" + nearest(leaf, field_names(cls))
    if first["type"] == "missing":
        return f"{name} is missing"
    return refusal(name, first["input"], error)


def refusal(name: str, value: Any, error: ValidationError) -> str:
    """Return one line: the knob, its value and what is allowed; for a misspelt choice also the nearest one."""
    first = error.errors()[0]
    message = first["msg"][:1].lower() + first["msg"][1:]
    hint = ""
    if first["type"] == "literal_error" and isinstance(value, str):
        options = [word.strip("' ") for word in str(first["ctx"]["expected"]).replace(" or ", ", ").split(",")]
        hint = nearest(value, options)
    return f"{name} = {value!r}: {message}{hint if 'did you mean' in hint else ''}"


@part
class Part:
    """A node of the tree. `kind` names the class, `part_name` the field of `RunConfig` that holds it."""

    kind: ClassVar[str] = ""
    part_name: ClassVar[str] = ""


@part
class KindedPart(Part):
    """A part whose class is chosen by its kind. The kind is the name of the file that defines the class."""

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__module__.rpartition(".")[2]


def field_names(cls: type[Any]) -> list[str]:
    """Return a part's own knobs, in order."""
    return [field.name for field in dataclasses.fields(cls)]


def describe(cls: type[Any]) -> dict[str, str]:
    """Return each knob's one-line description: the docstring under its field, also for inherited fields."""
    texts = {
        name: field.description
        for base in reversed(cls.__mro__)  # pydantic reads the docstrings of a class's own source only
        for name, field in getattr(base, "__pydantic_fields__", {}).items()
        if field.description
    }
    return {name: texts.get(name, "") for name in field_names(cls)}
