"""Live progress: one line per worker and an overall bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from knobs.numbers import metric_text

REFRESH_SECONDS = 0.25


@dataclass(frozen=True)
class WorkerLine:
    """One worker: what it trains, or why it waits."""

    device: str
    """Label of the worker's device."""
    waiting: str = ""
    """Why the worker trains nothing; empty if it trains."""
    run: str = ""
    step: int = 0
    max_steps: int = 0
    metric: str = ""
    value: float | None = None
    """Latest value of the metric."""


@dataclass(frozen=True)
class WorkProgress:
    """All workers, and how much of the work is done."""

    lines: tuple[WorkerLine, ...]
    total: int
    """Runs in all, as far as known."""
    left: int
    """Runs that have not ended."""
    headline: str
    """The best value so far, or another one-line summary."""


class ProgressDisplay:
    """Shows the progress of a launch. Use it as a context manager around the driver's work."""

    def __init__(self, title: str, devices: Sequence[str]) -> None:
        self.title, self.devices = title, list(devices)
        self.console = Console(highlight=False)
        self.live: Live | None = None
        self.began = time.monotonic()
        self.ended_here = 0
        self._drawn = float("-inf")

    def __enter__(self) -> ProgressDisplay:
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True, auto_refresh=False)
            self.live.start()
        else:
            count = len(self.devices)
            self.console.print(f"{self.title}: {count} worker{'' if count == 1 else 's'} on {_span(self.devices)}")
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def due(self) -> bool:
        """Return whether `show` should be called: in a terminal, at most four times a second."""
        return self.live is not None and time.monotonic() - self._drawn >= REFRESH_SECONDS

    def show(self, progress: WorkProgress) -> None:
        """Redraw the lines and the bar. Do nothing outside of a terminal."""
        if self.live is None:
            return
        self._drawn = time.monotonic()
        rows = Table.grid(padding=(0, 2))
        for line in progress.lines:
            if line.waiting:
                rows.add_row(line.device, Text(line.waiting, style="dim"), "", "")
            else:
                value = "" if line.value is None else f"{line.metric} {metric_text(line.value)}"
                rows.add_row(line.device, line.run, f"{line.step}/{line.max_steps}", value)
        bar = Bar(TextColumn(self.title), BarColumn(), MofNCompleteColumn(), TextColumn(self._time_text(progress.left)))
        bar.add_task("", total=progress.total, completed=progress.total - max(0, progress.left))
        self.live.update(Group(rows, bar, Text(progress.headline, style="bold")), refresh=True)

    def run_ended(self, name: str, state: str, *, metric: str, value: float | None, step: int, message: str) -> None:
        """Print one line about a run that ended.

        Args:
            name: The run's name.
            state: How it ended, e.g. `finished`.
            metric: Name of the metric that is shown.
            value: The metric at the chosen step; None if there is none.
            step: The chosen step.
            message: Why it ended like this; may be empty.
        """
        self.ended_here += 1
        shown = "" if value is None else f"{metric} {metric_text(value)} at step {step}"
        line = f"  {name:<18}  {state:<12} {shown}  {message}"
        self.console.print(
            line.rstrip(), markup=False, style="dim" if state in ("pruned", "reused") else "", soft_wrap=True
        )

    def _time_text(self, left: int) -> str:
        """Return the time passed, and the time left if the other runs take as long as those that ended here."""
        passed = time.monotonic() - self.began
        minutes, seconds = divmod(int(passed), 60)
        shown = f"{minutes}:{seconds:02d}"
        if not self.ended_here:
            return shown
        rest = passed / self.ended_here * max(0, left)
        return f"{shown}, about {rest / 60:.0f} min left" if rest > 90 else f"{shown}, about {rest:.0f} s left"


def _span(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} .. {labels[-1]}"
