"""Open the record in MLflow's pages."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from knobs import discover, signals
from knobs.commands.arguments import Parser
from knobs.errors import BadInputError, InterruptedBySignal, StoreError
from knobs.record.stores.locations import StoreLocations
from knobs.terminal.say import say

if TYPE_CHECKING:
    from knobs.record.stores.mlflow_store import Tracker

READY_SECONDS = 90.0
"""How long MLflow's server may take to start."""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs ui`."""
    parser.add_count("--port", default=5000, help="port on this machine (5000)")
    parser.add_argument("--dashboard", action="store_true", help="also start optuna-dashboard, on the next port")


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Start the servers, print their addresses, and serve until a signal."""
    del knobs
    from knobs.pages.links import publish_pages, say_links
    from knobs.record.stores.mlflow_store import Tracker

    port: int = options.port
    places = StoreLocations.of(discover.project_root())
    if places.tracking_uri and places.tracking_uri.startswith("http"):
        raise BadInputError(f"MLFLOW_TRACKING_URI is a server already: open {places.tracking_uri}")
    _check_port(port)
    dashboard = _dashboard_command(places, port + 1) if options.dashboard else None
    tracker = Tracker(places)
    uri = places.tracking_uri or f"sqlite:///{places.database}"
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    children = [_start(server, {**quiet, "MLFLOW_BACKEND_STORE_URI": uri})]
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(children[0], address)
        say(f"MLflow: {address}/#/experiments?workflowType=machine_learning")
        for name in _recorded_names(tracker):
            say(name)
            publish_pages(tracker, name)
            say_links(tracker, name, port, most=2)
        if dashboard:
            children.append(_start(dashboard, {}))
            say(f"optuna-dashboard: http://127.0.0.1:{port + 1}")
        say("Press Ctrl-C to stop.")
        while all(child.poll() is None for child in children):
            time.sleep(0.3)
        raise StoreError("the server stopped unexpectedly")
    except InterruptedBySignal:
        return  # the usual end
    finally:
        with signals.undisturbed():
            for child in children:
                _stop(child)


def _recorded_names(tracker: Tracker) -> list[str]:
    """Return the names under which something is recorded; the one with the newest run comes first."""
    from knobs.record.schema import Tag

    ours = f"tags.`{Tag.KIND}` IS NOT NULL"
    names = {experiment.experiment_id: experiment.name for experiment in tracker.experiments()}
    latest = {names[number]: run[0].start_ms for number in names if (run := tracker.search(ours, number, limit=1))}
    return sorted(latest, key=lambda name: -latest[name])


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its own child processes end with it
    )


def _dashboard_command(places: StoreLocations, port: int) -> list[str]:
    """Return the command that starts optuna-dashboard. Raise `BadInputError` if it cannot run."""
    program = shutil.which("optuna-dashboard", path=os.path.dirname(sys.executable)) or shutil.which("optuna-dashboard")
    if program is None:
        raise BadInputError("optuna-dashboard is not installed: pip install 'knobs-lab[dashboard]'")
    _check_port(port)
    return [program, places.optuna_url, "--host", "127.0.0.1", "--port", str(port)]


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise BadInputError(
                f"--port {port} cannot be used: {error}; try another, e.g. {5000 + port % 1000 + 1}"
            ) from None


def _wait_for(server: subprocess.Popen[bytes], address: str) -> None:
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise StoreError(f"MLflow's server stopped at its start with exit code {server.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise StoreError(f"MLflow's server was not ready within {READY_SECONDS:.0f} s")


def _stop(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(timeout=5)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        child.wait()
