"""The views of an ablation in MLflow's pages: its cells, its seeds grouped by cell, the rest. Pure functions."""

from __future__ import annotations

from knobs.pages.study_views import chart_sections
from knobs.pages.views import MANY_RUNS, View, metric, param, tag
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.schema import DONE, Kind, Metric, MlflowTag, Tag, has_tag, metric_key
from knobs.record.states import StateName

NOT_ASIDE = f"{tag(Tag.ASIDE)} IS NULL"


def cells_view(ablation: RecordedAblation) -> View:
    """Return the view of the cells, the best mean first: levels, mean and interval, then the claims' metrics."""
    shown, *others = ablation.metrics
    means = [prefix + shown for prefix in (Metric.MEAN, Metric.LOW, Metric.HIGH)]
    metrics = [*means, Metric.SEEDS_IN_MEAN, *(Metric.MEAN + name for name in others), Metric.BUDGET_TRIALS]
    under = has_tag(MlflowTag.PARENT, ablation.parent.id)
    return View(
        key="knobs-cells",
        title="Cells, best mean first",
        filters=f"{has_tag(Tag.KIND, Kind.CELL)} and {NOT_ASIDE} and {under}",
        order_by=metric(means[0]),
        ascending=ablation.direction == "minimize",
        columns=(*map(param, ablation.factors), *map(metric, metrics), tag(Tag.STATE)),
    )


def seeds_view(ablation: RecordedAblation) -> View:
    """Return the view of all seeds, grouped by cell. The groups are closed and show means, as a table and as curves."""
    shown, *others = ablation.metrics
    keys = [metric_key(name) for name in (shown, *others)]
    factors = [param(name) if _is_knob(name, ablation) else tag(Tag.LEVEL + name) for name in ablation.factors]
    curves = tuple(dict.fromkeys((ablation.metric, "val/loss", Metric.TRAIN_LOSS)))
    metrics = {name for seed in ablation.seeds for name in seed.row.metrics}
    return View(
        key="knobs-seeds",
        title="Seeds by cell",
        filters=f"{has_tag(Tag.KIND, Kind.SEED)} and {NOT_ASIDE}",
        order_by=metric(shown),
        ascending=ablation.direction == "minimize",
        columns=(*factors, *map(metric, keys), *map(param, ablation.tuned), tag(Tag.STATE)),
        group_by=(tag(Tag.CELL),),
        closed=tuple(cell.name for cell in ablation.cells if cell.row),
        curves=curves,
        many=len(ablation.cells) > MANY_RUNS,
        folded=chart_sections(metrics - {*curves}),
    )


def others_view(ablation: RecordedAblation) -> View:
    """Return the view of everything else: ablations, set aside or not, references and single runs."""
    states = (DONE, StateName.REUSED, StateName.PRUNED, StateName.DIVERGED)
    counts = [Metric.CELLS_DONE, Metric.SEEDS + DONE, *(Metric.TRIALS + state for state in states)]
    kinds = " and ".join(f"{tag(Tag.KIND)} != '{kind}'" for kind in (Kind.TRIAL, Kind.REPLICATE, Kind.CELL, Kind.SEED))
    metrics = map(metric, [*ablation.metrics, *counts])
    return View(
        key="knobs-ablations",
        title="Ablations, references and single runs",
        filters=kinds,
        order_by="attributes.start_time",
        columns=(tag(Tag.VERDICTS), *metrics, tag(Tag.STATE), tag(Tag.SOURCE)),
    )


def _is_knob(factor: str, ablation: RecordedAblation) -> bool:
    """Return whether all seeds have the factor as a parameter: grouped rows show parameters, but no tags."""
    return all(factor in seed.row.params for seed in ablation.seeds)
