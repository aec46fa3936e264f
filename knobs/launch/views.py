"""What a link into MLflow's pages shows: filter, order, columns and charts. Pure functions, nothing is read or written.

MLflow's page takes a view in two ways. A deep link carries filter, order, and table or charts in its query. A *shared
view* is a tag of the experiment, `mlflow.sharedViewState.<key>`, whose JSON also says which columns and charts there
are; the page lists it by name in its menu "Views". The tag is undocumented: its fields are what MLflow 3.17 reads.
Where
a query filters, MLflow does not look at the shared view: a link is one or the other, and a page that is reloaded, its
query filled in by then, keeps filter and order but not the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from knobs.tracking import Row

TAG = "mlflow.sharedViewState."
KNOWN_TO = "3.17."
"""Versions of MLflow whose pages are known to read such a tag; others get deep links."""

MANY = 50
"""With more runs than this, only the first 20 are drawn until one asks for the others: a page of all takes long."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at the runs of an experiment."""

    key: str
    """The shared view's key in its experiment."""
    title: str
    """Its name in the menu "Views", and in our own output."""
    filters: str
    order_by: str
    """A canonical name, see `metric`, `param`, `tag`."""
    ascending: bool = False
    columns: tuple[str, ...] = ()
    """Canonical names, in order; the run's name and age stand before them, its duration after them."""
    group_by: tuple[str, ...] = ()
    """Canonical names: rows that agree in these are one group, its metrics their mean."""
    curves: tuple[str, ...] = ()
    """The metric of each line chart."""
    parallel: tuple[str, ...] = ()
    """Parameters of the parallel coordinates."""
    objective: str = ""
    """The metric at which the parallel coordinates end."""
    many: bool = False
    """Whether there are more than `MANY` runs."""
    folded: tuple[str, ...] = ()
    """Sections of charts that stay closed: MLflow adds a chart for every metric."""


def metric(name: str) -> str:
    """A metric's canonical name, in queries and in shared views alike."""
    return f"metrics.`{name}`"


def param(name: str) -> str:
    """A parameter's canonical name."""
    return f"params.`{name}`"


def tag(name: str) -> str:
    """A tag's canonical name."""
    return f"tags.`{name}`"


def deep_link(address: str, experiment: str, view: View, *, charts: bool = False) -> str:
    """Filters, sorts and chooses table or charts by itself; which columns and charts there are is the page's own."""
    query = {
        **_mode(charts),
        "searchFilter": view.filters,
        "orderByKey": view.order_by,
        "orderByAsc": str(view.ascending).lower(),
    }
    return f"{address}/#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"


def shared_link(address: str, experiment: str, view: View, *, charts: bool = False) -> str:
    """Opens the view whose `shared` tag the experiment carries."""
    return f"{address}/#/experiments/{experiment}/runs?{urlencode({**_mode(charts), 'viewStateShareKey': view.key})}"


def compare_link(address: str, experiment: str, runs: Sequence[str]) -> str:
    """These runs side by side, in this order."""
    query = {
        "runs": json.dumps(list(runs), separators=(",", ":")),  # the page wants this one first
        "experiments": json.dumps([experiment]),
        **_mode(charts=False),
    }
    return f"{address}/#/compare-runs?{urlencode(query, quote_via=quote)}"


def shared(view: View, time_ms: int) -> dict[str, str]:
    """The experiment tag that holds a view; `time_ms` orders the menu, the latest first."""
    return {TAG + view.key: json.dumps({"name": view.title, "createdAt": time_ms, "state": json.dumps(state(view))})}


