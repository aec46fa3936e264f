"""A report against its store, byte for byte; and against one that was made elsewhere, by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from knobs.errors import BadInputError
from knobs.report import receipts
from knobs.report.build import TIMES, build
from knobs.tracking import Tracker

MOST_LINES = 5
"""Differing lines that are shown of one file."""


@dataclass
class Found:
    """What a comparison came to."""

    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What differs without being a difference of the results: code, versions, machine."""
    same: str = ""


def check(tracker: Tracker, name: str, folder: Path) -> Found:
    """Build it again and compare every byte but those of the clock; derive every receipt again."""
    old = _receipts(folder)
    if old["name"] != name:
        raise BadInputError(f"{folder} is the report of {old['name']}, not of {name}")
    _, files = build(tracker, name, small=bool(old.get("small")))
    new = receipts.read(files[receipts.FILE].decode())
    found = Found()
    found.differences += _runs(old, new, by_id=True)
    found.differences += _numbers(old, new, ("the report", "the store"))
    for path, data in files.items():
        if path not in (TIMES, receipts.FILE):
            found.differences += _file(folder / path, path, data, old["files"].get(path))
    extra = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - files.keys()
    found.differences += [
        f"{path}: is no part of the report" for path in sorted(extra) if receipts.is_report_path(path)
    ]
    if not found.differences and (folder / receipts.FILE).read_bytes() != files[receipts.FILE]:
        parts = [key for key in {**old, **new} if old.get(key) != new.get(key)] or ["its layout"]
        found.differences.append(f"{receipts.FILE}: differs in {', '.join(parts)}")
    found.same = f"{len(files) - 1} files, {len(new['numbers'])} numbers and {len(new['runs'])} runs are the same"
    return found


def against(tracker: Tracker, name: str, folder: Path) -> Found:
    """Compare numbers and runs with a report made elsewhere: by key and digest, since ids differ between stores."""
    old = _receipts(folder)
    _, files = build(tracker, name, small=True)
    new = receipts.read(files[receipts.FILE].decode())
    found = Found()
    for path, digest in old["files"].items():
        target = folder / path
        if receipts.is_report_path(path) and target.is_file() and _sha(target.read_bytes()) != digest:
            found.differences.append(f"{folder / path}: was changed after the report was made")
    if old["definition"] != new["definition"]:
        found.remarks.append(
            "the definitions differ: question, factors, claims, budget or fixed knobs are not the same"
        )
    found.remarks += _provenance(old, new)
    found.differences += _runs(old, new, by_id=False)
    found.differences += _numbers(old, new, ("there", "here"), leave="review/mixed/")  # provenance, said above
    numbers, runs = len(new["numbers"]), len(new["runs"])
    found.same = f"{numbers} numbers, {runs} runs by digest and every recorded value of their curves"
    return found


def _receipts(folder: Path) -> dict[str, Any]:
    try:
        found = receipts.read((folder / receipts.FILE).read_text(encoding="utf-8"))
        if found["version"] != receipts.VERSION:
            raise BadInputError(f"{folder} was made by another version of knobs (receipts {found['version']})")
        return {**found, **{key: dict(found[key]) for key in ("numbers", "runs", "files", "packages")}}
    except OSError:
        raise BadInputError(f"no report in {folder}: it holds no {receipts.FILE}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{folder / receipts.FILE} cannot be read: {type(error).__name__}: {error}") from None


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file(target: Path, path: str, data: bytes, recorded: str | None) -> list[str]:
    try:
        there = target.read_bytes()
    except OSError:
        return [f"{path}: is missing"]
    if there == data:
        return []
    who = "the store gives another" if recorded == _sha(there) else "was edited"
    if path.endswith((".svg", ".png", ".html")):
        return [f"{path}: {who}"]
    return ["\n".join([f"{path}: {who}", *_lines(there, data)])]


def _lines(old: bytes, new: bytes) -> list[str]:
    """The first lines that differ, both ways round."""
    a, b = old.decode(errors="replace").splitlines(), new.decode(errors="replace").splitlines()
    shown: list[str] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        was, now = " / ".join(a[i:i_end]) or "(nothing)", " / ".join(b[j:j_end]) or "(nothing)"
        shown.append(f"  line {i + 1}: {was[:160]}\n    should be: {now[:160]}")
    return shown[:MOST_LINES]


