"""The messages between driver and workers: they travel, and each has somebody who handles it."""

import ast
import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from support import ROOT

from knobs.code import Reads
from knobs.launch.pools.messages import (
    Beat,
    FromWorker,
    Leaving,
    Lost,
    NewPoint,
    Outdated,
    PruningAnswer,
    PruningQuestion,
    Quit,
    ReadsFound,
    Ready,
    RunEnded,
    RunMessage,
    Saving,
    Stop,
    ToWorker,
    Train,
)
from knobs.training import CurvePoint, Outcome, TrainJob

POOLS, DRIVER = ROOT / "knobs" / "launch" / "pools", ROOT / "knobs" / "launch" / "driver"

JOB = TrainJob(run="r", config="{}", folder=Path("a"), cache=Path("b"), resume=(Path("c"),), batch=("{}", "{}"))
OUTCOME = Outcome(state="finished", best_step=3, summary={"best/val/loss": 0.1}, checkpoint=Path("best.ckpt"))
MESSAGES = [
    Train((JOB, JOB)),
    PruningAnswer(False),
    Stop(),
    Quit(),
    Ready({"device": "cpu"}),
    Beat(),
    Leaving(),
    Outdated(),
    ReadsFound("r", Reads({"a.npy": "hash"}, {"SCALE": "absent"}, ("it starts another process",))),
    Saving(1_000_000),
    NewPoint("r", CurvePoint(step=1, values={"val/loss": float("inf")}, time_ms=2)),
    PruningQuestion("r", 1, 0.5),
    RunEnded("r", OUTCOME),
    Lost("signal 9", killed_for_memory=True),
]


def test_every_message_is_here() -> None:
    assert {type(message) for message in MESSAGES} == {*typing.get_args(ToWorker), *typing.get_args(FromWorker)}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_travels_whole(message: object) -> None:
    assert pickle.loads(pickle.dumps(message)) == message


def matched(path: Path, function: str) -> set[str]:
    """Return the classes that this function's `match` statements know."""
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    (body,) = (node for node in functions if node.name == function)
    return {
        node.cls.id for node in ast.walk(body) if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name)
    }


def names(union: object) -> set[str]:
    return {kind.__name__ for kind in typing.get_args(union)}


def test_every_message_is_handled() -> None:
    assert matched(POOLS / "worker.py", "serve") == names(ToWorker)
    between = {"Beat", "Leaving"}  # only between a worker and its pool
    assert matched(DRIVER / "driver.py", "_handle") == names(FromWorker) - between
    assert names(RunMessage) <= matched(DRIVER / "driver.py", "_handle_run")


def test_messages_and_protocol_import_no_torch() -> None:
    code = (
        "import sys; import knobs.launch.pools.messages, knobs.launch.pools.pool, knobs.launch.pools.worker\n"
        "print([name for name in ('torch', 'pytorch_lightning', 'mlflow', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