def state(view: View) -> dict[str, Any]:
    """A view in the words of MLflow's page."""
    name, age = "attributes.`Run Name`", "runDateAndNestInfo"
    found: dict[str, Any] = {
        "searchFilter": view.filters,
        "orderByKey": view.order_by,
        "orderByAsc": view.ascending,
        "selectedColumns": list(view.columns),
        "columnOrder": [name, age, *view.columns, "duration"],
        "columnWidths": {name: 165, age: 125, "duration": 80, **{column: _width(column) for column in view.columns}},
        "runsHiddenMode": "FIRST_20_RUNS" if view.many else "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
    }
    if view.group_by:
        keys = [{"mode": _mode_of(name), "groupByData": _bare(name)} for name in view.group_by]
        found["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
    if view.curves:
        found["compareRunSections"], found["compareRunCharts"] = _charts(view)
    return found


def _charts(view: View) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sections = [_section("Curves", len(view.curves))]
    charts: list[dict[str, Any]] = [
        {
            "type": "LINE",
            "uuid": f"{view.key}-{name}",
            "metricSectionId": "Curves",
            "metricKey": name,
            "selectedMetricKeys": [name],
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "displayPoints": False,
            "deleted": False,
            "isGenerated": False,
        }
        for name in view.curves
    ]
    if view.parallel:
        sections.append(_section("Knobs against the objective", 1))
        charts.append(
            {
                "type": "PARALLEL",
                "uuid": f"{view.key}-parallel",
                "metricSectionId": sections[-1]["uuid"],
                "selectedParams": list(view.parallel),
                "selectedMetrics": [view.objective],
                "showAllRuns": True,
                "deleted": False,
                "isGenerated": False,
            }
        )
    return sections + [_section(name, 3, shown=False) for name in view.folded], charts


def _section(name: str, columns: int, *, shown: bool = True) -> dict[str, Any]:
    return {
        "uuid": name,
        "name": name,
        "display": shown,
        "isReordered": False,
        "deleted": False,
        "isGenerated": not shown,
        "columns": columns,
        "cardHeight": 340,
    }


def _mode(charts: bool) -> dict[str, str]:
    return {"workflowType": "machine_learning", **({"compareRunsMode": "CHART"} if charts else {})}


def _mode_of(canonical: str) -> str:
    return {"params": "param", "tags": "tag"}[canonical.partition(".")[0]]


def _bare(canonical: str) -> str:
    return canonical.partition(".")[2].strip("`")


def _width(canonical: str) -> float:
    return max(76, 24 + 6.5 * len(_bare(canonical)))


# What a study's links show


def of_study(parent: Row, rows: Sequence[Row], first: Sequence[str]) -> View:
    """A study's trials, in a table and in charts; `first` are the knobs that it searches, in order."""
    objective = f"best/{parent.params['metric']}"
    knobs = varying(rows, first) if len(rows) > 1 else tuple(first)
    finished = [row for row in rows if objective in row.metrics]
    everywhere = tuple(knob for knob in knobs if all(knob in row.params for row in finished))
    curves = tuple(dict.fromkeys((parent.params["metric"], "val/loss", "train/loss")))
    return View(
        key="knobs-trials",
        title="Trials, best first",
        filters=f"{tag('mlflow.parentRunId')} = '{parent.id}'",
        order_by=metric(objective),
        ascending=parent.params["direction"] == "minimize",
        columns=(metric(objective), *map(param, knobs), tag("knobs.state")),
        curves=curves,
        parallel=everywhere,
        objective=objective,
        many=len(rows) > MANY,
        folded=sections_of({name for row in rows for name in row.metrics} - {*curves}),
    )


def of_parents(objectives: Sequence[str]) -> View:
    """What is not a trial: studies, set aside or not, and single runs, newest first. `objectives` are canonical."""
    counts = [metric(f"trials/{n}") for n in ("done", "finished", "reused", "pruned", "diverged", "failed")]
    tested = [name.replace("best/val/", "test/") for name in objectives]
    return View(
        key="knobs-studies",
        title="Studies and single runs",
        filters=f"{tag('knobs.kind')} != 'trial'",
        order_by="attributes.start_time",
        columns=(*objectives, *tested, *counts, tag("knobs.state")),
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