def _numbers(old: Mapping[str, Any], new: Mapping[str, Any], places: tuple[str, str], *, leave: str = " ") -> list[str]:
    found = []
    for key in sorted({**old["numbers"], **new["numbers"]}):
        if key.startswith(leave):
            continue
        a, b = old["numbers"].get(key), new["numbers"].get(key)
        if a is None or b is None:
            only, entry = (places[1], b) if a is None else (places[0], a)
            found.append(f"{key}: {entry['value']!r} only in {only}")
        elif a["value"] != b["value"]:
            found.append(f"{key}: {a['value']!r} {places[0]}, {b['value']!r} {places[1]}{_by(a['value'], b['value'])}")
        elif a != b and places[0] == "the report":
            found.append(f"{key}: its receipt was altered")
    return found


def _by(a: object, b: object) -> str:
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return ""
    share = f", {abs(b - a) / abs(a):.2g} of it" if a else ""
    return f" (differs by {b - a:+.3g}{share})"


def _runs(old: Mapping[str, Any], new: Mapping[str, Any], *, by_id: bool) -> list[str]:
    found = []
    here, there = ("the store", "the report") if by_id else ("this store", "that report")
    for key in sorted({**old["runs"], **new["runs"]}):
        a, b = old["runs"].get(key), new["runs"].get(key)
        if a is None or b is None:
            known = a or b
            where = f"is in {there} and not in {here}" if b is None else f"is in {here} and not in {there}"
            found.append(f"run {known['id']} ({key}): {where}")
            continue
        changed = _altered(a, b) if by_id else _changed(a, b)
        if changed:
            found.append(f"run {b['id']} ({key}): {'; '.join(changed)}")
    return found


def _altered(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What of a run's receipt the store now says otherwise."""
    found = [f"{name} was {a['single'].get(name)!r}, is {b['single'].get(name)!r}" for name in _unlike(a, b)]
    others = [name for name in {**a, **b} if name not in ("single", "values") and a.get(name) != b.get(name)]
    found += [f"{name} was {a.get(name)!r}, is {b.get(name)!r}" for name in others]
    if a["values"] != b["values"] and not found:
        found = ["a value of its curves is another"]
    return found


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Single values that differ."""
    names = sorted({**a["single"], **b["single"]})
    return [name for name in names if a["single"].get(name) != b["single"].get(name)]


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """How a run's results differ from those of its counterpart elsewhere; where it ran is no result."""
    if a["digest"] != b["digest"]:
        return [f"another config or data (digest {a['digest'][:12]} there, {b['digest'][:12]} here)"]
    if a["values"] == b["values"]:
        return []
    singles = [f"{name} {a['single'].get(name)!r} there, {b['single'].get(name)!r} here" for name in _unlike(a, b)]
    return singles or ["the same at the chosen checkpoint, but its curves differ"]


def _provenance(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Where and with what the two were made, as far as it differs: what explains a difference comes first."""
    said = []
    for name in ("code", "data", "torch", "threads", "device", "cpu_capability", "commit", "diff"):
        was, now = (sorted({str(run[name]) for run in told["runs"].values()}) for told in (old, new))
        if was != now:
            said.append(f"other {name}: {_few(was)} there, {_few(now)} here")
    versions = [{k: v for found in told["packages"].values() for k, v in found.items()} for told in (old, new)]
    changed = [
        f"{name} {versions[0].get(name, 'none')} -> {versions[1].get(name, 'none')}"
        for name in sorted({**versions[0], **versions[1]})
        if versions[0].get(name) != versions[1].get(name)
    ]
    if changed:
        more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
        said.append(f"other packages: {', '.join(changed[:6])}{more}")
    return said


def _few(values: list[str]) -> str:
    shown = [value[:16] or "none" for value in values[:3]]
    return ", ".join(shown) + (", ..." if len(values) > 3 else "")
