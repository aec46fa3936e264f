"""Compare a report with its store, byte for byte, or with a report made elsewhere, number by number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from knobs.errors import BadInputError
from knobs.record.schema import RECEIPTS_VERSION
from knobs.record.stores.mlflow_store import Tracker
from knobs.report import receipts
from knobs.report.build import TIMES, build_report

MOST_LINES = 5
"""Differing lines that are shown per file."""

MOST_PACKAGES = 6
"""Differing packages that are shown."""


@dataclass
class Comparison:
    """The result of a comparison."""

    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Differences that are not in the results: code, versions, machine."""
    same: str = ""
    """The files, numbers and runs that are the same, counted."""


def compare_with_store(tracker: Tracker, name: str, folder: Path) -> Comparison:
    """Build the report again and compare every byte except the training times. Compare every receipt.

    Raise `BadInputError` if the folder holds no report, or the report of something else.
    """
    old = _read_receipts(folder)
    if old["name"] != name:
        raise BadInputError(f"{folder} is the report of {old['name']}, not of {name}")
    _, files = build_report(tracker, name, small=bool(old.get("small")))
    new = receipts.receipts_from_json(files[receipts.FILE].decode())
    made = Comparison()
    made.differences += _compare_runs(old, new, by_id=True)
    made.differences += _compare_numbers(old, new, ("the report", "the store"))
    for path, data in files.items():
        if path not in (TIMES, receipts.FILE):
            made.differences += _compare_file(folder / path, path, data, old["files"].get(path))
    extra = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - files.keys()
    made.differences += [f"{path}: is no part of the report" for path in sorted(extra) if receipts.is_report_path(path)]
    if not made.differences and (folder / receipts.FILE).read_bytes() != files[receipts.FILE]:
        parts = [key for key in {**old, **new} if old.get(key) != new.get(key)] or ["its layout"]
        made.differences.append(f"{receipts.FILE}: differs in {', '.join(parts)}")
    made.same = f"{len(files) - 1} files, {len(new['numbers'])} numbers and {len(new['runs'])} runs are the same"
    return made


def compare_with_report(tracker: Tracker, name: str, folder: Path) -> Comparison:
    """Compare numbers and runs with a report made elsewhere, by key and digest: run ids differ between stores.

    Raise `BadInputError` if the folder holds no report.
    """
    old = _read_receipts(folder)
    _, files = build_report(tracker, name, small=True)
    new = receipts.receipts_from_json(files[receipts.FILE].decode())
    made = Comparison()
    for path, digest in old["files"].items():
        target = folder / path
        if receipts.is_report_path(path) and target.is_file() and _sha(target.read_bytes()) != digest:
            made.differences.append(f"{folder / path}: was changed after the report was made")
    if old["definition"] != new["definition"]:
        made.remarks.append("the definitions differ: question, factors, claims, budget or fixed knobs are not the same")
    made.remarks += _compare_provenance(old, new)
    made.differences += _compare_runs(old, new, by_id=False)
    made.differences += _compare_numbers(old, new, ("there", "here"), leave="review/mixed/")  # that is provenance
    numbers, runs = len(new["numbers"]), len(new["runs"])
    made.same = f"{numbers} numbers, {runs} runs by digest and every recorded value of their curves"
    return made


def _read_receipts(folder: Path) -> dict[str, Any]:
    try:
        found = receipts.receipts_from_json((folder / receipts.FILE).read_text(encoding="utf-8"))
        if found["version"] != RECEIPTS_VERSION:
            raise BadInputError(f"{folder} was made by another version of knobs (receipts {found['version']})")
        return {**found, **{key: dict(found[key]) for key in ("numbers", "runs", "files", "packages")}}
    except OSError:
        raise BadInputError(f"no report in {folder}: it holds no {receipts.FILE}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{folder / receipts.FILE} cannot be read: {type(error).__name__}: {error}") from None


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _compare_file(target: Path, path: str, data: bytes, recorded: str | None) -> list[str]:
    try:
        written = target.read_bytes()
    except OSError:
        return [f"{path}: is missing"]
    if written == data:
        return []
    cause = "the store gives another" if recorded == _sha(written) else "was edited"
    if path.endswith((".svg", ".png", ".html")):
        return [f"{path}: {cause}"]
    return ["\n".join([f"{path}: {cause}", *_differing_lines(written, data)])]


