"""Write the means of an ablation's cells to the cells' own runs, so that MLflow's pages can sort by them."""

from __future__ import annotations

from collections.abc import Sequence

from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
from knobs.record.schema import Metric, Tag


def write_cell_means(ablation: RecordedAblation) -> None:
    """Write changed means, and mark the cells and seeds that do not count, so that a filter can leave them out."""
    tracker = ablation.tracker
    for cell in ablation.cells:
        if cell.row is None:
            continue
        values = cell_means(cell, ablation.metrics)
        if any(cell.row.metrics.get(name) != value for name, value in values.items()):
            tracker.summary(cell.row.id, values)
        for row in (cell.row, *(seed.row for seed in cell.seeds)):
            if Tag.ASIDE in row.tags:  # its level came back
                tracker.untag(row.id, Tag.ASIDE)
    for row in ablation.others:
        if Tag.ASIDE not in row.tags:
            tracker.tag(row.id, {Tag.ASIDE: "true"})


def cell_means(cell: RecordedCell, metrics: Sequence[str]) -> dict[str, float]:
    """Return mean and interval of each metric, and the number of seeds behind the first, as metrics of the cell."""
    found = {Metric.SEEDS_IN_MEAN: float(len(cell.values(metrics[0])))}
    for metric in metrics:
        values = list(cell.values(metric).values())
        if len(values) == 1:
            found[Metric.MEAN + metric] = values[0]
        elif (mean := cell.mean(metric)) is not None:
            found[Metric.MEAN + metric] = float(mean.value)
            found[Metric.LOW + metric], found[Metric.HIGH + metric] = float(mean.low), float(mean.high)
    return found
