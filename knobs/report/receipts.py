"""Receipts: which runs are behind every number, and what those runs were."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from knobs.histories import values_hash
from knobs.report.document import Number
from knobs.report.record import Ran

FILE = "receipts.json"
VERSION = 2


@dataclass(frozen=True)
class Group:
    """Runs that numbers come from together: the seeds of a cell, a claim's."""

    name: str
    anchor: str
    runs: tuple[str, ...]
    """Keys of runs; none for what the definition says."""


@dataclass
class Ledger:
    """Every number of a report passes through here on its way to the reader."""

    groups: dict[str, Group] = field(default_factory=dict)
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, dict[str, str]] = field(default_factory=dict)

    def group(self, name: str, runs: Iterable[Ran], anchor: str = "") -> None:
        """Runs by a name; several groups may share the place where the report lists them."""
        self.groups[name] = Group(name, anchor or f"receipt-{slug(name)}", tuple(run.key for run in runs))

    def number(self, key: str, value: float, group: str, how: str, shown: str = "") -> Number:
        """A number, under a key that is the same in every store; `how` says what was done to the runs' values."""
        text = shown or plain(value)
        entry = {"value": value if math.isfinite(value) else str(value), "shown": text, "runs": group, "how": how}
        assert self.numbers.get(key, entry) == entry, f"{key}: two different numbers"
        self.numbers[key] = entry
        return Number(text, self.groups[group].anchor)

    def figure(self, name: str, group: str, how: str) -> None:
        """What a figure was drawn from."""
        assert group in self.groups, group
        self.figures[name] = {"runs": group, "how": how}


def plain(value: float) -> str:
    """A number as a reader wants it: whole ones whole, else four digits that matter, at least four decimals."""
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def p_text(p: float) -> str:
    """A p-value, two digits that matter."""
    return "< 0.0001" if p < 1e-4 else f"{p:#.2g}" if p < 0.995 else "1"


def slug(text: str) -> str:
    """Letters, digits and hyphens; a hash keeps apart what would fall together."""
    simple = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
    same = simple == text.lower().replace(" ", "-")
    return simple if same else f"{simple}-{hashlib.sha256(text.encode()).hexdigest()[:6]}".strip("-")


def folder_name(name: str) -> str:
    """A folder's name for a study or an ablation: its own where that is safe in any path, else a slug."""
    return name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) else slug(name)


def is_report_path(path: str) -> bool:
    """Whether a path is one that reports write: nothing outside of a report's folder can be."""
    return bool(re.fullmatch(r"(figures/)?[a-z0-9-]+\.(md|html|csv|tex|svg|png)", path))


def of_runs(runs: Sequence[Ran]) -> dict[str, Any]:
    """What each run was: enough to find it, to train it again, and to see whether another is the same.

    What it was made with is mostly that of all others: an entry of `origins`, which runs name.
    """
    found = {run.key: _receipt(run) for run in runs}
    origins: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for run in runs:
        origin = _origin(run)
        name = names.setdefault(json.dumps(origin), str(len(names) + 1))
        origins[name] = origin
        found[run.key]["origin"] = name
    return {"runs": found, "origins": origins}


def read(text: str) -> dict[str, Any]:
    """Receipts with each run's origin among the rest of it. Raises `ValueError`, `KeyError`, `TypeError`."""
    told: dict[str, Any] = json.loads(text)
    if told["version"] == VERSION:
        told["runs"] = {key: {**told["origins"][run["origin"]], **run} for key, run in told["runs"].items()}
    return told


def _receipt(run: Ran) -> dict[str, Any]:
    return {
        "id": run.row.id,
        "kind": run.tag("kind"),
        "state": run.state,
        "digest": run.tag("digest"),
        "seed": int(run.tag("seed") or 0),
        "single": {k: v for k, v in sorted(run.row.metrics.items()) if k.startswith(("best/", "test/"))},
        "values": values_hash(run.history),
    }


def _origin(run: Ran) -> dict[str, str]:
    return {
        "commit": run.tag("git_commit"),
        "diff": run.tag("diff"),
        "code": run.tag("code"),
        "execution": run.tag("execution"),
        "data": run.tag("data_fingerprint"),
        "packages": run.tag("packages"),
        "machine": run.tag("machine"),
        "threads": run.tag("threads"),
        "device": run.tag("device_name") or run.tag("device"),
        "torch": run.tag("torch"),
        "cpu_capability": run.tag("cpu_capability"),
    }


def to_json(receipts: Mapping[str, Any]) -> str:
    """One line an entry, so that a difference between two reports is a line."""
    lines = ["{"]
    last = len(receipts) - 1
    for i, (name, value) in enumerate(receipts.items()):
        comma = "," if i < last else ""
        if isinstance(value, dict) and value:
            entries = [f"  {json.dumps(k)}: {_compact(v)}" for k, v in value.items()]
            lines += [f" {json.dumps(name)}: {{", ",\n".join(entries), f" }}{comma}"]
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, sort_keys=True)}{comma}")
    return "\n".join([*lines, "}"]) + "\n"


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
