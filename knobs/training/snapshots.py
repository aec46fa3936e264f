"""Resumable checkpoints of a running training: copied between two steps, written by a thread."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from knobs.training.checkpoint import copy_to_host, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from knobs.devices import DeviceKind

CHECKPOINT_SECONDS = float(os.environ.get("KNOBS_CHECKPOINT_SECONDS", "10"))
"""Seconds of training between checkpoints, at least. A shorter run writes one only if a signal arrives."""

COST_FACTOR = 20.0
"""Between checkpoints lies at least this many times what one costs: the copy, which stalls the steps, and the write."""

KEPT = 2
"""Checkpoint files that are kept. If the newest is damaged, the other is used."""


class SnapshotWriter:
    """Writes the checkpoints of one training, one at a time, in a thread that sees no device."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.due = time.monotonic() + CHECKPOINT_SECONDS
        """When the next checkpoint, or the error of the last one, is due. Never while one is being written."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._saved: list[Path] = []

    @property
    def busy(self) -> bool:
        """True while a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, state: dict[str, Any], path: Path, kind: DeviceKind) -> None:
        """Copy the state, which is on a device of this kind, and return while the copy is being written to `path`.

        An earlier checkpoint is finished first; raise its error, or that of the device.
        """
        self.finish()
        began = time.monotonic()
        copied = copy_to_host(state, kind)
        self.due = math.inf
        stalled = time.monotonic() - began
        self._thread = threading.Thread(target=self._write, args=(copied, path, stalled), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until the file is on disk. Raise `StoreError` if it cannot be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Wait until nothing is being written; an error is only logged, because the training has another one."""
        try:
            self.finish()
        except Exception as error:
            self.log.append(f"checkpoint not written: {error}")

    def _write(self, state: dict[str, Any], path: Path, stalled: float) -> None:
        began = time.monotonic()
        try:
            write_checkpoint(state, path)
            if path not in self._saved:
                self._saved.append(path)
            while len(self._saved) > KEPT:
                self._saved.pop(0).unlink(missing_ok=True)
        except BaseException as error:  # raised in the training's thread, at its next step
            self._error, self.due = error, 0.0
            return
        self.log.append(f"wrote {path.name}")
        now = time.monotonic()
        self.due = now + max(CHECKPOINT_SECONDS, COST_FACTOR * (stalled + now - began))
