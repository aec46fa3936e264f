"""What makes two launches the same study."""

from __future__ import annotations

import json
from typing import Any

from knobs.search.function_code import function_code
from knobs.search.study import Study


def study_identity(study: Study) -> dict[str, Any]:
    """Return `Study.identity` and the code of its space, with what is bound to it. Recorded trials must agree."""
    return {**study.identity(), "space code": function_code(study.space)}


def identity_changes(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names at which two identities differ, with both values if they are short."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += identity_changes(a, b, f"{prefix}{key}.")
        elif a != b:
            texts = f": {json.dumps(a)} -> {json.dumps(b)}"
            found.append(f"{prefix}{key}{texts if len(texts) < 90 else ''}")
    return found
