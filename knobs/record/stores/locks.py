"""Locks between processes: one driver per study, one process that creates a database."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from knobs import signals
from knobs.errors import BadInputError, StoreError
from knobs.record.stores.locations import StoreLocations


@contextmanager
def only_driver(places: StoreLocations, name: str) -> Iterator[None]:
    """Be the one driver of this study. Raise `BadInputError` if there is another one, and say who.

    The kernel releases the lock when its holder dies, however it dies.
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


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for an exclusive lock on a file, then hold it. The kernel releases it when the process dies."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be written: {error.strerror}") from None
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                signals.check()
                time.sleep(0.05)
        yield
    finally:
        with suppress(OSError):
            os.close(handle)
