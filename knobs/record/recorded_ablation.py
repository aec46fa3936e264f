"""An ablation as it was recorded: its cells, their trials and seeds, and the verdicts on its claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from knobs import stats
from knobs.ablation import ClaimVerdict, Values, decide_claims
from knobs.config import BOUNDS
from knobs.record.definition import AblationDefinition
from knobs.record.knob_range import KnobRange
from knobs.record.queries import counted_seeds, counted_trials, current, newest_references, runs_of_kind
from knobs.record.recorded import Recorded, every_range
from knobs.record.registration import Registration, read_registration
from knobs.record.runs import RecordedRun, RunReader
from knobs.record.schema import Artifact, Kind, MlflowTag, Tag
from knobs.record.spaces import SpaceStore
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.record.verdicts import RecordedVerdict, verdicts_from_json


@dataclass(frozen=True)
class RecordedCell:
    """A cell: the trials that tuned it, and its fresh seeds."""

    name: str
    levels: Mapping[str, str]
    row: Row | None
    """Its run; None if the cell never started."""
    seeds: Sequence[RecordedRun]
    """By seed; those of an earlier winner are left out."""
    defined_space: Mapping[str, KnobRange]
    read_trials: Callable[[], Sequence[RecordedRun]]

    @cached_property
    def trials(self) -> Sequence[RecordedRun]:
        """The trials that count, by number; read when first needed."""
        return self.read_trials()

    @cached_property
    def space(self) -> dict[str, KnobRange]:
        """Every knob that was tuned in any trial, by name."""
        return every_range(self.defined_space, self.trials)

    @property
    def winner(self) -> RecordedRun | None:
        """The trial whose knobs the seeds have; None before any seed was trained."""
        chosen = {seed.tag(Tag.WINNER_TRIAL) for seed in self.seeds}
        return next((trial for trial in self.trials if trial.tag(Tag.TRIAL) in chosen), None)

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric's value by seed, for the seeds that finished."""
        found = {seed.row.seed: seed.value(metric) for seed in self.seeds if seed.finished}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, metric: str) -> stats.Estimate | None:
        """Return the mean over seeds with its 95% interval; None below two finished seeds."""
        values = list(self.values(metric).values())
        return stats.mean_interval(values, bounds=BOUNDS.get(metric.rpartition("/")[2])) if len(values) > 1 else None

    @property
    def runs(self) -> list[RecordedRun]:
        """Trials, then seeds."""
        return [*self.trials, *self.seeds]


@dataclass(frozen=True)
class RecordedReference:
    """A number that is not trained here, and its source."""

    name: str
    metric: str
    value: float
    source: str


