"""Train recorded runs again and compare every recorded value, bit by bit."""

from __future__ import annotations

import os
from pathlib import Path

from knobs import discover, provenance, signals
from knobs.code import training_code_hash
from knobs.data import prepare
from knobs.devices import available_cpus, device_kind
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch.driver import Driver
from knobs.launch.originals import Original, originals_from_receipts, originals_from_store
from knobs.launch.plans import FixedPlan, PlannedRun
from knobs.launch.plans.run_names import shortened
from knobs.launch.session import session
from knobs.record.curves import compared_curves, read_curves
from knobs.record.queries import open_store
from knobs.record.runs import recorded_batch
from knobs.record.schema import Kind, Metric, Tag
from knobs.record.states import StateName
from knobs.record.stores.locks import only_driver
from knobs.record.stores.mlflow_store import Tracker
from knobs.terminal.say import say

MOST_PACKAGES = 8
"""How many changed packages are named."""


def reproduce_run(run_id: str, devices: str | None, threads: int | None) -> None:
    """Train a run of this store again. Raise `AnswerNoError` if a value differs.

    `devices` as on the command line; None: the kind that the run was trained on. `threads` None: as recorded.
    """
    discover.activate(discover.project_root())
    tracker = open_store()
    _reproduce(originals_from_store(tracker, tracker.get(run_id)), devices, threads)


def reproduce_cell(label: str, folder: Path, devices: str | None, threads: int | None) -> None:
    """Train the seeds of a report's cell, or one trial of a study's report, again. The receipts in `folder` suffice.

    Raise `AnswerNoError` if a value differs. `devices` and `threads` as in `reproduce_run`.
    """
    discover.activate(discover.project_root())
    _reproduce(originals_from_receipts(label, folder), devices, threads)


def _reproduce(originals: list[Original], devices: str | None, threads: int | None) -> None:
    first = originals[0]
    with session(devices or _recorded_devices(originals), 1, workers=len(originals), fresh=True) as opened:
        tracker, driver, display = opened.open(f"{first.label}: again")
        with signals.held(), only_driver(opened.places, f"reproduce-{first.values_hash[:16]}"):
            for line in _changed_circumstances(first, driver, threads):
                say(line)
            plan = FixedPlan(first.experiment, [_planned(original, threads) for original in originals])
            with display:
                driver.run(plan)
            wrong = [original.label for original in originals if not _compare(tracker, original, plan)]
    if wrong:
        raise AnswerNoError(f"not reproduced: {', '.join(wrong)}")


def _recorded_devices(originals: list[Original]) -> str:
    """Return the kind of device that the runs were trained on if there is one here, else `auto`."""
    kind = originals[0].facts[Tag.DEVICE] or originals[0].facts[Tag.DEVICE_NAME]
    if kind == "cpu":
        return f"cpu:{min(len(originals), available_cpus())}"
    try:
        return kind if device_kind(kind).visible(os.environ) else "auto"
    except BadInputError:  # receipts hold a GPU's name only
        return "cuda" if device_kind("cuda").visible(os.environ) else "auto"


def _planned(original: Original, threads: int | None) -> PlannedRun:
    config = original.config if threads is None else original.config.with_knobs({"training.threads": threads})
    cell, _, run = original.label.rpartition("/")

    def continue_as_recorded(step: int, _value: float) -> bool:
        return step < original.last_step

    return PlannedRun(
        kind=Kind.REPRODUCTION,
        label=original.label,
        name=shortened(f"again {run} {cell}"),
        config=config,
        tags={
            Tag.REPRODUCES: original.run,
            Tag.NAME: original.experiment,
            Tag.IDENTITY: f"reproduction of {original.run}",  # so that no later run reuses its values
        },
        metric=Metric.VAL + config.monitored.name,
        read_test=original.read_test,
        should_continue=continue_as_recorded if original.state == StateName.PRUNED else None,
        batch=recorded_batch(config, original.facts[Tag.EXECUTION]),
    )


def _changed_circumstances(original: Original, driver: Driver, threads: int | None) -> list[str]:
    """Return one line for each circumstance of the training that has changed since it was recorded."""
    environment, recorded = driver.environment(), original.facts
    with signals.let_through():  # preparing a data set may take long
        fingerprint = prepare(original.config.data, driver.tracker.places.cache)
    code = training_code_hash(original.config.content())
    now = {
        Tag.CODE: ("code of engine, model or data set", code),
        Tag.DATA: ("data", fingerprint),
        Tag.THREADS: ("thread count", str(threads or original.config.training.threads)),
        Tag.DEVICE: ("device", environment["device"]),
        Tag.DEVICE_NAME: ("device", environment["device_name"]),
        Tag.CPU_CAPABILITY: ("instruction set", environment["cpu_capability"]),
    }
    lines = [
        f"differs: {title}: {recorded[tag][:16]} recorded, {value[:16]} now"
        for tag, (title, value) in now.items()
        if recorded[tag] and recorded[tag] != value
    ]
    if recorded[Tag.CODE] and recorded[Tag.CODE] != code:
        lines.append(f"  the recorded code is that of commit {recorded[Tag.COMMIT][:12]}")
    if changed_read := original.reads.difference():
        lines.append(f"differs: {changed_read}, which the training reads")
    if changed := _changed_packages(original.packages):
        more = f" and {len(changed) - MOST_PACKAGES} more" if len(changed) > MOST_PACKAGES else ""
        lines.append(f"differs: packages: {', '.join(changed[:MOST_PACKAGES])}{more}")
    if not lines:
        return ["code, data, packages, thread count and device are as recorded"]
    return [*lines, "so its values may differ"]


def _changed_packages(recorded: dict[str, str]) -> list[str]:
    """Return `name old -> new` for each package whose version has changed; nothing if no versions were recorded."""
    installed = provenance.packages()
    return [
        f"{name} {recorded.get(name, 'none')} -> {installed.get(name, 'none')}"
        for name in sorted({*recorded, *installed})
        if recorded and recorded.get(name) != installed.get(name)
    ]


def _compare(tracker: Tracker, original: Original, plan: FixedPlan) -> bool:
    """Print and record whether the new training gave the same values. Return true if it did."""
    run, state = plan.runs[original.label], plan.outcomes[original.label].state
    curves = read_curves(tracker, [tracker.get(run)])[run]
    difference = original.difference(state, curves)
    tracker.tag(run, {Tag.REPRODUCED: (difference or "identical")[:500]})
    compared = compared_curves(curves).values()
    values, several = sum(map(len, compared)), sum(len(points) > 1 for points in compared)
    same = f"identical: all {values} recorded values of {len(compared)} metrics, {several} of them curves"
    say(f"{original.label}: {f'not the same: {difference}' if difference else same} (run {run})")
    return not difference
