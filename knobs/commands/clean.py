"""Remove scratch files, prepared arrays and old checkpoints, but no record."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from knobs import discover
from knobs.commands.arguments import SIZES, TIMES, Parser
from knobs.record.stores.locations import StoreLocations
from knobs.terminal.say import say

if TYPE_CHECKING:
    from knobs.record.stores.rows import Row


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs clean`."""
    parser.add_amount("--older-than", TIMES, "30d", metavar="TIME", help="remove checkpoints older than 30d, 12h, ...")
    parser.add_amount("--larger-than", SIZES, "10M", metavar="SIZE", help="remove checkpoints larger than 10M, 1G, ...")
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Remove the files, and print how much space that freed.

    What interrupted runs need to continue stays: their scratch folders, and the arrays that they and the trials of an
    interrupted study were trained on. So do checkpoints of winners.
    """
    del knobs
    places = StoreLocations.of(discover.project_root())
    if places.tracking_uri is None and not places.database.exists():
        say(f"nothing is recorded in {places.folder}")
        return
    from knobs.data import ArrayStore
    from knobs.record.queries import runs_of_kind
    from knobs.record.schema import Kind, MlflowTag, Tag
    from knobs.record.states import StateName
    from knobs.record.stores.mlflow_store import Tracker

    arrays = ArrayStore(places.cache)
    # listed before the runs are read, so that a newer run loses nothing
    folders, loaded = sorted(places.scratch.glob("*")), arrays.unneeded(())
    tracker = Tracker(places)
    alive = {
        row.id: row
        for row in tracker.search("attributes.status != 'FINISHED'")
        if row.status == "RUNNING" or row.state == StateName.INTERRUPTED
    }
    trials = runs_of_kind(tracker, Kind.TRIAL)
    waiting = [row for row in trials if row.tags.get(MlflowTag.PARENT) in alive]  # the winner's test is read at the end
    trials += runs_of_kind(tracker, Kind.REPLICATE)
    needed = {row.tags.get(Tag.DATA, "") for row in [*alive.values(), *waiting]}
    freed = sum(_remove(folder, options.dry_run) for folder in folders if folder.name not in alive)
    unneeded = set(arrays.unneeded(needed))
    freed += sum(_remove(folder, options.dry_run) for folder in loaded if folder in unneeded)
    if options.older_than is not None or options.larger_than is not None:
        kept = {row.trained_run for row in trials if row.tags.get(Tag.WINNER) == "true"}
        for row in (row for row in trials if row.id not in kept):
            for file in _old_checkpoints(row, options.older_than, options.larger_than):
                freed += _remove(file, options.dry_run)
    say(f"{'would free' if options.dry_run else 'freed'} {freed / 1e6:.1f} MB")


def _old_checkpoints(row: Row, older_than: float | None, larger_than: float | None) -> list[Path]:
    """Return an ended run's checkpoints that are older (seconds) and larger (bytes) than this; None: any."""
    if row.end_ms is None or row.folder is None:
        return []
    if older_than is not None and time.time() - row.end_ms / 1000 <= older_than:
        return []
    files = sorted((row.folder / "checkpoints").glob("*"))
    return [file for file in files if larger_than is None or file.stat().st_size > larger_than]


def _remove(path: Path, dry_run: bool) -> int:
    """Remove a file or a folder, or only print it if `dry_run` is true. Return its size in bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if dry_run:
        say(f"  {size / 1e6:8.2f} MB  {path}")
    elif path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
    return size
