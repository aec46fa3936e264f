"""Checks of the names that an ablation gives, before anything is trained under them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping

from knobs.config import SPLITS, RunConfig
from knobs.errors import BadInputError, nearest
from knobs.search import not_recorded

DERIVED = "derived/"
"""Prefix of the names of derived numbers."""

_WORDS = {"&": "and", "%": "percent", "#": "number"}


def check_key(what: str, name: object) -> None:
    """Raise `BadInputError` if MLflow refuses a name as that of a parameter, a metric or a tag."""
    check_text(what, name)
    assert isinstance(name, str)
    if bad := re.findall(r"[^\w.\- :/]", name):
        better = " ".join(re.sub(r"[^\w.\- :/]", lambda found: f" {_WORDS.get(found[0], '')} ", name).split())
        hint = f", such as {better!r}" if better else ""
        raise BadInputError(
            f"{what} {name!r}: a name may not hold {bad[0]!r}; MLflow takes letters, digits, blanks and _ - . : /{hint}"
        )
    if posixpath.normpath(name) != name or name.startswith(("/", "..")) or len(name) > 200:
        raise BadInputError(f"{what} {name!r}: a name may not be longer than 200 characters, or look like a path")


def check_text(what: str, name: object) -> None:
    """Raise `BadInputError` if a name is no text, or an empty one."""
    if not isinstance(name, str) or not name.strip():
        raise BadInputError(f"{what} {name!r}: a name is text; write {str(name) or 'a word'!r}")


def check_metric(what: str, metric: str, config: RunConfig, derived: Collection[str]) -> None:
    """Raise `BadInputError` if a run of `config` does not record the metric, and it is none of the `derived` names.

    Extra test splits are known only when the data are loaded, so any is accepted in `test/<split>/<metric>`.
    """
    if metric.startswith(DERIVED) and metric not in derived:
        raise BadInputError(f"{what}: {metric} is not derived here{nearest(metric, derived)}")
    names = list(config.metrics)
    recorded = [f"{split}/{name}" for split in SPLITS for name in names]
    extra = len(parts := metric.split("/")) == 3 and parts[0] == "test" and parts[1] and parts[2] in names
    if metric not in recorded and metric not in derived and not extra:
        raise BadInputError(f"{what}: {metric!r} is {not_recorded(metric, [*recorded, *derived], config)}")


def check_levels(factor: str, levels: Mapping[str, Mapping[str, object]]) -> None:
    """Raise `BadInputError` if a level's name is no text, or a level is no set of knobs."""
    for level, knobs in levels.items():
        check_text(f"a level of factor {factor}:", level)
        if not isinstance(knobs, Mapping):
            raise BadInputError(f"level {level} of factor {factor}: expected knobs and their values, not {knobs!r}")
