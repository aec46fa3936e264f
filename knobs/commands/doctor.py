"""Check versions, stores, devices and determinism."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from knobs import discover
from knobs.commands.arguments import Parser
from knobs.errors import AnswerNoError, KnobsError
from knobs.record.stores.locations import StoreLocations, without_password
from knobs.terminal.say import say

if TYPE_CHECKING:
    from knobs.config import RunConfig

LOW_DISK = 1 << 30
"""Free bytes below which the disk counts as full."""

Finding = tuple[bool, str]
"""Whether all is well, and one line that describes it or says how to fix it."""


def add_arguments(parser: Parser) -> None:
    """Add no argument: `knobs doctor` has none."""
    del parser


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Print one line per finding. Raise `AnswerNoError` if there is something to fix."""
    del options, knobs
    places = StoreLocations.of(discover.project_root())
    wrong = 0
    for check in (_versions, _content, _folder, _mlflow, _optuna, _devices, _determinism):
        try:
            findings = list(check(places))
        except KnobsError as error:
            findings = [(False, str(error))]
        for well, line in findings:
            say(f"{'ok   ' if well else 'FIX  '}{line}")
            wrong += not well
    if wrong:
        raise AnswerNoError(f"{wrong} thing{'s' if wrong > 1 else ''} to fix")


def _versions(_: StoreLocations) -> Iterator[Finding]:
    from importlib import metadata

    from packaging.requirements import Requirement

    yield True, f"Python {sys.version.split()[0]}"
    for text in metadata.requires("knobs-lab") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield False, f"{requirement.name} is missing: pip install '{requirement}'"
            continue
        well = requirement.specifier.contains(version, prereleases=True)
        advice = "" if well else f" is outside of the tested range: pip install '{requirement}'"
        yield well, f"{requirement.name} {version}{advice}"


def _content(places: StoreLocations) -> Iterator[Finding]:
    counts = ", ".join(f"{len(discover.files(folder, places.root))} {folder}" for folder in discover.FOLDERS)
    yield True, f"project {places.root}: {counts}"


def _folder(places: StoreLocations) -> Iterator[Finding]:
    if not places.folder.exists():
        yield True, f"{places.folder} does not exist yet; the first run creates it"
        return
    if not os.access(places.folder, os.W_OK):
        yield False, f"{places.folder} cannot be written: change its owner, or name another folder in KNOBS_MLRUNS"
        return
    free = shutil.disk_usage(places.folder).free
    advice = "" if free > LOW_DISK else ": free some space, e.g. knobs clean --older-than 30d"
    yield free > LOW_DISK, f"{places.folder}: {free / 1e9:.1f} GB free{advice}"
    for lock in sorted(places.locks.glob("*.lock")):
        if _is_held(lock):
            yield True, f"{lock.stem} is running now"


def _mlflow(places: StoreLocations) -> Iterator[Finding]:
    from knobs.record.schema import Kind, Tag
    from knobs.record.stores.mlflow_store import Tracker

    if places.tracking_uri is None:
        if not places.database.exists():
            return
        with sqlite3.connect(f"{places.database.as_uri()}?mode=ro", uri=True, timeout=10) as connection:
            try:
                verdict = connection.execute("pragma quick_check").fetchone()[0]
            except sqlite3.DatabaseError as error:
                verdict = str(error)
        if verdict != "ok":
            yield False, f"{places.database} is damaged ({verdict}): restore it from a backup, or move it away"
            return
    tracker = Tracker(places)
    yield True, f"MLflow's store {without_password(places.tracking_uri or str(places.database))} opens"
    for row in tracker.search("attributes.status = 'RUNNING'"):
        name = row.tags.get(Tag.STUDY, "")
        if row.kind == Kind.STUDY and not _is_held(places.locks / f"{name}.lock"):
            yield False, f"{name} is marked as running, but its driver died; to continue: knobs study {name}"


def _optuna(places: StoreLocations) -> Iterator[Finding]:
    import optuna

    if places.storage is None and not (places.folder / "optuna.db").exists():
        return
    url = without_password(places.optuna_url)
    try:
        names = optuna.study.get_all_study_names(places.optuna_url)
    except Exception as error:  # a damaged file can raise anything
        yield False, f"{url} does not open ({type(error).__name__}): delete it; the next study rebuilds it"
        return
    yield True, f"Optuna's store {url}: {len(names)} stud{'y' if len(names) == 1 else 'ies'}"


def _devices(_: StoreLocations) -> Iterator[Finding]:
    from knobs.devices import available_cpus, parse_devices

    found = parse_devices("auto")
    yield True, f"devices: {', '.join(device.label for device in found)} ({available_cpus()} CPUs)"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found[0].kind == "cpu" and Path("/dev/nvidia0").exists():
        yield False, f"there is an NVIDIA GPU, but torch finds none (CUDA_VISIBLE_DEVICES={visible}): check the driver"
    if found[0].kind == "cpu" and Path("/dev/kfd").exists():
        yield True, "there is an AMD GPU; knobs does not support it and trains on the CPU"


def _determinism(places: StoreLocations) -> Iterator[Finding]:
    """Train a small network twice on every device, in workers like those of a study."""
    from knobs.devices import parse_devices
    from knobs.launch.determinism import check_determinism

    discover.activate(places.root)
    devices = parse_devices("auto")
    chosen = devices if devices[0].card else devices[:1]  # CPU slots are all alike
    yield from check_determinism(_small_config(), chosen, places.root)


def _small_config() -> RunConfig:
    """Return the first study's baseline, cut to 50 steps. The engine names no content of its own."""
    from knobs.launch.baseline import baseline_of

    name = next(iter(discover.files("studies")))
    return baseline_of(name).with_knobs({"training.max_steps": 50, "training.val_every": 25})


def _is_held(lock: Path) -> bool:
    """Return whether another process holds this lock file."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
