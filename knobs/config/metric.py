"""A metric: its name, its better direction, its range, and how it is computed over a whole split. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from knobs.errors import BadInputError
from knobs.user_code import line_of

if TYPE_CHECKING:
    import torch

Direction = Literal["maximize", "minimize"]

UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number about a whole split. Studies, claims, checkpoints and intervals know it by what it says here."""

    name: str
    """Its name in `val/<name>` and `test/<name>`: letters, digits and _."""
    compute: Callable[..., torch.Tensor | float]
    """`compute(outputs, targets)` returns a number: a tensor of no dimension on the same device, or a float.

    `outputs`: (samples, outputs[, steps]), all of a split, as the network returns them. With `choose`, the chosen
    number is a third argument.
    """
    direction: Direction = ""  # type: ignore[assignment]  # a class without it gets a message with its line
    """The better direction. It must be given."""
    bounds: tuple[float, float] = UNBOUNDED
    """The lowest and the highest possible value. Intervals are cut there, which loses nothing."""
    choose: Callable[[torch.Tensor, torch.Tensor], torch.Tensor | float] | None = None
    """Chooses a number, such as a threshold, from the outputs and targets of the validation split. It is applied to
    all splits and recorded as `best/chosen/<name>`."""
    counts: bool = False
    """True if `compute` returns a number of targets: it is divided by their count in double precision."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z]\w{0,63}", self.name, re.ASCII):
            raise BadInputError(f"metric {self.name!r}: a name is a letter, then letters, digits and _")
        if self.direction not in ("maximize", "minimize"):
            said = f"direction = {self.direction!r}" if self.direction else "it has no direction"
            raise BadInputError(f"metric {self.name}: {said}; write direction='maximize' or direction='minimize'")
        for function in (self.compute, *([self.choose] if self.choose is not None else [])):
            if not callable(function):
                raise BadInputError(f"metric {self.name}: {function!r} is no function of outputs and targets")
        if not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            raise BadInputError(f"metric {self.name}: bounds = {self.bounds!r}: the lower one comes first")

    @property
    def better(self) -> Literal["higher", "lower"]:
        """The better direction in a word."""
        return "higher" if self.direction == "maximize" else "lower"

    @property
    def place(self) -> str:
        """`file:line` of the user's function that computes it; empty if it is ours."""
        return line_of(self.compute)

    def is_better(self, new: float, old: float) -> bool:
        """Return whether `new` is better than `old`."""
        return new > old if self.direction == "maximize" else new < old

    def scalar(self, outputs: Any, targets: Any, chosen: Any = None) -> torch.Tensor | float:
        """Return the value, as a scalar tensor or a float; if it `counts`, before the division.

        `chosen`: the number that was chosen on validation; if None, it is chosen here. Raise `BadInputError`, with
        the user's line, for anything but one number.
        """
        if self.choose is not None:
            value = self.compute(outputs, targets, self.choose(outputs, targets) if chosen is None else chosen)
        else:
            value = self.compute(outputs, targets)
        shape = getattr(value, "shape", None)
        if shape is None and not isinstance(value, int | float):
            raise self.refused(f"returns {type(value).__name__}; return one number")
        if shape is not None and tuple(shape) != ():
            raise self.refused(f"returns a tensor of shape {tuple(shape)}; return one number")
        return value

    def refused(self, reason: str) -> BadInputError:
        """Return the error that this metric is not usable, with the user's line."""
        about = f"metric {self.name} {reason}"
        return BadInputError(f"{self.place}: {about}" if self.place else about)
