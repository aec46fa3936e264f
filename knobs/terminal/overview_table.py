"""Everything that is recorded, in the terminal: one line per study, ablation and single run."""

from __future__ import annotations

from knobs.numbers import metric_text
from knobs.record.queries import current, experiment_names, runs_of_kind
from knobs.record.schema import DONE, Kind, Metric, Tag, metric_key
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.terminal.tables import console, plain_table

MOST_RUNS = 100
"""How many single runs are listed: the newest."""


def show_overview(tracker: Tracker) -> None:
    """Print studies, ablations and single runs with their state and their best value."""
    table = plain_table()
    for title in ("name", "kind", "state", "done", "best", "trial or run"):
        table.add_column(title, justify="right" if title in ("done", "best") else "left")
    rows = current([*runs_of_kind(tracker, Kind.STUDY), *runs_of_kind(tracker, Kind.ABLATION)])
    rows += runs_of_kind(tracker, Kind.RUN, limit=MOST_RUNS)
    for experiment, name in experiment_names(tracker).items():
        for row in (row for row in rows if row.experiment == experiment):
            table.add_row(name, row.kind, row.state, *_cells(row))
    console().print(table)


def _cells(row: Row) -> tuple[str, str, str]:
    """Return how many runs are done, the best value or the verdicts, and the trial or run to look at."""
    if row.kind == Kind.STUDY:
        metric = row.params.get("metric", "")
        best = row.metrics.get(metric_key(metric))
        shown = "-" if best is None else f"{metric} {metric_text(best)}"
        number = row.tags.get(Tag.BEST_TRIAL)
        return _count(row, Metric.TRIALS + DONE), shown, "" if number is None else f"t{int(number):03d}"
    if row.kind == Kind.ABLATION:
        return _count(row, Metric.RUNS_DONE), row.tags.get(Tag.VERDICTS, "-"), ""
    start = Metric.BEST + Metric.VAL
    values = [f"{k} {metric_text(v)}" for k, v in row.metrics.items() if k.startswith(start) and "loss" not in k]
    return "", "".join(values[:1]).removeprefix(Metric.BEST), row.id


def _count(row: Row, metric: str) -> str:
    return str(int(row.metrics.get(metric, 0)))
