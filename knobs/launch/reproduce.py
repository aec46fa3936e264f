"""`knobs reproduce`: train a recorded run again and compare every recorded value, bit by bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knobs import data, discover, histories, provenance, signals
from knobs.config import RunConfig
from knobs.errors import AnswerNoError, BadInputError, nearest
from knobs.job import Outcome
from knobs.launch.devices import available_cpus, count_cuda, has_mps
from knobs.launch.driver import Driver
from knobs.launch.list_plan import ListPlan
from knobs.launch.session import only_driver, say, session
from knobs.launch.task import Task, members
from knobs.recorded import open_store
from knobs.tracking import Row, Tracker

ENDS = ("finished", "reused", "pruned", "diverged")
"""States that training again must come to; others came from outside of it."""

FACTS = (
    "code",
    "execution",
    "git_commit",
    "data_fingerprint",
    "packages",
    "threads",
    "device",
    "device_name",
    "cpu_capability",
)


@dataclass(frozen=True)
class Recorded:
    """A run as it was recorded: in this store, or as a report's receipt."""

    label: str
    config: RunConfig
    state: str
    id: str
    experiment: str
    tested: bool
    facts: dict[str, str]
    versions: dict[str, str]
    """Packages; empty where nobody kept them."""
    history: histories.History
    """Every value; of a receipt, the single ones."""
    values: str
    """Hash of every value."""

    @property
    def last_step(self) -> int:
        """Of its curves; where a pruned run was stopped."""
        return max((points[-1][0] for name, points in self.history.items() if name == "train/loss"), default=-1)


def run(run_id: str, devices: str | None, threads: int | None) -> None:
    """One run of this store. Raises `AnswerNoError` where a value differs."""
    discover.activate(discover.project_root())
    tracker = open_store()
    _reproduce([_from_store(tracker, tracker.get(run_id))], devices, threads)


def cell(label: str, folder: Path, devices: str | None, threads: int | None) -> None:
    """The seeds of one cell of a report, or one trial of a study's, from its receipts alone."""
    discover.activate(discover.project_root())
    _reproduce(_from_receipts(label, folder), devices, threads)


def _from_store(tracker: Tracker, row: Row) -> Recorded:
    told = {name: row.tags.get(f"knobs.{name}", "") for name in FACTS}
    if "knobs.config" not in row.tags:
        kind = row.tags.get("knobs.kind", "")
        what = f"the run of a whole {kind}" if kind in ("study", "ablation", "cell") else "no training of ours"
        raise BadInputError(f"run {row.id} is {what}: it has no config; name one of the runs under it")
    if row.state not in ENDS:
        raise BadInputError(f"run {row.id} ended as {row.state}: there is nothing that training again must come to")
    try:
        versions = json.loads(tracker.artifact(row.id, "packages.json").read_text(encoding="utf-8"))
    except (BadInputError, OSError):
        versions = {}
    history = histories.read(tracker, [row])[row.id]
    names = [row.tags.get(f"knobs.{kind}", "") for kind in ("ablation", "study", "name")]
    return Recorded(
        label=row.name,
        config=RunConfig.from_json(row.tags["knobs.config"]),
        state="finished" if row.state == "reused" else row.state,
        id=row.id,
        experiment=next((name for name in names if name), "runs"),
        tested=any(metric.startswith("test/") for metric in row.metrics),
        facts=told,
        versions=versions,
        history=history,
        values=histories.values_hash(history),
    )


def _from_receipts(label: str, folder: Path) -> list[Recorded]:
    try:
        told: dict[str, Any] = json.loads((folder / "receipts.json").read_text(encoding="utf-8"))
        return _named(label, told, folder)
    except OSError:
        raise BadInputError(f"no report in {folder}: it holds no receipts.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{folder}: its receipts cannot be read: {type(error).__name__}: {error}") from None


def _named(label: str, told: dict[str, Any], folder: Path) -> list[Recorded]:
    configs, runs = told["configs"], told["runs"]
    named = {" ".join(name.split()): name for name in configs}
    name = named.get(" ".join(label.split()))
    if name is None:
        raise BadInputError(f"no cell {label!r} with config and seeds in {folder}{nearest(label, named)}")
    keys = [key for key in runs if key == name or key.startswith(f"{name}/s")]
    found = [_from_receipt(key, configs[name], told) for key in sorted(keys)]
    if not [one for one in found if one.state in ENDS]:
        raise BadInputError(f"no seed of {label!r} in {folder} finished")
    return [one for one in found if one.state in ENDS]


def _from_receipt(key: str, config: dict[str, Any], told: dict[str, Any]) -> Recorded:
    receipt = {**told["origins"][told["runs"][key]["origin"]], **told["runs"][key]}  # what most runs share is said once
    single = {name: [(int(receipt["single"].get("best/step", 0)), v)] for name, v in receipt["single"].items()}
    names = {"git_commit": "commit", "data_fingerprint": "data", "device_name": "device", "device": ""}
    return Recorded(
        label=key,
        config=RunConfig.from_json(json.dumps({**config, "seed": receipt["seed"]})),
        state="finished" if receipt["state"] == "reused" else receipt["state"],
        id=receipt["id"],
        experiment=told["name"],
        tested=any(metric.startswith("test/") for metric in receipt["single"]),
        facts={name: str(receipt.get(names.get(name, name), "")) for name in FACTS},
        versions=told["packages"].get(receipt["packages"], {}),
        history=single,
        values=receipt["values"],
    )


