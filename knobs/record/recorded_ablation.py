"""An ablation as it was recorded: its cells, their trials and seeds, and the verdicts on its claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from knobs import stats
from knobs.ablation import BEST_OF, Claim, ClaimVerdict, Values, decide_claims, decide_claims_after_looks, is_selected
from knobs.record.definition import AblationDefinition
from knobs.record.knob_range import KnobRange
from knobs.record.queries import counted_seeds, counted_trials, current, newest_references, runs_of_kind
from knobs.record.recorded import Recorded
from knobs.record.recorded_cell import RecordedCell
from knobs.record.registration import Registration, read_registration
from knobs.record.runs import RecordedRun, RunReader
from knobs.record.schema import Artifact, Kind, MlflowTag, Tag
from knobs.record.spaces import SpaceStore
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.record.verdicts import RecordedVerdict, verdicts_from_json


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
        seeds = {name: counted_seeds(_under(row, self._rows), definition.repetitions) for name, row in own.items()}
        reader = RunReader(tracker, [seed for cell in definition.cells for seed in seeds.get(cell.name, ())])
        self.cells = [
            RecordedCell(
                cell.name,
                cell.levels,
                own.get(cell.name),
                [RecordedRun(f"{cell.name}/s{seed.seed}", seed, reader) for seed in seeds.get(cell.name, ())],
                cell.space,
                definition.repetitions > 1 and bool(definition.seeds or any(row.repetition for row in self._rows)),
                partial(self._trials_of, own.get(cell.name), cell.name),
                definition.bounds,
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
        wanted = self.definition
        rows = counted_trials(_under(cell, self._trial_rows), wanted.trials, wanted.repetitions)
        spaces = SpaceStore(self.tracker, cell.id)
        return [
            RecordedRun(
                f"{name}/{f'r{row.repetition:02d}' * (wanted.repetitions > 1)}t{row.trial:03d}",
                row, self._trial_reader, spaces,
            )
            for row in rows
        ]  # fmt: skip

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

    @cached_property
    def reached(self) -> int:
        """Repetitions that have ended in every cell, without a gap."""
        wanted = self.definition
        return min(cell.ended_repetitions(wanted.repetitions, wanted.trials, wanted.seeds) for cell in self.cells)

    @cached_property
    def looked(self) -> list[int]:
        """The planned looks that have all their repetitions, up to the one that decided the last claim."""
        found: list[int] = []
        for look in self.definition.looks:
            if look > self.reached:
                break
            found.append(look)
            if all(verdict.verdict != "undecided" for verdict in self._decide_after(found)):
                break
        return found

    @property
    def target(self) -> int:
        """Repetitions that are enough: up to the look that decided every claim, or to the next look."""
        looked, looks = self.looked, self.definition.looks
        if not looks:
            return self.definition.repetitions
        if looked and all(verdict.verdict != "undecided" for verdict in self._decide_after(looked)):
            return looked[-1]
        return next((look for look in looks if look > self.reached), looks[-1])

    @cached_property
    def missing(self) -> list[str]:
        """What has yet to run, one phrase per cell; empty if the ablation is complete."""
        wanted, target, found = self.definition, self.target, []
        for cell in self.cells:
            ended = cell.ended_repetitions(target, wanted.trials, wanted.seeds)
            if ended >= target:
                continue
            trials = sum(trial.ended for trial in cell.trials if trial.row.repetition == ended)
            seeds = sum(seed.ended for seed in cell.seeds if seed.row.repetition == ended)
            runs = f"{trials} of {wanted.trials} trials" if cell.space and trials < wanted.trials else ""
            runs = runs or f"{seeds} of {wanted.seeds} seeds"
            done = f"{ended} of {target} repetitions, " if wanted.repetitions > 1 else ""
            found.append(f"{cell.name}: {done}{runs}")
        return found

    @property
    def progress(self) -> str:
        """Cells and fresh seeds so far: `8 of 8 cells, 80 of 80 seeds`. A cell is done if all its seeds have ended."""
        ended = [sum(seed.ended for seed in cell.seeds) for cell in self.cells]
        wanted = self.definition.seeds * self.target
        done = sum(0 < wanted <= count for count in ended)
        return f"{done} of {len(self.cells)} cells, {sum(ended)} of {max(wanted * len(self.cells), sum(ended))} seeds"

    def seed_values(self, metric: str, repetitions: int | None = None) -> Values:
        """Return a metric's value by cell and repetition (or seed), as claims read it; of the first ones if given."""
        return {
            tuple(sorted(cell.levels.items())): {
                row: value
                for row, value in self._values(cell, metric).items()
                if repetitions is None or row < repetitions
            }
            for cell in self.cells
            if cell.seeds
        }

    def _values(self, cell: RecordedCell, metric: str) -> dict[int, float]:
        if metric.startswith(BEST_OF):
            return cell.best_of(int(metric.removeprefix(BEST_OF)), self.metric, self.direction)
        return cell.values(metric)

    @cached_property
    def claims(self) -> list[Claim]:
        """The claims, as they are defined."""
        return [definition.claim() for definition in self.definition.claims]

    def decide(self) -> list[ClaimVerdict]:
        """Decide the claims from the repetitions, or seeds, that count; after planned looks if there are some."""
        if self.looked:
            return self._decide_after(self.looked)
        return decide_claims(self.claims, {name: self.seed_values(name) for name in self._claimed}, self.factors)

    def _decide_after(self, looks: Sequence[int]) -> list[ClaimVerdict]:
        values = {look: {name: self.seed_values(name, look) for name in self._claimed} for look in looks}
        return decide_claims_after_looks(self.claims, values, self.definition.repetitions, self.factors)

    def new_samples_interval(self, verdict: ClaimVerdict) -> tuple[float, float] | None:
        """Return the interval of a claim's effect for new test samples; None if its metric is not of a test split."""
        claim, selections = verdict.claim, verdict.claim.selections()
        cells = [cell for cell in self.cells if any(is_selected(cell.levels, one) for one in selections)]
        without = [cell.left_out(claim.metric) for cell in cells]
        if verdict.result is None or not all(without):
            return None
        rows = sorted(set.intersection(*(set(found) for found in without)))
        groups = min(len(values) for found in without for values in found.values())

        def effect(row: int, group: int) -> float:
            """Return the effect in one row: a test's effect is the mean over rows."""
            values = {
                tuple(sorted(cell.levels.items())): dict.fromkeys((0, 1), found[row][group])
                for cell, found in zip(cells, without, strict=True)
            }
            return float(claim.test(values, self.factors)[0].effect.value)

        test, _ = claim.test(self.seed_values(claim.metric), self.factors)
        table = [[effect(row, group) for group in range(groups)] for row in rows]
        return stats.new_samples_interval(test.effect, table) if len(table) > 1 else None

    @property
    def _claimed(self) -> set[str]:
        return {name for claim in self.claims for name in claim.metrics}

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
