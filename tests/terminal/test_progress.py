"""The progress display: one line per worker in a terminal, plain lines elsewhere."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from knobs.terminal.progress import ProgressDisplay, WorkerLine, WorkProgress

PROGRESS = WorkProgress(
    lines=(
        WorkerLine("cpu:0", run="t003 w64", step=50, max_steps=200, metric="val/accuracy", value=0.5),
        WorkerLine("cpu:1", waiting="waits for t001"),
    ),
    total=8,
    left=5,
    headline="best val/accuracy 0.9000 (t002)",
)


def display(*, terminal: bool) -> tuple[ProgressDisplay, io.StringIO]:
    made, out = ProgressDisplay("first", ["cpu:0", "cpu:1"]), io.StringIO()
    made.console = Console(file=out, force_terminal=terminal, highlight=False, width=100, color_system=None)
    return made, out


def test_every_worker_has_a_line_in_a_terminal() -> None:
    made, out = display(terminal=True)
    with made:
        assert made.due()
        made.show(PROGRESS)
        assert not made.due()  # at most four times a second
    shown = out.getvalue()
    for text in (
        "t003 w64",
        "50/200",
        "val/accuracy 0.5000",
        "waits for t001",
        "3/8",
        "best val/accuracy 0.9000 (t002)",
    ):
        assert text in shown
    assert not made.due()


def test_only_ended_runs_are_lines_outside_of_a_terminal() -> None:
    made, out = display(terminal=False)
    with made:
        assert not made.due()
        made.show(PROGRESS)
        made.run_ended("t003 w64", "finished", metric="val/accuracy", value=0.75, step=150, message="")
        made.run_ended("t004 [w8]", "diverged", metric="val/accuracy", value=None, step=-1, message="the loss is nan")
    assert out.getvalue().splitlines() == [
        "first: 2 workers on cpu:0 .. cpu:1",
        "  t003 w64            finished     val/accuracy 0.7500 at step 150",
        "  t004 [w8]           diverged       the loss is nan",
    ]


@pytest.mark.parametrize(("left", "text"), [(0, "about 0 s left"), (100, "about 17 min left")])
def test_the_time_left_is_that_of_the_runs_that_ended(left: int, text: str) -> None:
    made, out = display(terminal=True)
    made.began -= 100
    made.ended_here = 10
    with made:
        made.show(replace(PROGRESS, total=200, left=left))
    assert text in out.getvalue()
