"""Tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from knobs.study import thaw
from knobs.tracking import Row, Tracker

if TYPE_CHECKING:
    from knobs.launch.study_plan import StudyPlan


def varying(rows: list[Row]) -> list[str]:
    """The knobs that are not the same in all these runs, in the config's order."""
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    return [name for name in names if len({row.params.get(name) for row in rows}) > 1]


def best_trials(tracker: Tracker, plan: StudyPlan, parent: str) -> None:
    """Print the best trial's test metrics and the five best trials."""
    rows = tracker.search(f"tags.`mlflow.parentRunId` = '{parent}'", tracker.experiment(plan.name))
    by_number = {int(row.tags["knobs.trial"]): row for row in rows}
    sign = -1 if plan.study.direction == "maximize" else 1
    five = sorted(plan.objectives, key=lambda n: (sign * plan.objectives[n], n))[:5]
    searched = list(dict.fromkeys(name for n in five for name in thaw(by_number[n].tags["knobs.optuna"])[0]))
    table = Table(title=f"{plan.name}: the five best", title_justify="left", box=None, pad_edge=False)
    table.add_column("trial")
    for number in five:
        table.add_column(f"t{number:03d}", justify="right", no_wrap=True)
    table.add_row(plan.study.metric, *(f"{plan.objectives[number]:.4f}" for number in five))
    for name in searched:
        table.add_row(name, *(short(by_number[number].params.get(name, "-")) for number in five))
    console = Console(highlight=False)
    console.print(table)
    best = by_number[five[0]]
    tested = {k: v for k, v in best.metrics.items() if k.startswith("test/")}
    line = "  ".join(f"{name} {value:.4f}" for name, value in sorted(tested.items()))
    console.print(f"best: t{five[0]:03d}, run {best.id}")
    console.print(f"  {plan.study.metric} {plan.objectives[five[0]]:.4f}  {line}", soft_wrap=True)


def short(text: str) -> str:
    """A number with at most four digits that matter."""
    try:
        return text if text.isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text