class RecordedAblation(Recorded):
    """An ablation, its cells, and the verdicts on its claims."""

    def __init__(self, tracker: Tracker, parent: Row, definition: AblationDefinition) -> None:
        super().__init__(tracker, definition.name, parent)
        self.definition = definition
        self.metric, self.shown, self.direction = definition.metric, definition.shown, definition.direction
        cells = runs_of_kind(tracker, Kind.CELL, parent.experiment)
        self._rows = [*cells, *runs_of_kind(tracker, Kind.SEED, parent.experiment)]
        own = {row.tags[Tag.CELL]: row for row in reversed(current(cells))}
        seeds = {name: counted_seeds(_under(row, self._rows)) for name, row in own.items()}
        reader = RunReader(tracker, [seed for cell in definition.cells for seed in seeds.get(cell.name, ())])
        self.cells = [
            RecordedCell(
                cell.name,
                cell.levels,
                own.get(cell.name),
                [RecordedRun(f"{cell.name}/s{seed.seed}", seed, reader) for seed in seeds.get(cell.name, ())],
                cell.space,
                partial(self._trials_of, own.get(cell.name), cell.name),
            )
            for cell in definition.cells
        ]

    @cached_property
    def _trial_rows(self) -> list[Row]:
        return runs_of_kind(self.tracker, Kind.TRIAL, self.parent.experiment)

    @cached_property
    def _trial_reader(self) -> RunReader:
        counted = {cell.row.id for cell in self.cells if cell.row}
        return RunReader(self.tracker, [r for r in self._trial_rows if r.tags.get(MlflowTag.PARENT) in counted])

    def _trials_of(self, cell: Row | None, name: str) -> list[RecordedRun]:
        if cell is None:
            return []
        rows = counted_trials(_under(cell, self._trial_rows), self.definition.trials)
        spaces = SpaceStore(self.tracker, cell.id)
        return [RecordedRun(f"{name}/t{row.trial:03d}", row, self._trial_reader, spaces) for row in rows]

    @property
    def factors(self) -> dict[str, list[str]]:
        """Levels by factor."""
        return self.definition.levels

    @property
    def baseline(self) -> RecordedCell:
        """The cell that the others are compared with."""
        return next(cell for cell in self.cells if cell.name == self.definition.baseline)

    @property
    def runs(self) -> list[RecordedRun]:
        """Every trial and seed that counts."""
        return [run for cell in self.cells for run in cell.runs]

    @property
    def seeds(self) -> list[RecordedRun]:
        """The seeds of all cells."""
        return [seed for cell in self.cells for seed in cell.seeds]

    @property
    def others(self) -> list[Row]:
        """Recorded cells and seeds that do not count."""
        counted = {seed.row.id for seed in self.seeds} | {cell.row.id for cell in self.cells if cell.row}
        return [row for row in self._rows if row.id not in counted]

    @cached_property
    def references(self) -> list[RecordedReference]:
        """The recorded references, in the definition's order."""
        values = newest_references(runs_of_kind(self.tracker, Kind.REFERENCE, self.parent.experiment))
        return [
            RecordedReference(r.name, r.metric, values[r.name, r.metric], r.source)
            for r in self.definition.references
            if (r.name, r.metric) in values
        ]

    @property
    def metrics(self) -> list[str]:
        """The metrics that cells have means of: the one shown, then those of the claims."""
        asked = [claim.metric for claim in self.definition.claims if claim.metric]
        return list(dict.fromkeys([self.shown, *asked]))

    @property
    def tuned(self) -> list[str]:
        """The nuisance knobs of any cell."""
        return sorted({knob for cell in self.definition.cells for knob in cell.space})

    @property
    def spaces(self) -> dict[str, dict[KnobRange, list[str]]]:
        """By tuned knob: each range that it has, and the cells that have it."""
        found: dict[str, dict[KnobRange, list[str]]] = {}
        for cell in self.cells:
            for name, knob in cell.space.items():
                found.setdefault(name, {}).setdefault(knob, []).append(cell.name)
        return dict(sorted(found.items()))

    @property
    def missing(self) -> list[str]:
        """What has yet to run, one phrase per cell; empty if the ablation is complete."""
        found, wanted = [], self.definition
        for cell in self.cells:
            ended, seeds = sum(t.ended for t in cell.trials), sum(s.ended for s in cell.seeds)
            hopeless = ended >= wanted.trials and not any(t.finished for t in cell.trials)
            if ended < wanted.trials:
                found.append(f"{cell.name}: {ended} of {wanted.trials} trials")
            elif seeds < wanted.seeds and not hopeless:
                found.append(f"{cell.name}: {seeds} of {wanted.seeds} seeds")
        return found

    @property
    def progress(self) -> str:
        """Cells and seeds so far: `8 of 8 cells, 80 of 80 seeds`. A cell is done if all its seeds have ended."""
        ended = [sum(seed.ended for seed in cell.seeds) for cell in self.cells]
        wanted = self.definition.seeds
        done = sum(0 < wanted <= count for count in ended)
        return f"{done} of {len(self.cells)} cells, {sum(ended)} of {max(wanted * len(self.cells), sum(ended))} seeds"

    def seed_values(self, metric: str) -> Values:
        """Return a metric's value by cell and seed, as claims read it."""
        return {tuple(sorted(cell.levels.items())): cell.values(metric) for cell in self.cells if cell.seeds}

    def decide(self) -> list[ClaimVerdict]:
        """Decide the claims from the seeds that count."""
        claims = [definition.claim() for definition in self.definition.claims]
        return decide_claims(claims, {claim.metric: self.seed_values(claim.metric) for claim in claims}, self.factors)

    @cached_property
    def registration(self) -> Registration | None:
        """When its design was recorded, and how it changed; None if the record does not say."""
        return read_registration(self.tracker, self.parent)

    @cached_property
    def verdicts(self) -> list[RecordedVerdict]:
        """The verdicts as they were recorded when the ablation ended; empty before that."""
        recorded = Tag.VERDICTS in self.parent.tags
        text = self.tracker.text(self.parent, Artifact.VERDICTS) if recorded else None
        return verdicts_from_json(text) if text else []


def _under(parent: Row, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.tags.get(MlflowTag.PARENT) == parent.id]
