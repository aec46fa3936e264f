"""Build a report from the store, as the bytes of its files, and write them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from knobs.provenance import short_hash
from knobs.record.reader import read_recorded
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.schema import RECEIPTS_VERSION
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.report import receipts
from knobs.report.ablation.report import ablation_report
from knobs.report.common_sections import Report
from knobs.report.figures.style import figure_files
from knobs.report.formats.html import render_html
from knobs.report.formats.markdown import render_markdown
from knobs.report.formats.tables import table_to_csv, table_to_tex
from knobs.report.study.report import study_report

TIMES = "times.csv"
"""Training times. Comparisons leave this file out."""


def build_report(tracker: Tracker, name: str, *, small: bool) -> tuple[Report, dict[str, bytes]]:
    """Return the report of a study or an ablation, and its files by path. `small` leaves out PNG, HTML and LaTeX.

    Raise `BadInputError` if nothing of this name is recorded, or another version of knobs recorded it.
    """
    recorded = read_recorded(tracker, name, strict=True)
    content = ablation_report(recorded) if isinstance(recorded, RecordedAblation) else study_report(recorded)
    files: dict[str, bytes] = {}
    for figure, draw in content.figures.items():
        files |= figure_files(draw, figure, png=not small)
    files["report.md"] = render_markdown(content.document).encode()
    files["table.csv"] = table_to_csv(content.table).encode()
    if not small:
        drawings = {figure: files[f"figures/{figure}.svg"] for figure in content.figures}
        files["report.html"] = render_html(content.document, drawings).encode()
        caption = f"{content.document.title} ({name})"
        label = re.sub(r"[^A-Za-z0-9]+", "-", name)
        files["table.tex"] = table_to_tex(content.printed, caption, label).encode()
    files[receipts.FILE] = receipts.receipts_to_json(_receipts(content, files, small=small)).encode()
    files[TIMES] = table_to_csv(content.times).encode()
    return content, files


def _receipts(content: Report, files: Mapping[str, bytes], *, small: bool) -> dict[str, Any]:
    recorded, ledger = content.recorded, content.ledger
    tuning, tuned = "", {}
    if isinstance(recorded, RecordedAblation):
        tuning = recorded.metric if small else ""
        tuned = {seed.key: cell.tuned_knobs(seed) for cell in recorded.cells for seed in cell.seeds}
    else:
        tuned = {run.key: knobs for run in recorded.runs if (knobs := recorded.replicate_knobs(run))}
    return {
        "version": RECEIPTS_VERSION,
        "name": recorded.name,
        "kind": recorded.definition.kind,
        "complete": not recorded.missing,
        "small": small,
        "parent": recorded.parent.id,
        "definition": short_hash(asdict(recorded.definition)),
        "numbers": ledger.numbers,
        "figures": ledger.figures,
        "groups": {group.name: list(group.runs) for group in ledger.groups.values()},
        **receipts.run_receipts(recorded.runs, tuned=tuned, tuning=tuning),
        "configs": {name: json.loads(config) for name, config in content.configs.items()},
        "packages": {key: dict(found) for key, found in recorded.packages.items()},
        "machines": {key: dict(found) for key, found in recorded.machines.items()},
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())},
    }


def report_folder(places: StoreLocations, name: str) -> Path:
    """Return the folder that a report goes to by default: one below `mlruns/reports/`, for every name."""
    return places.folder / "reports" / receipts.folder_name(name)


def write_report(files: Mapping[str, bytes], out: Path) -> None:
    """Write each file completely or not at all. Remove files of an earlier report that this one lacks."""
    for old in _files_of_earlier_report(out) - files.keys():
        (out / old).unlink(missing_ok=True)
    for path, data in files.items():
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(target)


def _files_of_earlier_report(out: Path) -> set[str]:
    """Return the paths that the receipts in this folder list, if reports write such paths."""
    try:
        listed = json.loads((out / receipts.FILE).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {path for path in listed if isinstance(path, str) and receipts.is_report_path(path)}
