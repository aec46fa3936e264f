"""Tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

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
    knobs = [name for name in varying([by_number[n] for n in by_number]) if name != "seed"]
    table = Table(title=f"{plan.name}: the five best", title_justify="left", box=None, pad_edge=False)
    table.add_column("trial")
    table.add_column(plan.study.metric, justify="right")
    for name in knobs:
        table.add_column(name, justify="right", overflow="fold")
    for number in five:
        params = by_number[number].params
        cells = [short(params.get(name, "-")) for name in knobs]
        table.add_row(f"t{number:03d}", f"{plan.objectives[number]:.4f}", *cells)
    console = Console(highlight=False)
    console.print(table)
    best = by_number[five[0]]
    tested = {k: v for k, v in best.metrics.items() if k.startswith("test/")}
    line = "  ".join(f"{name} {value:.4f}" for name, value in sorted(tested.items()))
    console.print(f"best: t{five[0]:03d}  {plan.study.metric} {plan.objectives[five[0]]:.4f}  {line}  (run {best.id})")


def short(text: str) -> str:
    """A number with at most four digits that matter."""
    try:
        return text if text.isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text
