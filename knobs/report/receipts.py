"""Receipts: the runs behind every number, and how those runs were made."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from knobs.numbers import plain_number
from knobs.record.curves import values_hash
from knobs.record.runs import RecordedRun
from knobs.record.schema import RECEIPTS_VERSION, Kind, Metric, Tag
from knobs.report.formats.document import Number, slug

FILE = "receipts.json"


@dataclass(frozen=True)
class Group:
    """Runs that numbers are computed from: the seeds of a cell, the seeds of a claim."""

    name: str
    anchor: str
    runs: tuple[str, ...]
    """Keys of the runs."""


@dataclass
class Ledger:
    """The numbers, figures and groups of a report. Every number passes through it."""

    groups: dict[str, Group] = field(default_factory=dict)
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, dict[str, str]] = field(default_factory=dict)

    def add_group(self, name: str, runs: Iterable[RecordedRun], anchor: str = "") -> None:
        """Add runs under a name. `anchor` is the place in the report that lists them; groups may share it."""
        self.groups[name] = Group(name, anchor or f"receipt-{slug(name)}", tuple(run.key for run in runs))

    def number(self, key: str, value: float, group: str, how: str, shown: str = "") -> Number:
        """Add a number and return it as the report shows it.

        Args:
            key: A name that is the same in every store.
            value: The number in full precision.
            group: The runs that it is computed from.
            how: How it is computed from the runs' values.
            shown: The number as printed; `plain_number` prints it if empty.
        """
        text = shown or plain_number(value)
        entry = {"value": value if math.isfinite(value) else str(value), "shown": text, "runs": group, "how": how}
        assert self.numbers.get(key, entry) == entry, f"{key}: two different numbers"
        self.numbers[key] = entry
        return Number(text, self.groups[group].anchor)

    def add_figure(self, name: str, group: str, how: str) -> None:
        """Add a figure: the runs that it is drawn from, and what it shows of them."""
        assert group in self.groups, group
        self.figures[name] = {"runs": group, "how": how}


def folder_name(name: str) -> str:
    """Return a folder's name for a study or an ablation: its own name if that is safe in any path, else a slug."""
    return name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) else slug(name)


def is_report_path(path: str) -> bool:
    """Return whether reports write files with this path. No such path leads out of a report's folder."""
    return bool(re.fullmatch(r"(figures/)?[a-z0-9-]+\.(md|html|csv|tex|svg|png)", path))


def run_receipts(
    runs: Sequence[RecordedRun], *, tuned: Mapping[str, Mapping[str, Any]] | None = None, tuning: str = ""
) -> dict[str, Any]:
    """Return `runs` and `origins`: enough to find a run, to train it again, and to compare it with another.

    `tuned`: the tuned knobs of an ablation's fresh seeds, in which their configs differ from that of their cell.
    `tuning`: of an ablation's trials, which are thousands, only this metric's value is kept beside the hash of all.

    An origin is how a run was made. Most runs share one, so it is stored once and runs name it.
    """
    found = {run.key: _receipt(run, tuning) for run in runs}
    for key, knobs in (tuned or {}).items():
        found[key]["tuned"] = dict(knobs)
    origins: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for run in runs:
        origin = _origin(run)
        name = names.setdefault(json.dumps(origin), str(len(names) + 1))
        origins[name] = origin
        found[run.key]["origin"] = name
    return {"runs": found, "origins": origins}


def _receipt(run: RecordedRun, tuning: str) -> dict[str, Any]:
    single = {k: v for k, v in sorted(run.row.metrics.items()) if k.startswith((Metric.BEST, Metric.TEST))}
    if tuning and run.row.kind == Kind.TRIAL:
        single = {k: v for k, v in single.items() if k in (Metric.BEST_STEP, Metric.BEST + tuning)}
    return {
        "id": run.row.id,
        "kind": run.row.kind,
        **({"replicates": int(run.tag(Tag.REPLICATES))} if run.row.replicated else {}),
        "state": run.state,
        "digest": run.tag(Tag.DIGEST),
        "seed": int(run.tag(Tag.SEED) or 0),
        "single": single,
        "values": values_hash(run.curves),
    }


def _origin(run: RecordedRun) -> dict[str, str]:
    return {
        "commit": run.tag(Tag.COMMIT),
        "diff": run.tag(Tag.DIFF),
        "code": run.tag(Tag.CODE),
        "execution": run.tag(Tag.EXECUTION),
        "data": run.tag(Tag.DATA),
        "packages": run.tag(Tag.PACKAGES),
        "machine": run.tag(Tag.MACHINE),
        "threads": run.tag(Tag.THREADS),
        "device": run.tag(Tag.DEVICE_NAME) or run.tag(Tag.DEVICE),
        "torch": run.tag(Tag.TORCH),
        "cpu_capability": run.tag(Tag.CPU_CAPABILITY),
    }


def receipts_to_json(receipts: Mapping[str, Any]) -> str:
    """Return receipts as JSON with one line per entry, so that a difference between two reports is one line."""
    lines = ["{"]
    last = len(receipts) - 1
    for i, (name, value) in enumerate(receipts.items()):
        comma = "," if i < last else ""
        if isinstance(value, dict) and value:
            entries = [f"  {json.dumps(k)}: {_compact_json(v)}" for k, v in value.items()]
            lines += [f" {json.dumps(name)}: {{", ",\n".join(entries), f" }}{comma}"]
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, sort_keys=True)}{comma}")
    return "\n".join([*lines, "}"]) + "\n"


def receipts_from_json(text: str) -> dict[str, Any]:
    """Return receipts, with the facts of each run's origin merged into the run.

    Raise `ValueError`, `KeyError` or `TypeError` if the text is no receipts.
    """
    receipts: dict[str, Any] = json.loads(text)
    if receipts["version"] == RECEIPTS_VERSION:
        origins = receipts["origins"]
        receipts["runs"] = {key: {**origins[run["origin"]], **run} for key, run in receipts["runs"].items()}
    return receipts


def _compact_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
