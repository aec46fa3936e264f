"""`knobs clean`: scratch files and old checkpoints; never a record."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from knobs import discover
from knobs.launch.session import say
from knobs.places import Places
from knobs.tracking import Row, Tracker


def clean(*, older_than: float | None, larger_than: float | None, dry_run: bool) -> None:
    """Remove scratch folders of runs that have ended and, where an age or size is given, checkpoints of ended trials.

    `older_than` in seconds, `larger_than` in bytes. What an interrupted run needs to go on, and a winner's checkpoint,
    stay.
    """
    places = Places.of(discover.project_root())
    if places.tracking_uri is None and not places.database.exists():
        say(f"nothing is recorded in {places.folder}")
        return
    folders = sorted(places.scratch.glob("*"))  # before the runs are read: one that begins meanwhile is in neither
    tracker = Tracker(places)
    alive = {
        row.id
        for row in tracker.search("attributes.status != 'FINISHED'")
        if row.status == "RUNNING" or row.state == "interrupted"
    }
    freed = 0
    for folder in folders:
        if folder.name not in alive:
            freed += _remove(folder, dry_run)
    if older_than is not None or larger_than is not None:
        trials = tracker.search("tags.`knobs.kind` = 'trial'")
        kept = {r.tags.get("knobs.reused_from", r.id) for r in trials if r.tags.get("knobs.winner") == "true"}
        for row in (row for row in trials if row.id not in kept):
            freed += _checkpoints(row, older_than, larger_than, dry_run)
    say(f"{'would free' if dry_run else 'freed'} {freed / 1e6:.1f} MB")


def _checkpoints(row: Row, older_than: float | None, larger_than: float | None, dry_run: bool) -> int:
    if row.end_ms is None or row.folder is None:
        return 0
    freed = 0
    for file in sorted((row.folder / "checkpoints").glob("*")):
        old = older_than is None or time.time() - row.end_ms / 1000 > older_than
        large = larger_than is None or file.stat().st_size > larger_than
        if old and large:
            freed += _remove(file, dry_run)
    return freed


def _remove(path: Path, dry_run: bool) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if dry_run:
        say(f"  {size / 1e6:8.2f} MB  {path}")
    elif path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
    return size
