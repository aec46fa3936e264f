"""From the store to a report's files, as bytes; writing them; what the command says."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knobs.places import Places
from knobs.provenance import short_hash
from knobs.report import ablation, markdown, page, receipts, study, style, tables
from knobs.report.content import Content
from knobs.report.load import load
from knobs.report.record import AblationRecord
from knobs.tracking import Tracker

TIMES = "times.csv"
"""What the clock said: outside of every comparison."""


def build(tracker: Tracker, name: str, *, small: bool) -> tuple[Content, dict[str, bytes]]:
    """The report of this name: its content, and its files by path; `small` leaves out what can be made again."""
    record = load(tracker, name)
    content = ablation.build(record) if isinstance(record, AblationRecord) else study.build(record)
    files: dict[str, bytes] = {}
    for figure, draw in content.figures.items():
        files |= style.to_bytes(draw, figure, png=not small)
    files["report.md"] = markdown.render(content.document).encode()
    files["table.csv"] = tables.to_csv(content.table).encode()
    if not small:
        drawings = {figure: files[f"figures/{figure}.svg"] for figure in content.figures}
        files["report.html"] = page.render(content.document, drawings).encode()
        caption = f"{content.document.title} ({name})"
        files["table.tex"] = tables.to_tex(content.printed, caption, re.sub(r"[^A-Za-z0-9]+", "-", name)).encode()
    files[receipts.FILE] = receipts.to_json(_receipts(content, files, small=small)).encode()
    files[TIMES] = tables.to_csv(content.times).encode()
    return content, files


def _receipts(content: Content, files: Mapping[str, bytes], *, small: bool) -> dict[str, Any]:
    record, ledger = content.record, content.ledger
    return {
        "version": receipts.VERSION,
        "name": record.name,
        "kind": record.told["kind"],
        "complete": not record.missing,
        "small": small,
        "parent": record.parent.id,
        "definition": short_hash(record.told),
        "numbers": ledger.numbers,
        "figures": ledger.figures,
        "groups": {group.name: list(group.runs) for group in ledger.groups.values()},
        **receipts.of_runs(content.runs),
        "configs": {name: json.loads(config) for name, config in content.configs.items()},
        "packages": {key: dict(found) for key, found in record.packages.items()},
        "machines": {key: dict(found) for key, found in record.machines.items()},
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())},
    }


def folder_of(places: Places, name: str) -> Path:
    """Where a report goes by default: below `mlruns/reports/`, whatever the name holds."""
    return places.folder / "reports" / receipts.folder_name(name)


def write(files: Mapping[str, bytes], out: Path) -> None:
    """Each file whole or not at all; files of an earlier report that this one lacks are removed."""
    for old in _earlier(out) - files.keys():
        (out / old).unlink(missing_ok=True)
    for path, data in files.items():
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(target)


def _earlier(out: Path) -> set[str]:
    """Files that an earlier report in this folder says it has; only such names as reports use."""
    try:
        listed = json.loads((out / receipts.FILE).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {path for path in listed if isinstance(path, str) and receipts.is_report_path(path)}
