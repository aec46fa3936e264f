"""Time of `report` and `status` in a store of 10,000 runs with a study of 500 trials.

`python -m benchmarks.speed.big_store [FOLDER]`. The rows go straight into MLflow's tables, as the tracker would write
them, because training 10,000 runs would take too long.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna

from knobs import RunConfig, Study, discover, provenance
from knobs.config import text_of
from knobs.provenance import short_hash
from knobs.record.define import define_study
from knobs.record.definition import definition_to_json
from knobs.record.schema import VERSION, Artifact, Kind, MlflowTag, Tag
from knobs.record.spaces import Distributions, SpaceStore
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.search import study_identity

RUNS = int(os.environ.get("BENCH_RUNS", "10000"))
TRIALS = 500
OTHERS = 19
"""Number of studies that share the remaining runs."""
POINTS = 23
"""Validations in a full training."""
NAME = "mnist1d_mlp"
KNOBS = str(Path(sys.executable).with_name("knobs"))
STATES = (("finished", "FINISHED", 0.65), ("pruned", "KILLED", 0.3), ("diverged", "FAILED", 0.05))


def make(folder: Path) -> None:
    """Write the store into `folder`."""
    study = discover.the_one(discover.load("studies", NAME), Study)
    tracker = Tracker(StoreLocations(Path.cwd(), folder))
    mine = min(TRIALS, RUNS // 2)
    others = {f"other_{i:02d}": (RUNS - mine + i) // OTHERS for i in range(OTHERS)}
    sizes = {name: size for name, size in {NAME: mine, **others}.items() if size}
    experiments = {name: int(tracker.experiment(name)) for name in sizes}
    trials = list(_random_trials(study, max(sizes.values())))
    parents, identity = {}, short_hash(json.loads(json.dumps(study_identity(study))))
    for name, size in sizes.items():
        tags = {Tag.KIND: Kind.STUDY, Tag.STUDY: name, Tag.IDENTITY: identity, Tag.STATE: "finished"}
        params = {"metric": study.metric, "direction": study.direction}
        parents[name] = tracker.create(str(experiments[name]), name[:18], tags, params)
        definition = define_study(name, study, "A store of many runs.", size)
        tracker.upload_texts(parents[name], {Artifact.DEFINITION: definition_to_json(definition)})
        tracker.summary(parents[name], {"trials/done": float(size)})
        tracker.end(parents[name], "FINISHED", {Tag.STATE: "finished"})
    stores = {name: SpaceStore(tracker, parents[name]) for name in sizes}
    spaces = {name: [stores[name].key(space) for _, space in trials[:size]] for name, size in sizes.items()}
    connection = sqlite3.connect(folder / "mlflow.db")
    chance = random.Random(0)
    with connection:
        connection.execute("pragma synchronous = off")
        for name, size in sizes.items():
            for number in range(size):
                config, key = trials[number][0], spaces[name][number]
                _insert(connection, chance, folder, name, experiments[name], parents[name], number, config, key)
    connection.close()
    _facts(folder, tracker, parents[NAME])


def make_only(folder: str) -> None:
    """Write the store into a folder and measure nothing."""
    discover.activate(discover.project_root())
    make(Path(folder).resolve())


def _random_trials(study: Study, count: int) -> Iterator[tuple[RunConfig, Distributions]]:
    """Config and search space of so many random trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for number in range(count):
            if number == 0:
                memory.enqueue_trial(dict(study.baseline.knobs()))
            trial = memory.ask()
            yield study.space(trial, study.baseline), trial.distributions


