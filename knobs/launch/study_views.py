"""What a study's links show: which trials in which order, which knobs as columns, which curves. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knobs.launch import views
from knobs.launch.views import MANY, View
from knobs.tracking import Row


def trials(parent: Row, rows: Sequence[Row], first: Sequence[str]) -> View:
    """A study's trials, in a table and in charts; `first` are the knobs that it searches, in order."""
    objective = f"best/{parent.params['metric']}"
    knobs = varying(rows, first) if len(rows) > 1 else tuple(first)
    finished = [row for row in rows if objective in row.metrics]
    everywhere = tuple(knob for knob in knobs if all(knob in row.params for row in finished))
    curves = tuple(dict.fromkeys((parent.params["metric"], "val/loss", "train/loss")))
    return View(
        key="knobs-trials",
        title="Trials, best first",
        filters=f"{views.tag('mlflow.parentRunId')} = '{parent.id}'",
        order_by=views.metric(objective),
        ascending=parent.params["direction"] == "minimize",
        columns=(views.metric(objective), *map(views.param, knobs), views.tag("knobs.state")),
        curves=curves,
        parallel=everywhere,
        objective=objective,
        many=len(rows) > MANY,
        folded=sections_of({name for row in rows for name in row.metrics} - {*curves}),
    )


def runs(objectives: Sequence[str]) -> View:
    """What is not a trial: studies, set aside or not, and single runs, newest first. `objectives` are canonical."""
    counts = [views.metric(f"trials/{n}") for n in ("done", "finished", "reused", "pruned", "diverged", "failed")]
    tested = [name.replace("best/val/", "test/") for name in objectives]
    return View(
        key="knobs-studies",
        title="Studies and single runs",
        filters=f"{views.tag('knobs.kind')} != 'trial'",
        order_by="attributes.start_time",
        columns=(*objectives, *tested, *counts, views.tag("knobs.state")),
    )


def best_and_baseline(parent: Row, rows: Sequence[Row], count: int = 5) -> list[str]:
    """The best trials, the best first, and the baseline where it is not among them."""
    objective, sign = f"best/{parent.params['metric']}", -1 if parent.params["direction"] == "maximize" else 1
    ended = [row for row in rows if objective in row.metrics]
    best = sorted(ended, key=lambda row: (sign * row.metrics[objective], int(row.tags["knobs.trial"])))[:count]
    baseline = [row for row in rows if row.tags["knobs.trial"] == "0" and row not in best]
    return [row.id for row in best + baseline]


def varying(rows: Sequence[Row], first: Sequence[str]) -> tuple[str, ...]:
    """The knobs that differ between runs: those in `first` in their order, then others that take several values.

    A knob outside `first` that takes one value for each kind of its part says no more than the kind.
    """
    found = [knob for knob in first if len({row.params.get(knob) for row in rows}) > 1]
    for knob in sorted({knob for row in rows for knob in row.params} - {*first}):
        kind = f"{knob.partition('.')[0]}.kind"
        values: dict[str | None, set[str]] = {}
        for row in rows:
            if knob in row.params:
                values.setdefault(None if kind == knob else row.params.get(kind), set()).add(row.params[knob])
        if any(len(several) > 1 for several in values.values()):
            found.append(knob)
    return tuple(found)


def sections_of(metrics: Iterable[str]) -> tuple[str, ...]:
    """The sections into which MLflow's page sorts charts of these metrics: what stands before the last slash."""
    named = {"": "Model metrics", "system": "System metrics"}
    prefixes = sorted({name.rpartition("/")[0] for name in metrics})
    return tuple(named.get(prefix, prefix) for prefix in prefixes)