def _differing_lines(old: bytes, new: bytes) -> list[str]:
    """Return the first lines that differ, each as it is and as it should be."""
    a, b = old.decode(errors="replace").splitlines(), new.decode(errors="replace").splitlines()
    shown: list[str] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        was, now = " / ".join(a[i:i_end]) or "(nothing)", " / ".join(b[j:j_end]) or "(nothing)"
        shown.append(f"  line {i + 1}: {was[:160]}\n    should be: {now[:160]}")
    return shown[:MOST_LINES]


def _compare_numbers(
    old: Mapping[str, Any], new: Mapping[str, Any], places: tuple[str, str], *, leave: str = " "
) -> list[str]:
    """Describe the numbers that differ. `places` names the two sides; keys that start with `leave` are left out."""
    found = []
    for key in sorted({**old["numbers"], **new["numbers"]}):
        if key.startswith(leave):
            continue
        a, b = old["numbers"].get(key), new["numbers"].get(key)
        if a is None or b is None:
            only, entry = (places[1], b) if a is None else (places[0], a)
            found.append(f"{key}: {entry['value']!r} only in {only}")
        elif a["value"] != b["value"]:
            gap = _difference(a["value"], b["value"])
            found.append(f"{key}: {a['value']!r} {places[0]}, {b['value']!r} {places[1]}{gap}")
        elif a != b and places[0] == "the report":
            found.append(f"{key}: its receipt was altered")
    return found


def _difference(a: object, b: object) -> str:
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return ""
    share = f", {abs(b - a) / abs(a):.2g} of it" if a else ""
    return f" (differs by {b - a:+.3g}{share})"


def _compare_runs(old: Mapping[str, Any], new: Mapping[str, Any], *, by_id: bool) -> list[str]:
    """Describe the runs that differ. `by_id`: both sides describe the same runs of one store."""
    found = []
    here, there = ("the store", "the report") if by_id else ("this store", "that report")
    for key in sorted({**old["runs"], **new["runs"]}):
        a, b = old["runs"].get(key), new["runs"].get(key)
        if a is None or b is None:
            known = a or b
            where = f"is in {there} and not in {here}" if b is None else f"is in {here} and not in {there}"
            found.append(f"run {known['id']} ({key}): {where}")
            continue
        changed = _changed_facts(a, b) if by_id else _changed_results(a, b)
        if changed:
            found.append(f"run {b['id']} ({key}): {'; '.join(changed)}")
    return found


def _changed_facts(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Describe the facts of a run that the store has changed since its receipt was written."""
    found = [f"{name} was {a['single'].get(name)!r}, is {b['single'].get(name)!r}" for name in _unlike(a, b)]
    others = [name for name in {**a, **b} if name not in ("single", "values") and a.get(name) != b.get(name)]
    found += [f"{name} was {a.get(name)!r}, is {b.get(name)!r}" for name in others]
    if a["values"] != b["values"] and not found:
        found = ["a value of its curves is another"]
    return found


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the names of single values that differ."""
    names = sorted({**a["single"], **b["single"]})
    return [name for name in names if a["single"].get(name) != b["single"].get(name)]


def _changed_results(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Describe how a run's results differ from those of the same run elsewhere. Its machine is no result."""
    if a["digest"] != b["digest"]:
        return [f"another config or data (digest {a['digest'][:12]} there, {b['digest'][:12]} here)"]
    if a["values"] == b["values"]:
        return []
    singles = [f"{name} {a['single'].get(name)!r} there, {b['single'].get(name)!r} here" for name in _unlike(a, b)]
    return singles or ["the same at the chosen checkpoint, but its curves differ"]


def _compare_provenance(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Describe how differently the two were made; it may explain differences of the results."""
    found = []
    for name in ("code", "data", "torch", "threads", "device", "cpu_capability", "commit", "diff"):
        was, now = (sorted({str(run[name]) for run in side["runs"].values()}) for side in (old, new))
        if was != now:
            found.append(f"other {name}: {_first_values(was)} there, {_first_values(now)} here")
    there, here = ({k: v for kept in side["packages"].values() for k, v in kept.items()} for side in (old, new))
    changed = [
        f"{name} {there.get(name, 'none')} -> {here.get(name, 'none')}"
        for name in sorted({**there, **here})
        if there.get(name) != here.get(name)
    ]
    if changed:
        more = f" and {len(changed) - MOST_PACKAGES} more" if len(changed) > MOST_PACKAGES else ""
        found.append(f"other packages: {', '.join(changed[:MOST_PACKAGES])}{more}")
    return found


def _first_values(values: list[str]) -> str:
    shown = [value[:16] or "none" for value in values[:3]]
    return ", ".join(shown) + (", ..." if len(values) > 3 else "")
