"""One driver a study: a second process is refused while the first lives, and no longer."""

import os
import signal
import time
from pathlib import Path

import pytest
from faults.processes import Forked, until

from knobs import BadInputError
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.locks import only_driver


def _drive(places: StoreLocations, name: str, began: Path) -> None:
    with only_driver(places, name):
        began.touch()
        time.sleep(600)


@pytest.fixture
def places(tmp_path: Path) -> StoreLocations:
    found = StoreLocations(tmp_path, tmp_path / "mlruns")
    found.make()
    return found


def driver(places: StoreLocations, name: str) -> Forked:
    """Another process that drives a study until it is killed."""
    began = places.folder / f"{name}.began"
    started = Forked(_drive, places, name, began)
    until(lambda: began.exists() or started.poll() is not None, what="the other driver")
    assert started.poll() is None
    return started


def test_a_second_driver_of_a_study_is_refused_and_hears_which_process_drives_it(places: StoreLocations) -> None:
    other = driver(places, "search")
    try:
        for _ in range(2):
            said = rf"^search is being run already.* {other.pid}\b"
            with pytest.raises(BadInputError, match=said) as refused, only_driver(places, "search"):
                pytest.fail("two drivers at once")
            assert "\n" not in str(refused.value)
        with only_driver(places, "another"):
            pass
    finally:
        other.kill()
        other.wait(30)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_died_in_any_way_holds_nobody_up(signum: int, places: StoreLocations) -> None:
    other = driver(places, "search")
    os.kill(other.pid, signum)
    other.wait(30)
    for _ in range(2):
        with only_driver(places, "search"):
            pass
