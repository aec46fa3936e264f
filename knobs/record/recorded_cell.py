"""A cell of an ablation as it was recorded: the trials that tuned it, and its fresh seeds, by repetition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from knobs import stats
from knobs.record.knob_range import KnobRange
from knobs.record.recorded import every_range
from knobs.record.runs import RecordedRun
from knobs.record.schema import Tag, is_test
from knobs.record.stores.rows import Row
from knobs.search import Direction


@dataclass(frozen=True)
class RecordedCell:
    """A cell: the trials that tuned it, and its fresh seeds."""

    name: str
    levels: Mapping[str, str]
    row: Row | None
    """Its run; None if the cell never started."""
    seeds: Sequence[RecordedRun]
    """The fresh seeds, by seed; those of an earlier winner are left out."""
    defined_space: Mapping[str, KnobRange]
    repeated: bool
    """True if repetitions are the rows of tests; if not, there is one, and its seeds are the rows."""
    read_trials: Callable[[], Sequence[RecordedRun]]
    bounds: Callable[[str], tuple[float, float] | None]
    """Returns the range of a metric; None if it is not known."""

    @cached_property
    def trials(self) -> Sequence[RecordedRun]:
        """The trials that count, by repetition and number; read when first needed."""
        return self.read_trials()

    @cached_property
    def space(self) -> dict[str, KnobRange]:
        """Every knob that was tuned in any trial, by name."""
        return every_range(self.defined_space, self.trials)

    def tuned_knobs(self, seed: RecordedRun) -> dict[str, Any]:
        """Return the tuned knobs of a fresh seed with their values."""
        return {name: knob.parse(seed.row.params[name]) for name, knob in self.space.items() if name in seed.row.params}

    @cached_property
    def winners(self) -> dict[int, RecordedRun]:
        """By repetition: the trial whose knobs its seeds have."""
        chosen = {(seed.row.repetition, seed.tag(Tag.WINNER_TRIAL)) for seed in self.seeds}
        return {t.row.repetition: t for t in self.trials if (t.row.repetition, t.tag(Tag.TRIAL)) in chosen}

    def seeds_by_repetition(self, metric: str) -> dict[int, list[float]]:
        """Return a metric's values of the fresh seeds that finished, by repetition."""
        found: dict[int, list[float]] = {}
        for seed in self.seeds:
            if seed.finished and (value := seed.value(metric)) is not None:
                found.setdefault(seed.row.repetition, []).append(value)
        return found

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric's value by repetition, the mean over its finished seeds; without repetitions, by seed."""
        if self.repeated:
            return {n: sum(values) / len(values) for n, values in self.seeds_by_repetition(metric).items()}
        found = {seed.row.seed: seed.value(metric) for seed in self.seeds if seed.finished}
        return {seed: value for seed, value in found.items() if value is not None}

    def best_of(self, count: int, metric: str, direction: Direction) -> dict[int, float]:
        """Return the expected best of so many trials, by repetition; a trial without a value counts as the worst."""
        found: dict[int, list[float | None]] = {}
        for trial in self.trials:
            if trial.ended:
                found.setdefault(trial.row.repetition, []).append(trial.value(metric) if trial.finished else None)
        best = {}
        for number, tried in found.items():
            known = [value for value in tried if value is not None]
            if known and len(tried) >= count:
                worst = min(known) if direction == "maximize" else max(known)
                every = [worst if value is None else value for value in tried]
                best[number] = float(stats.expected_best(every, direction=direction)[count - 1])
        return best

    def left_out(self, metric: str) -> dict[int, list[float]]:
        """Return a test metric without each group of test samples in turn, by repetition (or seed).

        Empty if the metric is not of a test split, or the record of some run lacks it.
        """
        found: dict[int, list[Sequence[float]]] = {}
        for seed in self.seeds:
            if seed.finished and seed.value(metric) is not None:
                values = seed.left_out.get(metric, ()) if is_test(metric) else ()
                found.setdefault(self._row_of(seed), []).append(values)
        groups = {len(values) for row in found.values() for values in row}
        if len(groups) != 1 or not all(map(math.isfinite, (v for row in found.values() for each in row for v in each))):
            return {}
        return {row: np.mean(seeds, axis=0).tolist() for row, seeds in found.items()} if groups != {0} else {}

    @property
    def lost(self) -> int:
        """Repetitions (or seeds) that ended without a value: no seed of them finished."""
        kept = {self._row_of(seed) for seed in self.seeds if seed.finished}
        return len({self._row_of(seed) for seed in self.seeds if seed.ended} - kept)

    def _row_of(self, seed: RecordedRun) -> int:
        return seed.row.repetition if self.repeated else seed.row.seed

    def ended_repetitions(self, wanted: int, trials: int, seeds: int) -> int:
        """Return how many of the first repetitions, without a gap, have ended."""
        ended = Counter(run.row.repetition for run in self.seeds if run.ended)
        tried = Counter(run.row.repetition for run in self.trials if run.ended)
        finished = {run.row.repetition for run in self.trials if run.finished}
        for number in range(min(wanted, 1 + max((*ended, *tried), default=-1))):
            untuned = not self.space
            hopeless = not untuned and number not in finished
            if (not untuned and tried[number] < trials) or (ended[number] < seeds and not hopeless):
                return number
        return min(wanted, 1 + max((*ended, *tried), default=-1))

    def mean(self, metric: str) -> stats.Estimate | None:
        """Return the mean over repetitions (or seeds) with its 95% interval; None below two."""
        values = list(self.values(metric).values())
        return stats.mean_interval(values, bounds=self.bounds(metric)) if len(values) > 1 else None

    @property
    def runs(self) -> list[RecordedRun]:
        """Trials, then seeds."""
        return [*self.trials, *self.seeds]
