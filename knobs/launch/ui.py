"""`knobs ui`: MLflow's pages over the record, on this machine only."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from knobs import discover, signals
from knobs.errors import BadInputError, InterruptedBySignal, StoreError
from knobs.launch import links
from knobs.launch.session import say
from knobs.places import Places
from knobs.tracking import Tracker

READY_SECONDS = 90.0


def serve(port: int, *, dashboard: bool) -> None:
    """Start the server, say when it answers, and stay until a signal; optuna-dashboard beside it where asked."""
    places = Places.of(discover.project_root())
    if places.tracking_uri and places.tracking_uri.startswith("http"):
        raise BadInputError(f"MLFLOW_TRACKING_URI is a server already: open {places.tracking_uri}")
    _check_free(port)
    beside = _dashboard(places, port + 1) if dashboard else None
    tracker = Tracker(places)
    uri = places.tracking_uri or f"sqlite:///{places.database}"
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    children = [_start(server, {**quiet, "MLFLOW_BACKEND_STORE_URI": uri})]
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(children[0], address)
        say(f"MLflow: {address}/#/experiments?workflowType=machine_learning")
        for name in _recorded(tracker):
            say(name)
            links.say_links(tracker, name, port, most=2, publish=True)
        if beside:
            children.append(_start(beside, {}))
            say(f"optuna-dashboard: http://127.0.0.1:{port + 1}")
        say("Ctrl-C ends it")
        while all(child.poll() is None for child in children):
            time.sleep(0.3)
        raise StoreError("the server ended by itself")
    except InterruptedBySignal:
        return  # the way it is meant to end
    finally:
        with signals.ending():
            for child in children:
                _end(child)


def _recorded(tracker: Tracker) -> list[str]:
    """The names under which something is recorded, those with the latest runs first."""
    ours = "tags.`knobs.kind` IS NOT NULL"
    names = {experiment.experiment_id: experiment.name for experiment in tracker.experiments()}
    latest = {names[where]: run[0].start_ms for where in names if (run := tracker.search(ours, where, limit=1))}
    return sorted(latest, key=lambda name: -latest[name])


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its children end with it
    )


def _dashboard(places: Places, port: int) -> list[str]:
    """The command. Raises `BadInputError`, before anything is started, where it could not run."""
    program = shutil.which("optuna-dashboard", path=os.path.dirname(sys.executable)) or shutil.which("optuna-dashboard")
    if program is None:
        raise BadInputError("optuna-dashboard is not installed: pip install 'knobs-lab[dashboard]'")
    _check_free(port)
    return [program, places.optuna_url, "--host", "127.0.0.1", "--port", str(port)]


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise BadInputError(
                f"--port {port} cannot be used: {error}; try another, e.g. {5000 + port % 1000 + 1}"
            ) from None


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise StoreError(f"MLflow's server ended at once with code {server.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise StoreError(f"MLflow's server does not answer within {READY_SECONDS:.0f} s")


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(timeout=5)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        child.wait()
