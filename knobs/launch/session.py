"""A session: workers, stores, display and driver of a command that trains, opened in the right order."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from knobs import discover, signals
from knobs.devices import Device, HeldCards, parse_devices, without_cards
from knobs.errors import BadInputError
from knobs.launch.pools import LocalPool
from knobs.record.stores.locations import StoreLocations
from knobs.terminal.say import say, warn

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
        from knobs.data import begin_launch

        self.root = discover.project_root()
        discover.activate(self.root)
        begin_launch(fresh=fresh)
        self.places = StoreLocations.of(self.root, storage)
        self.cards = HeldCards()
        self.devices: list[Device] = self._choose(devices, parse_devices(devices, per_device))[:workers]
        self.fresh = fresh
        if sys.stdout.isatty():  # a person waits; libraries take seconds
            say(f"starting {len(self.devices)} worker{'s' * (len(self.devices) > 1)} ...")
        self._logs = tempfile.TemporaryDirectory(prefix="knobs-workers-", ignore_cleanup_errors=True)
        self.pool = LocalPool(self.devices, self.root, Path(self._logs.name))

    def _choose(self, spec: str, devices: list[Device]) -> list[Device]:
        """Hold the devices' cards; leave out those of other drivers, unless the user named them."""
        held = self.cards.hold(device.card for device in devices)
        if not held:
            return devices
        labels = ", ".join(device.label for device in devices if device.card in held)
        if ":" in spec:
            warn(f"{labels}: another driver uses it too; both share its memory")
            return devices
        free = without_cards(devices, held)
        if not free:
            raise BadInputError(
                f"other drivers use {labels}; wait for them, or name devices to share: --devices cuda:0"
            )
        warn(f"{labels} is left out: another driver uses it; name it in --devices to share it")
        return free

    def open(self, title: str, *sets: DataConfig) -> tuple[Tracker, Driver, ProgressDisplay]:
        """Check that these data sets load, then open the stores. Call this after all other input is checked."""
        from knobs.data import about_prepared, check_loads, prepare
        from knobs.launch.driver import Driver
        from knobs.record.stores.mlflow_store import Tracker
        from knobs.terminal.progress import ProgressDisplay

        for config in sets:
            check_loads(config, self.places.cache)
        found = [(config.kind, about_prepared(config, self.places.cache)) for config in sets]
        for line in dict.fromkeys(f"data.{kind}: {text}" for kind, about in found if about for text in about.warnings):
            warn(line)
        tracker = Tracker(self.places)
        self.places.make()
        for config in sets[:1]:
            prepare(config, self.places.cache)
        display = ProgressDisplay(title, [device.label for device in self.devices])
        return tracker, Driver(tracker, self.pool, display, fresh=self.fresh), display

    def close(self) -> None:
        """End the workers."""
        self.pool.close()
        self.cards.release()
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
