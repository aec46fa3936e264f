"""What the seeds of every cell say: means, differences to the baseline, corrected p. Numbers only, no words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from knobs import stats
from knobs.data import BOUNDS
from knobs.definition import claims_of
from knobs.recorded import seed_values
from knobs.report.record import AblationRecord, CellRecord
from knobs.rulings import Ruling, rule


@dataclass(frozen=True)
class Spread:
    """A mean or a difference with its 95% interval; the interval's ends are None for a single run."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Of a difference; corrected over the cells once all are known."""
    n: int = 1
    doubt: str = ""


@dataclass(frozen=True)
class CellNumbers:
    """One row of the table."""

    cell: CellRecord
    mean: Spread | None
    """None where no seed finished."""
    difference: Spread | None
    """To the baseline, paired by seed; None for the baseline itself, and where fewer than two seeds are shared."""
    lost: int
    """Seeds that ended without a value."""
    parameters: int | None
    validation: float | None
    """Mean of the seeds' validation metric."""


def interval(values: Sequence[float], metric: str) -> Spread:
    """Mean and interval of a cell's seeds, whatever their shape."""
    if len(values) < 2:
        return Spread(values[0])
    made = stats.mean_interval(values, bounds=BOUNDS.get(metric.rpartition("/")[2]))
    return Spread(float(made.value), float(made.low), float(made.high), None, made.n, str(made.doubt))


def difference(a: dict[int, float], b: dict[int, float]) -> Spread | None:
    """Mean of a - b over the seeds that both have."""
    shared = sorted(a.keys() & b.keys())
    if len(shared) < 2:
        return None
    made = stats.paired_difference([a[s] for s in shared], [b[s] for s in shared])
    return Spread(float(made.value), float(made.low), float(made.high), float(made.p), made.n, str(made.doubt))


def numbers(record: AblationRecord) -> list[CellNumbers]:
    """Every cell's numbers, the p of the differences corrected (Holm) for the cells being several."""
    metric = record.shown
    base = record.baseline.values(metric)
    found = {c.name: None if c is record.baseline else difference(c.values(metric), base) for c in record.cells}
    tested = [name for name, made in found.items() if made is not None]
    raw = [made.p for made in found.values() if made is not None]
    corrected = dict(zip(tested, stats.holm(np.array(raw, dtype=float)), strict=True)) if tested else {}
    rows = []
    for cell in record.cells:
        values = cell.values(metric)
        made = found[cell.name]
        if made is not None:
            made = Spread(made.value, made.low, made.high, float(corrected[cell.name]), made.n, made.doubt)
        sizes = [seed.row.metrics["parameters"] for seed in cell.runs if "parameters" in seed.row.metrics]
        validation = list(cell.values(record.metric).values())
        rows.append(
            CellNumbers(
                cell=cell,
                mean=interval(list(values.values()), metric) if values else None,
                difference=made,
                lost=sum(seed.ended for seed in cell.seeds) - len(values),
                parameters=int(sizes[0]) if sizes else None,
                validation=float(np.mean(validation)) if validation else None,
            )
        )
    return rows


def rulings(record: AblationRecord) -> list[Ruling]:
    """The claims decided anew from the recorded seeds, by the very test that decided them when they were recorded."""
    claims = claims_of(record.told["claims"])
    rows = [seed.row for cell in record.cells for seed in cell.seeds]
    metrics = {claim.metric: seed_values(rows, claim.metric) for claim in claims}
    return rule(claims, metrics, record.factors)


def cells_of(ruling: Ruling, record: AblationRecord) -> list[CellRecord]:
    """The cells that a claim speaks of."""

    def inside(cell: CellRecord) -> bool:
        return any(
            all(cell.levels[n] == want if isinstance(want, str) else cell.levels[n] in want for n, want in s.items())
            for s in ruling.claim.selections()
        )

    return [cell for cell in record.cells if inside(cell)]
