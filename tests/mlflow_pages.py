"""Shared by tests of MLflow's pages: `knobs ui` over a store, a study of many trials, and what is asked of a page."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import Chromium
from support import KNOBS, ROOT, environment

from knobs.job import Record
from knobs.launch import links
from knobs.tracking import Tracker

MADE, MANY = "made", 500
"""A study of so many trials that nobody trained."""

BEST = 321
"""The best of them."""

# What is asked of a page. Columns stand in the order in which they are seen, which need not be the document's.
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
# The edges of the bands around groups are black, and not seen.
COLOURS = """[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card] .js-plotly-plot')]
    .map(e => new Set([...e.querySelectorAll('.scatterlayer path.js-line')].filter(p => p.getAttribute('d'))
        .map(p => p.style.stroke).filter(stroke => stroke != 'rgb(0, 0, 0)')).size)"""
OPEN_SECTIONS = """[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-section-header]')]
    .filter(e => e.innerText.includes('Add chart')).map(e => e.innerText.split('\\n')[0])"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_ui(store: Path, port: int, *options: str, cwd: Path = ROOT) -> tuple[subprocess.Popen[str], str]:
    """`knobs ui`, and what it says up to the line that says how to end it."""
    words = [str(KNOBS), "ui", "--port", str(port), *options]
    process = subprocess.Popen(
        words, cwd=cwd, env=environment(store), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Ctrl-C"):
            return process, said
    raise AssertionError(f"knobs ui ended: {said}")


def stop(process: subprocess.Popen[str]) -> int:
    """Ctrl-C, and the exit code."""
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=20)
    assert process.stdout is not None
    process.stdout.close()
    return code


def make_trials(tracker: Tracker) -> None:
    """A study in the store, its trials written by hand."""
    experiment = tracker.experiment(MADE)
    identity = json.dumps({"space": {"model.width": {}, "optimizer.lr": {}}})
    tags = {"knobs.kind": "study", "knobs.study": MADE, "knobs.identity": identity, "knobs.state": "finished"}
    parent = tracker.create(experiment, MADE, tags, {"metric": "val/accuracy", "direction": "maximize"})
    asked = json.dumps({"params": {"model.width": 1, "optimizer.lr": 0.1}, "distributions": {}, "attrs": {}})
    for number in range(MANY):
        tags = {"knobs.kind": "trial", "knobs.trial": str(number), "knobs.optuna": asked, "knobs.state": "finished"}
        knobs = {"model.width": number, "optimizer.lr": 1 / (number + 1), **{f"training.k{n}": n for n in range(30)}}
        run = tracker.create(experiment, f"t{number:03d}", {**tags, "mlflow.parentRunId": parent}, knobs)
        top = value_of(number)
        losses = {"val/loss": 1 - top, "train/loss": 1.1 - top}
        curve = [Record(step=s, values={"val/accuracy": top * s / 9, **losses}, time_ms=s) for s in range(10)]
        tracker.log(run, [*curve, Record(step=9, values={"best/val/accuracy": top}, time_ms=9)])
        tracker.client.set_terminated(run, "FINISHED")
    tracker.summary(parent, {"best/val/accuracy": value_of(BEST)})
    tracker.end(parent, "FINISHED", {"knobs.best_trial": str(BEST)})
    links.links(tracker, MADE, publish=True)


def value_of(number: int) -> float:
    """A trial's objective."""
    return (number * 7919 % MANY) / MANY


def best_first() -> list[int]:
    """The trials' numbers in the order of the table."""
    return sorted(range(MANY), key=lambda number: -value_of(number))


@contextmanager
def browser(profile: Path) -> Iterator[Chromium]:
    """A browser in which MLflow's page opens no panel of its own; at the end, that it asked no other machine."""
    with Chromium(profile, 2400, 1400) as page:
        closed = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        page.before_pages(f"if (location.protocol == 'http:') {closed}")  # a panel that opens once in a browser
        yield page
        assert page.hosts() == {"127.0.0.1"}
        assert not page.errors


def rows_appear(page: Chromium, count: int) -> list[str]:
    """The rows' names, once there are as many."""
    names: list[str] = page.until(NAMES, lambda found: len(found) == count)
    return names


def cells_of(page: Chromium, column: str) -> list[str]:
    """What a column shows, by its canonical name."""
    escaped = column.replace("`", "\\`")
    shown: list[str] = page.ask(VALUES.replace("${%s}", escaped))
    return shown