def _insert(
    connection: sqlite3.Connection,
    chance: random.Random,
    folder: Path,
    study: str,
    experiment: int,
    parent: str,
    number: int,
    config: RunConfig,
    space: str,
) -> None:
    run = f"{chance.getrandbits(128):032x}"
    state, status = ("finished", "FINISHED") if number == 0 else _state(chance)
    began = 1_790_000_000_000 + number * 1000
    uri = (folder / "artifacts" / study / run / "artifacts").as_uri()
    row = (run, f"t{number:03d}", "LOCAL", "knobs", "", "bench", status, began, began + 900, "", "active", uri)
    connection.execute(f"insert into runs values ({','.join('?' * 14)})", (*row, experiment, None))
    tags = {
        Tag.SCHEMA: VERSION, Tag.KIND: Kind.TRIAL, Tag.STUDY: study, Tag.TRIAL: str(number), Tag.STATE: state,
        Tag.CONFIG: config.hash(), Tag.SPACE: space, Tag.SEED: "0", Tag.ATTEMPT: "1",
        Tag.DIGEST: f"{chance.getrandbits(256):064x}", Tag.IDENTITY: f"{chance.getrandbits(256):064x}",
        Tag.CODE: "0" * 16, Tag.DATA: "0" * 64, Tag.COMMIT: "0" * 40, Tag.DIRTY: "false", Tag.DIFF: "",
        Tag.PACKAGES: short_hash(provenance.packages()), Tag.MACHINE: short_hash(provenance.machine()),
        Tag.EXECUTION: "solo", Tag.DEVICE: "cpu", Tag.DEVICE_NAME: "cpu", Tag.THREADS: "1", Tag.TORCH: "2.13.0",
        Tag.CPU_CAPABILITY: "AVX2", Tag.DETERMINISTIC: "False", Tag.CUBLAS_WORKSPACE: "",
        MlflowTag.PARENT: parent, "mlflow.runName": f"t{number:03d}", MlflowTag.SOURCE_NAME: "knobs",
    }  # fmt: skip
    connection.executemany("insert into tags values (?, ?, ?)", [(key, value, run) for key, value in tags.items()])
    entries = [(knob, text_of(value), run) for knob, value in config.knobs().items()]
    connection.executemany("insert into params values (?, ?, ?)", entries)
    curves, single = _values(chance, state)
    points = [(k, v, began + s, run, s, 0) for k, curve in curves.items() for s, v in curve]
    points += [(k, v, began, run, 0, 0) for k, v in single.items()]
    connection.executemany("insert into metrics values (?, ?, ?, ?, ?, ?)", points)
    latest = [(k, curve[-1][1], began, curve[-1][0], 0, run) for k, curve in curves.items()]
    latest += [(k, v, began, 0, 0, run) for k, v in single.items()]
    connection.executemany("insert into latest_metrics values (?, ?, ?, ?, ?, ?)", latest)


def _state(chance: random.Random) -> tuple[str, str]:
    at = chance.random()
    for state, status, share in STATES:
        if at < share:
            return state, status
        at -= share
    return STATES[0][:2]


def _values(chance: random.Random, state: str) -> tuple[dict[str, list[tuple[int, float]]], dict[str, float]]:
    length = POINTS if state == "finished" else chance.randrange(2, POINTS)
    names = ("train/loss", "val/loss", "val/accuracy", "lr", "grad_norm")
    top = chance.random()
    curves = {n: [(70 * i, top * i / POINTS + 0.02 * chance.random()) for i in range(1, length + 1)] for n in names}
    if state != "finished":
        return curves, {}
    best = {"best/step": 70.0 * length, "best/val/accuracy": top, "best/val/loss": 1 - top, "parameters": 1e4}
    best |= {"best/train/accuracy": top, "best/train/loss": 1 - top}
    return curves, {**best, "system/seconds": 3.0, "system/cpu_seconds": 3.0, "system/steps_per_second": 500.0}


def _facts(folder: Path, tracker: Tracker, parent: str) -> None:
    """Write packages and machine of the study's trials as artifacts."""
    facts = {Artifact.PACKAGES: provenance.packages(), Artifact.MACHINE: provenance.machine()}
    texts = {name: json.dumps(fact) for name, fact in facts.items()}
    experiment = tracker.experiment(NAME)
    for row in tracker.search(f"tags.`{MlflowTag.PARENT}` = '{parent}'", experiment):
        target = folder / "artifacts" / NAME / row.id / "artifacts"
        target.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (target / name).write_text(text, encoding="utf-8")


def time_command(*arguments: str, folder: Path) -> tuple[float, float, float]:
    """Return wall and processor seconds of a command, and the peak memory of all commands so far in MiB."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "KNOBS_MLRUNS": str(folder)}
    done = subprocess.run([KNOBS, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"knobs {' '.join(arguments)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, processor, after.ru_maxrss / 1024


def main(folder: Path) -> None:
    """Write the store if there is none, then measure."""
    if not (folder / "mlflow.db").exists():
        began = time.perf_counter()
        make(folder)
        size = (folder / "mlflow.db").stat().st_size / 2**20
        print(f"made {RUNS} runs in {time.perf_counter() - began:.0f} s, {size:.0f} MiB", flush=True)
    for arguments in (("status",), ("status", NAME), ("report", NAME), ("report", NAME, "--check")):
        wall, processor, memory = time_command(*arguments, folder=folder)
        took = f"{wall:5.1f} s, {processor:5.1f} s of processor"
        print(f"knobs {' '.join(arguments):<28} {took}, at most {memory:.0f} MiB so far", flush=True)


if __name__ == "__main__":
    discover.activate(discover.project_root())
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
