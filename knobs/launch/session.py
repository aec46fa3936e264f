"""What a command that trains needs, opened in the right order and closed whatever happens."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from knobs import discover, signals
from knobs.errors import BadInputError, StoreError
from knobs.launch.devices import Device, parse
from knobs.launch.local import LocalPool
from knobs.places import Places

if TYPE_CHECKING:
    from knobs.config import DataConfig
    from knobs.launch.driver import Driver
    from knobs.launch.progress import Progress
    from knobs.tracking import Tracker


class Session:
    """Workers that warm up while the rest is checked and imported; then tracker, display and driver."""

    def __init__(
        self,
        devices: str,
        per_device: int,
        *,
        workers: int | None = None,
        storage: str | None = None,
        fresh: bool = False,
    ) -> None:
        self.root = discover.project_root()
        discover.activate(self.root)
        self.places = Places.of(self.root, storage)
        self.devices: list[Device] = parse(devices, per_device)[:workers]
        self.fresh = fresh
        self._logs = tempfile.TemporaryDirectory(prefix="knobs-workers-", ignore_cleanup_errors=True)
        self.pool = LocalPool(self.devices, self.root, Path(self._logs.name))

    def open(self, title: str, *sets: DataConfig) -> tuple[Tracker, Driver, Progress]:
        """The stores, once the input is known to be good: last of all, that these data sets can be made."""
        from knobs import data
        from knobs.launch.driver import Driver
        from knobs.launch.progress import Progress
        from knobs.tracking import Tracker

        for config in sets:
            data.check(config, self.places.cache)
        tracker = Tracker(self.places)
        self.places.make()
        for config in sets[:1]:
            data.prepare(config, self.places.cache)
        display = Progress(title, self.devices)
        return tracker, Driver(tracker, self.pool, display, fresh=self.fresh), display

    def close(self) -> None:
        """End the workers."""
        self.pool.close()
        self._logs.cleanup()


@contextmanager
def session(
    devices: str, per_device: int, *, workers: int | None = None, storage: str | None = None, fresh: bool = False
) -> Iterator[Session]:
    """A `Session` with at most this many workers, closed at the end, however that comes."""
    opened = Session(devices, per_device, workers=workers, storage=storage, fresh=fresh)
    try:
        yield opened
    finally:
        with signals.ending():
            opened.close()


@contextmanager
def only_driver(places: Places, name: str) -> Iterator[None]:
    """Be the one driver of this study. Raises `BadInputError` that says who else is.

    The kernel lets go of the lock when its holder dies, however it dies.
    """
    path = places.locks / f"{name}.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInputError(f"{name} is being run already, by {_holder(path)}; wait for it or stop it") from None
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with suppress(OSError):  # it only tells others who holds it
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(who).encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text())
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def how_to_call(program: str) -> str:
    """How to type a program that is installed beside this Python: its name, or its path where the PATH lacks it."""
    here = Path(sys.executable).with_name(program)
    if shutil.which(program) == str(here) or not here.exists():
        return program
    return os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here)


def say(text: str) -> None:
    """One line to standard output, at once."""
    print(text, flush=True)


def warn(text: str) -> None:
    """One line to standard error."""
    print(f"knobs: {text}", file=sys.stderr, flush=True)
