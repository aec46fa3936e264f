"""Cards are held by one driver at a time, and released by the kernel if it dies."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from knobs.devices import Device, HeldCards, without_cards

HOLD = """
import sys, time
from knobs.devices import HeldCards
held = HeldCards()
print(held.hold(sys.argv[1:]), flush=True)
time.sleep(60)
"""


def test_a_card_is_held_by_one_driver_until_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    command = [sys.executable, "-c", HOLD, "0", "GPU-8a1b", ""]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "[]\n"
        ours = HeldCards()
        assert ours.hold(["0", "1", "1", "", "GPU-8a1b"]) == ["0", "GPU-8a1b"]
        other.kill()
    assert ours.hold(["0"]) == []
    third = HeldCards()
    assert third.hold(["0", "1", "GPU-8a1b"]) == ["0", "1"]
    ours.release()
    assert third.hold(["0", "1"]) == []


def test_devices_on_other_cards_are_left() -> None:
    devices = [
        Device("cuda:0/0", "cuda", card="0"),
        Device("cuda:0/1", "cuda", card="0"),
        Device("cuda:1", "cuda", card="1"),
    ]
    assert [device.label for device in without_cards(devices, ["0"])] == ["cuda:1"]
    assert without_cards(devices, []) == devices
