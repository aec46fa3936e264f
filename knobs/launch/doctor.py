"""`knobs doctor`: stores, devices, determinism and versions, a line each, with what to do where something is wrong."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from knobs import discover
from knobs.errors import AnswerNoError, KnobsError
from knobs.launch import devices
from knobs.launch.session import say
from knobs.places import Places, without_password

LOW_DISK = 1 << 30

Finding = tuple[bool, str]
"""Whether all is well, and the line that says so or says what to do."""


def examine() -> None:
    """Print every finding. Raises `AnswerNoError` where one asks for something to be done."""
    places = Places.of(discover.project_root())
    wrong = 0
    for check in (_versions, _content, _folder, _mlflow, _optuna, _devices, _determinism):
        try:
            findings = list(check(places))
        except KnobsError as error:
            findings = [(False, str(error))]
        for well, line in findings:
            say(f"{'ok   ' if well else 'DO   '}{line}")
            wrong += not well
    if wrong:
        raise AnswerNoError(f"{wrong} thing{'s' if wrong > 1 else ''} to do")


def _versions(_: Places) -> Iterator[Finding]:
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
        advice = "" if well else f" is outside what was tested: pip install '{requirement}'"
        yield well, f"{requirement.name} {version}{advice}"


def _content(places: Places) -> Iterator[Finding]:
    counts = ", ".join(f"{len(discover.files(folder, places.root))} {folder}" for folder in discover.FOLDERS)
    yield True, f"project {places.root}: {counts}"


def _folder(places: Places) -> Iterator[Finding]:
    if not places.folder.exists():
        yield True, f"{places.folder} is not there yet; the first run makes it"
        return
    if not os.access(places.folder, os.W_OK):
        yield False, f"{places.folder} cannot be written: change its owner, or name another in KNOBS_MLRUNS"
        return
    free = shutil.disk_usage(places.folder).free
    advice = "" if free > LOW_DISK else ": make room, e.g. knobs clean --older-than 30d"
    yield free > LOW_DISK, f"{places.folder}: {free / 1e9:.1f} GB free{advice}"
    for lock in sorted(places.locks.glob("*.lock")):
        if _held(lock):
            yield True, f"{lock.stem} is being run now"


def _mlflow(places: Places) -> Iterator[Finding]:
    from knobs.tracking import Tracker

    if places.tracking_uri is None:
        if not places.database.exists():
            return
        with sqlite3.connect(f"file:{places.database}?mode=ro", uri=True, timeout=10) as connection:
            try:
                verdict = connection.execute("pragma quick_check").fetchone()[0]
            except sqlite3.DatabaseError as error:
                verdict = str(error)
        if verdict != "ok":
            yield False, f"{places.database} is damaged ({verdict}): restore it from a backup, or move it away"
            return
    tracker = Tracker(places)
    yield True, f"MLflow store {without_password(places.tracking_uri or str(places.database))} opens"
    for row in tracker.search("attributes.status = 'RUNNING'"):
        name = row.tags.get("knobs.study") or row.tags.get("knobs.name", "")
        if name and row.tags.get("knobs.kind") == "study" and not _held(places.locks / f"{name}.lock"):
            yield False, f"{name} was left running by a driver that died: go on with it: knobs study {name}"


def _optuna(places: Places) -> Iterator[Finding]:
    import optuna

    if places.storage is None and not (places.folder / "optuna.db").exists():
        return
    try:
        names = optuna.study.get_all_study_names(places.optuna_url)
    except Exception as error:  # whatever a damaged file makes of it
        yield (
            False,
            f"{without_password(places.optuna_url)} does not open ({type(error).__name__}): delete it, it is rebuilt",
        )
        return
    yield True, f"Optuna store {without_password(places.optuna_url)}: {len(names)} studies"


def _devices(_: Places) -> Iterator[Finding]:
    found = devices.parse("auto")
    yield True, f"devices: {', '.join(device.label for device in found)} ({devices.available_cpus()} CPUs)"
    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found[0].kind == "cpu" and Path("/dev/nvidia0").exists():
        yield (
            False,
            f"there is an NVIDIA device but torch sees none (CUDA_VISIBLE_DEVICES={inherited}): check the driver",
        )


def _determinism(places: Places) -> Iterator[Finding]:
    """Train a small network twice on each kind of device and compare every value."""
    import tempfile

    import torch

    from knobs import runner
    from knobs.job import Job, Record

    discover.activate(places.root)
    config = _small_config()
    device = torch.device(devices.parse("auto")[0].kind)

    class Listener:
        stopping = False

        def __init__(self) -> None:
            self.heard: list[tuple[int, dict[str, float]]] = []

        def record(self, record: Record) -> None:
            self.heard.append((record.step, record.values))

        def goes_on(self, step: int, value: float) -> bool:
            return bool(step) or bool(value)

    with tempfile.TemporaryDirectory() as folder:
        heard: list[Listener] = []
        for attempt in range(2):
            listener = Listener()
            job = Job(run="doctor", config=config, folder=Path(folder) / str(attempt), cache=Path(folder))
            outcome = runner.run(job, listener, device)
            if outcome.state != "finished":
                yield False, f"a small training on {device} {outcome.state}: {outcome.message}"
                return
            heard.append(listener)
    same = heard[0].heard == heard[1].heard
    capability = runner.environment(device)["cpu_capability"]
    advice = "" if same else ": numbers from here are not reproducible; compare torch's build with another machine's"
    yield (
        same,
        f"a small training twice on {device} ({capability}): {'identical' if same else 'different'} bits{advice}",
    )


def _small_config() -> str:
    """The first study's baseline, cut to 50 steps: the engine names no content of its own."""
    from knobs.launch.commands import baseline_of

    name = next(iter(discover.files("studies")))
    return baseline_of(name).with_knobs({"training.max_steps": 50, "training.val_every": 25}).to_json()


def _held(lock: Path) -> bool:
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
