"""Live progress: a row a device and an overall bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from knobs.job import Outcome
    from knobs.launch.devices import Device
    from knobs.launch.driver import Driver
    from knobs.launch.task import Task
from knobs.numerals import metric_text

REFRESH_SECONDS = 0.25


class Progress:
    """Shows a driver's work; `with` it while the driver runs."""

    def __init__(self, title: str, devices: list[Device]) -> None:
        self.title, self.devices = title, devices
        self.console = Console(highlight=False)
        self.live: Live | None = None
        self.began = time.monotonic()
        self.ended_here = 0
        self._shown = 0.0

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True, auto_refresh=False)
            self.live.start()
        else:
            self.console.print(f"{self.title}: {len(self.devices)} workers on {_span(self.devices)}")
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def refresh(self, driver: Driver) -> None:
        """Redraw, a few times a second."""
        now = time.monotonic()
        if self.live is None or now - self._shown < REFRESH_SECONDS:
            return
        self._shown = now
        rows = Table.grid(padding=(0, 2))
        for worker in driver.pool.workers:
            tasks = list(driver.tasks.get(worker, {}).values())
            if not tasks:
                doing = "starts" if not worker.ready else (driver.plan.waiting or "idle")
                rows.add_row(worker.device.label, Text(doing, style="dim"), "", "")
            else:
                task = tasks[0]
                value = "" if task.value is None else f"{task.metric} {metric_text(task.value)}"
                name = task.name if len(tasks) == 1 else f"{task.name} +{len(tasks) - 1}"
                rows.add_row(worker.device.label, name, f"{task.step}/{task.config.training.max_steps}", value)
        bar = Bar(
            TextColumn(self.title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self._eta(driver)),
        )
        bar.add_task("", total=driver.plan.total, completed=driver.plan.total - self._left(driver))
        self.live.update(Group(rows, bar, Text(driver.plan.headline, style="bold")), refresh=True)

    def ended(self, task: Task, state: str, outcome: Outcome) -> None:
        """A line for every run that ended."""
        self.ended_here += 1
        chosen = outcome.summary.get(f"best/{task.metric}")
        value = "" if chosen is None else f"{task.metric} {metric_text(chosen)} at step {outcome.best_step}"
        message = f"at step {task.step}" if state == "pruned" else outcome.message
        line = f"  {task.name:<18}  {state:<12} {value}  {message}"
        self.console.print(line.rstrip(), markup=False, style="dim" if state in ("pruned", "reused") else "")

    def _left(self, driver: Driver) -> int:
        return max(0, driver.plan.left)

    def _eta(self, driver: Driver) -> str:
        """Time passed, and what is left if the rest goes like what has ended here."""
        passed = time.monotonic() - self.began
        minutes, seconds = divmod(int(passed), 60)
        shown = f"{minutes}:{seconds:02d}"
        if not self.ended_here:
            return shown
        left = passed / self.ended_here * self._left(driver)
        return f"{shown}, about {left / 60:.0f} min left" if left > 90 else f"{shown}, about {left:.0f} s left"


def _span(devices: list[Device]) -> str:
    labels = [device.label for device in devices]
    return labels[0] if len(labels) == 1 else f"{labels[0]} .. {labels[-1]}"
