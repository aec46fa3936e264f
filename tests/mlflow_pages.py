"""`knobs ui` over a store, a study of many trials, and expressions that read MLflow's pages. Shared by tests."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import Chromium
from optuna.distributions import FloatDistribution, IntDistribution
from support import KNOBS, ROOT, environment

from knobs.pages.links import publish_pages
from knobs.record.definition import StudyDefinition, definition_to_json
from knobs.record.knob_range import KnobRange
from knobs.record.schema import Artifact, Kind, MlflowTag, Tag
from knobs.record.spaces import SpaceStore
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.training import CurvePoint

MADE, MANY = "made", 500
"""Name and number of trials of a study that nobody trained."""

BEST = 321
"""Number of its best trial."""

# JavaScript expressions. Columns are read in the order on the screen, which need not be the document's.
COLUMNS = """[...document.querySelectorAll('.ag-header-cell[col-id]')].filter(e => e.innerText.trim())
    .map(e => [e.getBoundingClientRect().left, e.innerText.trim()]).sort((a, b) => a[0] - b[0]).map(x => x[1])"""
NAMES = """[...document.querySelectorAll('.ag-pinned-left-cols-container .ag-row')]
    .sort((a, b) => a.getAttribute('row-index') - b.getAttribute('row-index'))
    .map(e => e.querySelector('a')?.innerText || e.innerText.trim())"""
VALUES = """[...document.querySelectorAll('.ag-center-cols-container .ag-row')]
    .sort((a, b) => a.getAttribute('row-index') - b.getAttribute('row-index'))
    .map(e => e.querySelector(`[col-id="${%s}"]`)?.innerText.trim())"""
FILTER = "document.querySelector('[data-testid=search-box]')?.value"
SORT = "document.querySelector('[data-testid=sort-select-dropdown]')?.innerText.trim()"
TEXT = "document.body?.innerText ?? ''"
COUNT = "document.body.innerText.match(/(\\d+)\\s+matching runs?/)?.[1]"
CARDS = """[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card]')]
    .map(e => e.innerText.split('\\n')[0])"""
LINES = """[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card] .js-plotly-plot')]
    .map(e => new Set([...e.querySelectorAll('.scatterlayer .trace path.js-line')].filter(p => p.getAttribute('d'))
        .map((p, i) => e._fullData[i].name)).size)"""
AXES = """[...document.querySelectorAll('.parcoords .dimension .label')].map(e => e.textContent)"""
LEGENDS = """[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card]')]
    .map(e => e.innerText.split('\\n').map(line => line.trim().match(/^(.+) \\(.*\\)$/)?.[1]).filter(Boolean))"""
# The edges of the bands around groups are black and invisible.
COLOURS = """[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card] .js-plotly-plot')]
    .map(e => new Set([...e.querySelectorAll('.scatterlayer path.js-line')].filter(p => p.getAttribute('d'))
        .map(p => p.style.stroke).filter(stroke => stroke != 'rgb(0, 0, 0)')).size)"""
OPEN_SECTIONS = """[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-section-header]')]
    .filter(e => e.innerText.includes('Add chart')).map(e => e.innerText.split('\\n')[0])"""


def free_port() -> int:
    """Return a port on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return whether a process listens on this port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_ui(store: Path, port: int, *options: str, cwd: Path = ROOT) -> tuple[subprocess.Popen[str], str]:
    """Start `knobs ui`. Return the process and its output up to the line about Ctrl-C."""
    words = [str(KNOBS), "ui", "--port", str(port), *options]
    process = subprocess.Popen(
        words, cwd=cwd, env=environment(store), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C" in line:
            return process, said
    raise AssertionError(f"knobs ui ended: {said}")


def stop(process: subprocess.Popen[str]) -> int:
    """Send Ctrl-C. Return the exit code."""
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=20)
    assert process.stdout is not None
    process.stdout.close()
    return code


def make_trials(tracker: Tracker) -> None:
    """Write a study and its trials to the store without training, as a launch records them."""
    experiment = tracker.experiment(MADE)
    tags = {Tag.KIND: Kind.STUDY, Tag.STUDY: MADE, Tag.IDENTITY: "made", Tag.STATE: StateName.FINISHED}
    parent = tracker.create(experiment, MADE, tags, {"metric": "val/accuracy", "direction": "maximize"})
    shapes = {"model.width": IntDistribution(0, MANY), "optimizer.lr": FloatDistribution(0.001, 1.0, log=True)}
    definition = StudyDefinition(
        name=MADE,
        about="Nobody trained it.",
        space={name: KnobRange.of(name, shape) for name, shape in shapes.items()},
        baseline={},
        metric="val/accuracy",
        direction="maximize",
        trials=MANY,
        seed=0,
        feedback_lag=4,
        baseline_first=True,
        sampler="tpe",
        replicates={"seeds": 1, "knob": "", "values": []},
        pruner="none",
    )
    tracker.upload_texts(parent, {Artifact.DEFINITION: definition_to_json(definition)})
    space = SpaceStore(tracker, parent).key(shapes)
    common = {Tag.KIND: Kind.TRIAL, Tag.SPACE: space, Tag.STATE: StateName.FINISHED, MlflowTag.PARENT: parent}
    for number in range(MANY):
        knobs = {"model.width": number, "optimizer.lr": 1 / (number + 1), **{f"training.k{n}": n for n in range(30)}}
        run = tracker.create(experiment, f"t{number:03d}", {**common, Tag.TRIAL: str(number)}, knobs)
        top = value_of(number)
        losses = {"val/loss": 1 - top, "train/loss": 1.1 - top}
        curve = [CurvePoint(step=s, values={"val/accuracy": top * s / 9, **losses}, time_ms=s) for s in range(10)]
        tracker.log(run, [*curve, CurvePoint(step=9, values={"best/val/accuracy": top}, time_ms=9)])
        tracker.client.set_terminated(run, "FINISHED")
    tracker.summary(parent, {"best/val/accuracy": value_of(BEST)})
    tracker.end(parent, "FINISHED", {Tag.BEST_TRIAL: str(BEST)})
    publish_pages(tracker, MADE)


def value_of(number: int) -> float:
    """Return a trial's objective."""
    return (number * 7919 % MANY) / MANY


def best_first() -> list[int]:
    """Return the trials' numbers, best objective first."""
    return sorted(range(MANY), key=lambda number: -value_of(number))


@contextmanager
def browser(profile: Path) -> Iterator[Chromium]:
    """Open a browser in which MLflow's page opens no panel by itself. Check at the end that only this host was used."""
    with Chromium(profile, 2400, 1400) as page:
        closed = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        page.before_pages(f"if (location.protocol == 'http:') {closed}")  # a panel that opens once in a browser
        yield page
        assert page.hosts() == {"127.0.0.1"}
        assert not page.errors


def rows_appear(page: Chromium, count: int) -> list[str]:
    """Wait until the table has this number of rows. Return their names."""
    names: list[str] = page.until(NAMES, lambda found: len(found) == count)
    return names


def cells_of(page: Chromium, column: str) -> list[str]:
    """Return a column's texts; `column` is MLflow's canonical name."""
    escaped = column.replace("`", "\\`")
    shown: list[str] = page.ask(VALUES.replace("${%s}", escaped))
    return shown
