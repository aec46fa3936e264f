"""Tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from knobs.study import thaw
from knobs.tracking import Row, Tracker

if TYPE_CHECKING:
    from knobs.launch.study_plan import StudyPlan


def console() -> Console:
    """Standard output; wide where it is no terminal, so that a file's tables are not folded."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)


def searched(rows: list[Row]) -> list[str]:
    """The knobs that Optuna was asked for in any of these trials."""
    return list(dict.fromkeys(name for row in rows for name in thaw(row.tags["knobs.optuna"])[0]))


def best_trials(tracker: Tracker, plan: StudyPlan, parent: str) -> None:
    """Print the best trial's test metrics and the five best trials."""
    rows = tracker.search(f"tags.`mlflow.parentRunId` = '{parent}'", tracker.experiment(plan.name))
    by_number = {int(row.tags["knobs.trial"]): row for row in rows}
    sign = -1 if plan.study.direction == "maximize" else 1
    five = sorted(plan.objectives, key=lambda n: (sign * plan.objectives[n], n))[:5]
    knobs = searched([by_number[n] for n in five])
    table = Table(title=f"{plan.name}: the five best", title_justify="left", box=None, pad_edge=False)
    table.add_column("trial")
    for number in five:
        table.add_column(f"t{number:03d}", justify="right", no_wrap=True)
    table.add_row(plan.study.metric, *(f"{plan.objectives[number]:.4f}" for number in five))
    for name in knobs:
        table.add_row(name, *(short(by_number[number].params.get(name, "-")) for number in five))
    out = console()
    out.print(table)
    best = by_number[five[0]]
    tested = {k: v for k, v in best.metrics.items() if k.startswith("test/")}
    line = "  ".join(f"{name} {value:.4f}" for name, value in sorted(tested.items()))
    out.print(f"best: t{five[0]:03d}, run {best.id}")
    out.print(f"  {plan.study.metric} {plan.objectives[five[0]]:.4f}  {line}", soft_wrap=True)


def short(text: str) -> str:
    """A number with at most four digits that matter."""
    try:
        return text if text.isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text
