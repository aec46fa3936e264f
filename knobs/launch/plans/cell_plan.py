"""One cell of an ablation as a plan: in each repetition trials that tune it, then fresh seeds with the winner."""

from __future__ import annotations

import json
from collections import Counter

from knobs.ablation import LOOK_EVERY, Ablation, Cell
from knobs.config import RunConfig
from knobs.launch.plans.continuing import can_continue, continued
from knobs.launch.plans.plan import PlannedRun, group_batches
from knobs.launch.plans.run_names import repetition_label, shortened
from knobs.launch.plans.study_plan import StudyPlan
from knobs.launch.plans.trial_batches import TrialBatches
from knobs.provenance import short_hash
from knobs.record.queries import counted_trials, runs_under
from knobs.record.runs import changes_since
from knobs.record.schema import Kind, MlflowTag, Tag, level_tags
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.search import study_identity
from knobs.training import Outcome
from knobs.training.batch.rule import batches

BLOCK = LOOK_EVERY
"""Repetitions whose runs train together. Further repetitions change no batch of the earlier ones."""


class CellPlan:
    """The trials and fresh seeds of one cell."""

    def __init__(self, name: str, ablation: Ablation, cell: Cell, tracker: Tracker, device: str) -> None:
        self.name, self.cell, self.ablation, self.tracker, self.device = name, cell, ablation, tracker, device
        self.tags = {Tag.ABLATION: name, Tag.CELL: cell.name, **level_tags(cell.levels.items())}
        self.trials = ablation.trials_of(cell)
        self.repetitions = 0
        """Repetitions that are planned so far."""
        self.tunings: list[StudyPlan] = []
        """The study of each repetition; none if the cell is not tuned."""
        self.run = ""
        """The cell's MLflow run, once it is open."""
        self.opened = False
        """True if recorded runs were taken over, so that counts are whole."""
        self.ended_seeds: dict[int, str] = {}
        """State of every fresh seed that has ended."""
        self.changed = Counter[str]()
        """How recorded seeds were trained differently from now, and how many."""
        self._resumed: list[list[PlannedRun]] = []
        self._seeds: list[list[PlannedRun]] = []
        """Seeds that have yet to be handed out."""
        self._planned_blocks: set[int] = set()
        """Blocks whose seeds were planned: all their winners are known."""
        self._rows: list[Row] = []

    def open(self, parent: str, cells: list[Row], *, fresh: bool) -> None:
        """Find the cell's run among `cells`, or create it. Its recorded runs are taken over by `extend`."""
        where = self.tracker.experiment(self.name)
        identity = short_hash(json.loads(json.dumps(study_identity(self.ablation.study(self.cell)))))
        same = [row for row in cells if row.tags[Tag.CELL] == self.cell.name and Tag.RETIRED not in row.tags]
        kept = [row for row in same if row.tags[Tag.IDENTITY] == identity and not fresh]
        for row in same:
            if row not in kept:
                self.tracker.tag(row.id, {Tag.RETIRED: "true"})
        if kept:
            self.run = kept[0].id
            self._rows = runs_under(self.tracker, self.run, where)
            return
        tags = {Tag.KIND: Kind.CELL, Tag.IDENTITY: identity, Tag.STATE: StateName.RUNNING, MlflowTag.PARENT: parent}
        levels = dict(self.cell.levels)
        self.run = self.tracker.create(where, shortened(self.cell.name), {**tags, **self.tags}, levels)

    def extend(self, repetitions: int) -> None:
        """Plan the repetitions up to this number, and take over their recorded runs."""
        first, self.repetitions = self.repetitions, max(repetitions, self.repetitions)
        assert first % BLOCK == 0, "the last block is planned already"
        for number in range(first, self.repetitions if self.trials else first):
            if number % BLOCK == 0:
                batches, siblings = TrialBatches([], range(self.trials), self.device), list[StudyPlan]()
            tuning = self._tuning(number)
            tuning.train_together(batches, siblings, len(siblings))
            batches.searches.append(tuning.search)
            siblings.append(tuning)
            self.tunings.append(tuning)
        for number in range(first, len(self.tunings)):  # batches are whole now
            rows = [row for row in self._rows if row.repetition == number]
            self.tunings[number].open(self.run, counted_trials(rows))
        resumed = [run for tuning in self.tunings for run in tuning.resumed]
        self._resumed = group_batches(resumed)
        for tuning in self.tunings:
            tuning.resumed = []
        self._plan_seeds()
        self.opened = True

    def _tuning(self, repetition: int) -> StudyPlan:
        label = repetition_label(repetition) if self.ablation.repetitions > 1 else ""
        return StudyPlan(
            ".".join(filter(None, [self.name, self.cell.name.replace(" ", "."), label])),
            self.ablation.study(self.cell, repetition),
            self.tracker,
            total=self.trials,
            experiment=self.name,
            cell=self.cell.name,
            tags={**self.tags, Tag.REPETITION: str(repetition)},
            prefix=label,
        )

    @property
    def planned_seeds(self) -> int:
        """Fresh seeds that are planned so far; none in a repetition in which no trial finished."""
        return sum(self.ablation.seeds for number in range(self.repetitions) if not self._is_hopeless(number))

    @property
    def total(self) -> int:
        """Trials and fresh seeds that are planned so far."""
        return self.trials * len(self.tunings) + self.planned_seeds

    @property
    def left(self) -> int:
        """Trials and seeds that have not ended."""
        trials = sum(max(0, tuning.left) for tuning in self.tunings)
        return trials + max(0, self.planned_seeds - len(self.ended_seeds))

    @property
    def hopeless(self) -> bool:
        """True if tuning is over and no trial of any repetition finished."""
        return bool(self.tunings) and all(map(self._is_hopeless, range(self.repetitions)))

    @property
    def done(self) -> bool:
        """True if everything was handed out."""
        tuned = all(tuning.done for tuning in self.tunings) and not self._resumed
        return tuned and not self._seeds and self._planned_blocks >= {n // BLOCK for n in range(self.repetitions)}

    def next(self) -> list[PlannedRun]:
        """Return the next trial with its batch, or the next batch of seeds whose winners are known."""
        if self._resumed:
            return self._resumed.pop(0)
        for tuning in self.tunings:
            if planned := tuning.next():
                return planned
        return self._seeds.pop(0) if self._seeds else []

    def tuning_of(self, planned: PlannedRun) -> StudyPlan:
        """Return the study of the repetition of a trial, or of a trial's replicate."""
        return self.tunings[int(planned.tags[Tag.REPETITION])]

    def ended(self, planned: PlannedRun, run: str, state: str, outcome: Outcome) -> None:
        """Note the end of a trial or a seed. The last trials of a block decide what its seeds train."""
        if planned.kind == Kind.SEED:
            self.ended_seeds[planned.config.seed] = state
        else:
            self.tuning_of(planned).ended(planned, run, state, outcome)
            self._plan_seeds()

    def budget(self) -> int:
        """Return how many trials of the planned repetitions have ended: those that winners were chosen from."""
        return sum(tuning.budget(self.trials) for tuning in self.tunings)

    def trial_counts(self) -> Counter[str]:
        """Return the number of ended trials by state."""
        return sum((Counter(tuning.results.counts) for tuning in self.tunings), Counter[str]())

    def changes(self) -> Counter[str]:
        """Return how recorded runs were trained differently from now, and how many."""
        return sum((tuning.changed for tuning in self.tunings), Counter(self.changed))

    def _is_hopeless(self, repetition: int) -> bool:
        """Return whether a repetition's tuning is over and no trial finished."""
        if not self.tunings:
            return False
        tuning = self.tunings[repetition]
        return tuning.left <= 0 and not any(number < self.trials for number in tuning.results.values)

    def _winner(self, repetition: int) -> tuple[RunConfig, dict[str, str]]:
        """Return what a repetition's seeds train, and the tag that names the trial."""
        if not self.tunings:
            return self.cell.config, {}
        tuning = self.tunings[repetition]
        best = tuning.results.best_number(self.trials)
        return tuning.configs[best], {Tag.WINNER_TRIAL: str(best)}

    def _plan_seeds(self) -> None:
        """Plan the seeds of each block whose tuning is over, and set aside those of other winners."""
        for block in range(-(-self.repetitions // BLOCK)):
            numbers = range(block * BLOCK, min((block + 1) * BLOCK, self.repetitions))
            if block in self._planned_blocks or any(t.left > 0 for t in self.tunings[numbers.start : numbers.stop]):
                continue
            self._planned_blocks.add(block)
            self._plan_block([number for number in numbers if not self._is_hopeless(number)], numbers)

    def _plan_block(self, repetitions: list[int], block: range) -> None:
        recorded = [row for row in self._rows if row.kind == Kind.SEED and row.repetition in block]
        by_config = {row.tags[Tag.CONFIG]: row for row in reversed(recorded)}  # the newest counts
        wanted: dict[str, tuple[RunConfig, dict[str, str]]] = {}
        for repetition in repetitions:
            winner, tags = self._winner(repetition)
            for seed in self.ablation.evaluation_seeds(repetition):
                config = winner.with_knobs({"seed": seed})
                wanted[config.hash()] = config, {**tags, Tag.REPETITION: str(repetition)}
        planned: list[PlannedRun] = []
        for members in batches([config for config, _ in wanted.values()], self.device):
            for config in members:
                row = by_config.get(config.hash())
                if row is not None and not can_continue(row):
                    self.ended_seeds[config.seed] = row.state
                    self.changed.update(changes_since(row, config, self.tracker))
                    continue
                run = self._seed(config, wanted[config.hash()][1], members)
                planned.append(run if row is None else continued(run, row, self.tracker))
        self._seeds += group_batches(planned)
        for row in recorded:
            superseded = row.tags[Tag.CONFIG] not in wanted  # an earlier winner's, or not one of the planned seeds
            if superseded and Tag.SUPERSEDED not in row.tags:
                self.tracker.tag(row.id, {Tag.SUPERSEDED: "true"})
            elif Tag.SUPERSEDED in row.tags and not superseded:  # it is wanted again
                self.tracker.untag(row.id, Tag.SUPERSEDED)

    def _seed(self, config: RunConfig, tags: dict[str, str], members: tuple[RunConfig, ...]) -> PlannedRun:
        return PlannedRun(
            kind=Kind.SEED,
            label=f"s{config.seed}",
            name=shortened(f"s{config.seed} {self.cell.name}"),
            config=config,
            tags={**tags, MlflowTag.PARENT: self.run, **self.tags},
            metric=self.ablation.metric,
            read_test=True,
            batch=members if len(members) > 1 else (),
            cell=self.cell.name,
        )
