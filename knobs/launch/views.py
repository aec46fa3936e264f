"""What a link into MLflow's pages shows: filter, order, columns and charts. Pure functions, nothing is read or written.

MLflow's page takes a view in two ways. A deep link carries filter, order, and table or charts in its query. A *shared
view* is a tag of the experiment, `mlflow.sharedViewState.<key>`, whose JSON also says which columns and charts there
are; the page lists it by name in its menu "Views". The tag is undocumented: its fields are what MLflow 3.17 reads.
Where a query filters, MLflow does not look at the shared view: a link is one or the other, and a page that is
reloaded, its query filled in by then, keeps filter and order but not the columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

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
    closed: tuple[str, ...] = ()
    """Values of the one name in `group_by` whose groups open closed: a row each."""
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
        "columnWidths": {name: 150, age: 130, "duration": 80, **{column: _width(column) for column in view.columns}},
        "runsHiddenMode": "FIRST_20_RUNS" if view.many else "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
    }
    if view.group_by:
        keys = [{"mode": _mode_of(key), "groupByData": _bare(key)} for key in view.group_by]
        found["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
        group = f"{keys[0]['mode']}.{keys[0]['groupByData']}."
        found["groupsExpanded"] = {group + value: False for value in view.closed}
        found["columnWidths"][name] = 220  # a group's name has its sign and its count beside it
    if view.curves:
        found["compareRunSections"], found["compareRunCharts"] = _charts(view)
    return found


def _charts(view: View) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sections = [_section("Curves", min(3, len(view.curves)))]
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
        "cardHeight": 300,
    }


def _mode(charts: bool) -> dict[str, str]:
    return {"workflowType": "machine_learning", **({"compareRunsMode": "CHART"} if charts else {})}


def _mode_of(canonical: str) -> str:
    return {"params": "param", "tags": "tag"}[canonical.partition(".")[0]]


def _bare(canonical: str) -> str:
    return canonical.partition(".")[2].strip("`")


def _width(canonical: str) -> float:
    return max(76, 24 + 6.5 * len(_bare(canonical)))
