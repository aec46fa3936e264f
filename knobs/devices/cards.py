"""Cards that drivers hold, so that two drivers do not take the same GPU unawares."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from knobs.devices.kind import Device


class HeldCards:
    """The cards that this driver holds. The kernel releases them when the process dies."""

    def __init__(self) -> None:
        self._handles: dict[str, int] = {}

    def hold(self, cards: Iterable[str]) -> list[str]:
        """Hold these cards. Return those that other drivers hold; cards without an id cannot be held."""
        return [card for card in dict.fromkeys(cards) if card and not self._hold(card)]

    def release(self) -> None:
        """Release all cards."""
        for handle in self._handles.values():
            with suppress(OSError):
                os.close(handle)
        self._handles.clear()

    def _hold(self, card: str) -> bool:
        name = hashlib.sha256(card.encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"knobs-card-{name}.lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return True  # another user's file: it cannot be told whether that user's driver runs
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handles[card] = handle
        return True


def without_cards(devices: Iterable[Device], cards: Iterable[str]) -> list[Device]:
    """Return the devices that are on none of these cards."""
    taken = set(cards)
    return [device for device in devices if device.card not in taken]
