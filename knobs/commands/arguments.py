"""The argument parser of all commands, and checks of single values."""

from __future__ import annotations

import argparse
import re
from functools import partial
from typing import Any, NoReturn

from knobs.discover import NAME
from knobs.errors import BadInputError, nearest

TIMES = {"s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
"""Units with their value in seconds or bytes."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line with the nearest option. It accepts no abbreviation."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            conflict_handler="resolve",  # so that a command can define --help itself
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def add_count(self, option: str, *, least: int = 1, metavar: str = "N", **settings: Any) -> None:
        """Add an option that takes a whole number of at least `least`. `settings` go to `add_argument`."""
        self.add_argument(option, type=partial(parse_count, option, least=least), metavar=metavar, **settings)

    def add_amount(self, option: str, units: dict[str, float], example: str, **settings: Any) -> None:
        """Add an option that takes a positive number with a unit. `settings` go to `add_argument`."""
        self.add_argument(option, type=partial(parse_amount, option, units=units, example=example), **settings)

    def error(self, message: str) -> NoReturn:
        """Raise `BadInputError` with argparse's message, rewritten if an option or a choice is unknown."""
        if found := re.search(r"unrecognized arguments: (--[\w.-]+)", message):
            if "." in found[1]:
                raise BadInputError(f"{found[1]}: {self.prog} takes no knobs")
            options = [o for a in self._actions for o in a.option_strings if o.startswith("--")]
            raise BadInputError(f"{self.prog} has no option {found[1]}" + nearest(found[1], options))
        if found := re.search(r"argument (\w+): invalid choice: '([^']*)' \(choose from (.*)\)", message):
            choices = re.findall(r"[\w-]+", found[3])
            raise BadInputError(f"{self.prog} has no {found[1].lower()} {found[2]!r}" + nearest(found[2], choices))
        raise BadInputError(f"{self.prog}: {message}; see {self.prog} --help")


def add_launch_arguments(parser: Parser, *, per_device: bool = True) -> None:
    """Add the arguments of every command that trains. Leave out `--per-device` if the command trains one run."""
    parser.add_argument("--devices", default="auto", help="auto, cpu:N, cuda:0,1 or mps (auto)")
    if per_device:
        parser.add_count("--per-device", default=1, metavar="K", help="workers on each device (1)")
    parser.add_argument("--storage", metavar="URL", help="Optuna's store for a team, e.g. postgresql://...")
    parser.add_argument("--fresh", action="store_true", help="reuse nothing, and set old trials aside")


def split_knobs(arguments: list[str], also: tuple[str, ...] = ()) -> tuple[list[str], dict[str, str]]:
    """Return the other arguments, and the knobs among them with their values as typed.

    A knob is `--model.width 256` or `--model.width=256`. In its name `-` may stand for `_`. `also` lists knobs without
    a dot. Raise `BadInputError` if a knob has no value or is given twice.
    """
    rest: list[str] = []
    knobs: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        token = waiting.pop(0)
        typed, equals, value = token.removeprefix("--").partition("=")
        name = typed.replace("-", "_")
        if not token.startswith("--") or not ("." in name or name in also):
            rest.append(token)
            continue
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                raise BadInputError(f"--{typed} needs a value")
            value = waiting.pop(0)
        if name in knobs:
            raise BadInputError(f"--{typed} is given twice")
        knobs[name] = value
    return rest, knobs


def parse_count(option: str, text: str, least: int = 1) -> int:
    """Return a whole number. Raise `BadInputError` if the text is none, or if it is below `least`."""
    if not re.fullmatch(r"[+-]?\d{1,18}", text) or int(text) < least:
        raise BadInputError(f"{option} {text}: expected a whole number of at least {least}")
    return int(text)


def parse_amount(option: str, text: str, units: dict[str, float], example: str) -> float:
    """Return a positive number times its unit. Raise `BadInputError`, with the example, if the text is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", text)
    if not found or found[2] not in units or float(found[1]) <= 0:
        raise BadInputError(f"{option} {text}: expected a positive amount such as {example}")
    return float(found[1]) * units[found[2]]


def check_name(name: str) -> None:
    """Raise `BadInputError` if the name is not safe in filters, paths and pages."""
    if not re.fullmatch(NAME, name):
        raise BadInputError(f"{name!r} is not a valid name: use letters, digits, _ and -, at most 64")
