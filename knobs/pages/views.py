"""Views of runs in MLflow's pages: filter, order, columns and charts. Pure functions.

MLflow's page takes a view in two ways. A deep link carries filter, order, and table or charts in its query. A *saved
view* is a tag of the experiment that also holds columns and charts; the page lists it in its menu "Views". A link is
one or the other: if its query filters, MLflow ignores the saved view. A reloaded page keeps filter and order only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from knobs.record.stores.mlflow_internals import SHARED_VIEW

MANY_RUNS = 50
"""With more runs than this, the page draws only the first 20 until the user asks for all: drawing all takes long."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at the runs of an experiment."""

    key: str
    """Key of the saved view in its experiment."""
    title: str
    """Name in the menu "Views"."""
    filters: str
    order_by: str
    """A canonical name; see `metric`, `param`, `tag`."""
    ascending: bool = False
    columns: tuple[str, ...] = ()
    """Canonical names, in order. The run's name and age come before them, its duration after them."""
    group_by: tuple[str, ...] = ()
    """Canonical names. Rows that agree in these form a group, which shows the mean of each metric."""
    closed: tuple[str, ...] = ()
    """Values of the one name in `group_by` whose groups are closed at first."""
    curves: tuple[str, ...] = ()
    """The metric of each line chart."""
    parallel: tuple[str, ...] = ()
    """Parameters of the parallel coordinates."""
    objective: str = ""
    """The metric on the last parallel coordinate."""
    many: bool = False
    """True if there are more than `MANY_RUNS` runs."""
    folded: tuple[str, ...] = ()
    """Sections of charts that are closed at first. MLflow adds a chart for every metric."""


def metric(name: str) -> str:
    """Return a metric's canonical name, for queries and saved views."""
    return f"metrics.`{name}`"


def param(name: str) -> str:
    """Return a parameter's canonical name."""
    return f"params.`{name}`"


def tag(name: str) -> str:
    """Return a tag's canonical name."""
    return f"tags.`{name}`"


def deep_link(address: str, experiment: str, view: View, *, charts: bool = False) -> str:
    """Return a link that filters, sorts and chooses table or charts. The page itself chooses columns and charts."""
    query = {
        **_mode(charts),
        "searchFilter": view.filters,
        "orderByKey": view.order_by,
        "orderByAsc": str(view.ascending).lower(),
    }
    return f"{address}/#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"


def shared_link(address: str, experiment: str, view: View, *, charts: bool = False) -> str:
    """Return a link that opens a view saved in the experiment."""
    return f"{address}/#/experiments/{experiment}/runs?{urlencode({**_mode(charts), 'viewStateShareKey': view.key})}"


def compare_link(address: str, experiment: str, runs: Sequence[str]) -> str:
    """Return a link that shows these runs side by side, in this order."""
    query = {
        "runs": json.dumps(list(runs), separators=(",", ":")),  # the page needs this one first
        "experiments": json.dumps([experiment]),
        **_mode(charts=False),
    }
    return f"{address}/#/compare-runs?{urlencode(query, quote_via=quote)}"


def shared_tag(view: View, time_ms: int) -> dict[str, str]:
    """Return the experiment tag that holds a saved view. `time_ms` orders the menu, the latest first."""
    return {
        SHARED_VIEW + view.key: json.dumps(
            {"name": view.title, "createdAt": time_ms, "state": json.dumps(view_state(view))}
        )
    }


def view_state(view: View) -> dict[str, Any]:
    """Return a view in the words of MLflow's page."""
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
        found["columnWidths"][name] = 220  # a group's name has a sign and a count beside it
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
