"""What an ablation's links show: its cells with their means, its seeds grouped by cell, the rest. Pure functions."""

from __future__ import annotations

from knobs.launch import study_views, views
from knobs.launch.recorded_ablation import ASIDE, COUNTED, RecordedAblation
from knobs.launch.views import MANY, View
from knobs.recorded import LEVEL, metric_key

CURRENT = f"{views.tag(ASIDE)} IS NULL"


def cells(ablation: RecordedAblation) -> View:
    """A row a cell, the best mean first: factors, mean and interval over the seeds, then what the claims ask for."""
    shown, *asked = ablation.metrics
    means = [f"{part}/{shown}" for part in ("mean", "low", "high")]
    metrics = [*means, COUNTED, *(f"mean/{metric}" for metric in asked), "budget/trials"]
    of_parent = f"{views.tag('mlflow.parentRunId')} = '{ablation.parent.id}'"
    return View(
        key="knobs-cells",
        title="Cells, best mean first",
        filters=f"{views.tag('knobs.kind')} = 'cell' and {CURRENT} and {of_parent}",
        order_by=views.metric(means[0]),
        ascending=ablation.parent.params["direction"] == "minimize",
        columns=(*map(views.param, ablation.factors), *map(views.metric, metrics), views.tag("knobs.state")),
    )


def seeds(ablation: RecordedAblation) -> View:
    """Every fresh seed, grouped by cell; the groups are closed and show means, as a table and as curves."""
    shown, *asked = ablation.metrics
    metric = ablation.parent.params["metric"]
    keys = [metric_key(name) for name in (shown, *asked)]
    factors = [views.param(name) if _is_knob(name, ablation) else views.tag(LEVEL + name) for name in ablation.factors]
    curves = tuple(dict.fromkeys((metric, "val/loss", "train/loss")))
    return View(
        key="knobs-seeds",
        title="Seeds by cell",
        filters=f"{views.tag('knobs.kind')} = 'seed' and {CURRENT}",
        order_by=views.metric(shown),
        ascending=ablation.parent.params["direction"] == "minimize",
        columns=(*factors, *map(views.metric, keys), *map(views.param, ablation.tuned), views.tag("knobs.state")),
        group_by=(views.tag("knobs.cell"),),
        closed=tuple(cell.row.tags["knobs.cell"] for cell in ablation.cells),
        curves=curves,
        many=len(ablation.cells) > MANY,
        folded=study_views.sections_of({name for row in ablation.seeds for name in row.metrics} - {*curves}),
    )


def others(ablation: RecordedAblation) -> View:
    """What is neither trial nor cell nor seed: ablations, set aside or not, references and single runs."""
    counts = ["cells/done", "seeds/done", *(f"trials/{state}" for state in ("done", "reused", "pruned", "diverged"))]
    kinds = " and ".join(f"{views.tag('knobs.kind')} != '{kind}'" for kind in ("trial", "cell", "seed"))
    return View(
        key="knobs-ablations",
        title="Ablations, references and single runs",
        filters=kinds,
        order_by="attributes.start_time",
        columns=(
            views.tag("knobs.verdicts"),
            *map(views.metric, [*ablation.metrics, *counts]),
            views.tag("knobs.state"),
            views.tag("knobs.source"),
        ),
    )


def _is_knob(factor: str, ablation: RecordedAblation) -> bool:
    """Whether all seeds have it as a parameter: the rows of groups show numbers of those, and of tags nothing."""
    return all(factor in seed.params for seed in ablation.seeds)