def _reproduce(wanted: list[Recorded], devices: str | None, threads: int | None) -> None:
    with session(devices or _devices(wanted), 1, workers=len(wanted), fresh=True) as opened:
        tracker, driver, display = opened.open(f"{wanted[0].label}: again")
        with signals.held(), only_driver(opened.places, f"reproduce-{wanted[0].values[:16]}"):
            for line in _differences(wanted, driver, threads):
                say(line)
            tasks = [_task(one, threads) for one in wanted]
            plan = ListPlan(wanted[0].experiment, tasks)
            with display:
                driver.run(plan)
            wrong = [
                one for one, task in zip(wanted, tasks, strict=True) if not _same(tracker, one, task, plan.outcomes)
            ]
    if wrong:
        raise AnswerNoError(f"not reproduced: {', '.join(one.label for one in wrong)}")


def _devices(wanted: list[Recorded]) -> str:
    """The kind of device that the runs were trained on, where there is one here."""
    kind = wanted[0].facts["device"] or wanted[0].facts["device_name"]
    if kind == "cpu":
        return f"cpu:{min(len(wanted), available_cpus())}"
    if kind == "mps":
        return "mps" if has_mps() else "auto"
    return "cuda" if count_cuda() else "auto"


def _task(one: Recorded, threads: int | None) -> Task:
    config = one.config if threads is None else one.config.with_knobs({"training.threads": threads})
    tags = {
        "knobs.kind": "reproduction",
        "knobs.reproduces": one.id,
        "knobs.name": one.experiment,
        "knobs.identity": f"reproduction of {one.id}",  # no later run takes it for one of its own
    }
    metric = f"val/{config.training.monitor or config.data.spec().metric}"
    stop = one.last_step

    def goes_on(step: int, _value: float) -> bool:
        return step < stop  # the pruner's answers, as they were

    cell, _, run = one.label.rpartition("/")
    short = f"{run} {cell}"
    report = goes_on if one.state == "pruned" else None
    return Task(
        one.label,
        config,
        f"again {short}"[:18].strip(),
        tags,
        test=one.tested,
        report=report,
        metric=metric,
        seeds=members(one.facts["execution"]),
    )


def _differences(wanted: list[Recorded], driver: Driver, threads: int | None) -> list[str]:
    """What is not as it was, said before anything trains."""
    first, environment = wanted[0], driver.environment()
    config, was = first.config, first.facts
    with signals.let_through():  # making a data set may take long
        fingerprint = data.prepare(config.data, driver.tracker.places.cache)
    now = {
        "code": provenance.training_code_hash(config.model.kind, config.data.kind),
        "data_fingerprint": fingerprint,
        "threads": str(threads or config.training.threads),
        "device": environment["device"],
        "device_name": environment["device_name"],
        "cpu_capability": environment["cpu_capability"],
    }
    words = {
        "code": "code of engine, model or data set",
        "data_fingerprint": "data",
        "threads": "thread count",
        "device": "device",
        "device_name": "device",
        "cpu_capability": "instruction set",
    }
    found = [
        f"differs: {words[name]}: {was[name][:16]} recorded, {value[:16]} now"
        for name, value in now.items()
        if was[name] and was[name] != value
    ]
    if found and was["code"] != now["code"]:
        found.append(f"  the code is that of commit {was['git_commit'][:12]}")
    versions = provenance.packages()
    changed = [
        f"{name} {first.versions.get(name, 'none')} -> {versions.get(name, 'none')}"
        for name in sorted({*first.versions, *versions})
        if first.versions and first.versions.get(name) != versions.get(name)
    ]
    if changed:
        more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
        found.append(f"differs: packages: {', '.join(changed[:8])}{more}")
    if not found:
        return ["code, data, packages, thread count and device are as recorded"]
    return [*found, "so its values may differ"]


def _same(tracker: Tracker, one: Recorded, task: Task, outcomes: dict[str, Outcome]) -> bool:
    """Say whether the run came out the same, and write it to the reproduction's own run."""
    history = histories.read(tracker, [tracker.get(task.run)])[task.run]
    state = outcomes[task.label].state
    verdict = _verdict(one, state, history)
    tracker.tag(task.run, {"knobs.reproduced": (verdict or "identical")[:500]})
    compared = histories.compared(history)
    curves = {name: points for name, points in compared.items() if len(points) > 1}
    values = sum(len(points) for points in compared.values())
    end = f"all {values} recorded values of {len(compared)} metrics, {len(curves)} of them curves"
    say(f"{one.label}: {f'not the same: {verdict}' if verdict else f'identical: {end}'} (run {task.run})")
    return not verdict


def _verdict(one: Recorded, state: str, history: histories.History) -> str:
    """The first difference; empty where there is none."""
    if state != one.state:
        return f"it ended as {one.state} when recorded, as {state} now"
    if histories.values_hash(history) == one.values:
        return ""
    told = {name: points for name, points in history.items() if name in one.history}
    whole = any(len(points) > 1 for points in one.history.values())
    first = histories.first_difference(one.history, history if whole else told)
    return first or "its curves are not those of the receipt, which has only their hash"
