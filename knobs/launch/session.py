"""A session: workers, stores, display and driver of a command that trains, opened in the right order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from knobs import discover, signals
from knobs.launch.pools import Device, LocalPool, parse_devices
from knobs.record.stores.locations import StoreLocations

if TYPE_CHECKING:
    from knobs.config import DataConfig
    from knobs.launch.driver import Driver
    from knobs.record.stores.mlflow_store import Tracker
    from knobs.terminal.progress import ProgressDisplay


class Session:
    """Workers that start while input is checked; then tracker, display and driver."""

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
        self.places = StoreLocations.of(self.root, storage)
        self.devices: list[Device] = parse_devices(devices, per_device)[:workers]
        self.fresh = fresh
        self._logs = tempfile.TemporaryDirectory(prefix="knobs-workers-", ignore_cleanup_errors=True)
        self.pool = LocalPool(self.devices, self.root, Path(self._logs.name))

    def open(self, title: str, *sets: DataConfig) -> tuple[Tracker, Driver, ProgressDisplay]:
        """Check that these data sets load, then open the stores. Call this after all other input is checked."""
        from knobs.data import check_loads, prepare
        from knobs.launch.driver import Driver
        from knobs.record.stores.mlflow_store import Tracker
        from knobs.terminal.progress import ProgressDisplay

        for config in sets:
            check_loads(config, self.places.cache)
        tracker = Tracker(self.places)
        self.places.make()
        for config in sets[:1]:
            prepare(config, self.places.cache)
        display = ProgressDisplay(title, [device.label for device in self.devices])
        return tracker, Driver(tracker, self.pool, display, fresh=self.fresh), display

    def close(self) -> None:
        """End the workers."""
        self.pool.close()
        self._logs.cleanup()


@contextmanager
def session(
    devices: str, per_device: int, *, workers: int | None = None, storage: str | None = None, fresh: bool = False
) -> Iterator[Session]:
    """Open a `Session` with at most this many workers, and close it in any case."""
    opened = Session(devices, per_device, workers=workers, storage=storage, fresh=fresh)
    try:
        yield opened
    finally:
        with signals.undisturbed():
            opened.close()
