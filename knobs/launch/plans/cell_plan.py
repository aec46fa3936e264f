"""One cell of an ablation as a plan: trials that tune it, then fresh seeds with the winner."""

from __future__ import annotations

import json

from knobs.ablation import Ablation, Cell
from knobs.config import RunConfig
from knobs.launch.plans.continuing import can_continue, continued
from knobs.launch.plans.plan import PlannedRun, group_batches
from knobs.launch.plans.run_names import shortened
from knobs.launch.plans.study_plan import StudyPlan
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


class CellPlan:
    """The trials and seeds of one cell."""

    def __init__(self, name: str, ablation: Ablation, cell: Cell, tracker: Tracker, device: str) -> None:
        self.cell, self.ablation, self.tracker, self.device = cell, ablation, tracker, device
        self.tags = {Tag.ABLATION: name, Tag.CELL: cell.name, **level_tags(cell.levels.items())}
        self.experiment = name
        self.tuning = StudyPlan(
            f"{name}.{cell.name.replace(' ', '.')}",
            ablation.study(cell),
            tracker,
            total=ablation.trials,
            experiment=name,
            cell=cell.name,
            tags=self.tags,
            batched_on=device,
        )
        self.run = ""
        """The cell's MLflow run, once it is open."""
        self.ended_seeds: dict[int, str] = {}
        """State of every seed that has ended."""
        self._seeds: list[list[PlannedRun]] | None = None
        """Seeds that have yet to be handed out; None until the winner is known."""
        self._recorded: list[Row] = []

    def open(self, parent: str, cells: list[Row], *, fresh: bool) -> None:
        """Find the cell's run among `cells`, or create it, and take over its trials and seeds."""
        where = self.tracker.experiment(self.experiment)
        identity = short_hash(json.loads(json.dumps(study_identity(self.tuning.study))))
        same = [row for row in cells if row.tags[Tag.CELL] == self.cell.name and Tag.RETIRED not in row.tags]
        kept = [row for row in same if row.tags[Tag.IDENTITY] == identity and not fresh]
        for row in same:
            if row not in kept:
                self.tracker.tag(row.id, {Tag.RETIRED: "true"})
        rows: list[Row] = []
        if kept:
            self.run = kept[0].id
            rows = runs_under(self.tracker, self.run, where)
        else:
            tags = {
                Tag.KIND: Kind.CELL,
                Tag.IDENTITY: identity,
                Tag.STATE: StateName.RUNNING,
                MlflowTag.PARENT: parent,
            }
            levels = dict(self.cell.levels)
            self.run = self.tracker.create(where, shortened(self.cell.name), {**tags, **self.tags}, levels)
        self._recorded = [row for row in rows if row.kind == Kind.SEED]
        self.tuning.open(self.run, counted_trials(rows))
        self._plan_seeds()

    @property
    def left(self) -> int:
        """Trials and seeds that have not ended."""
        seeds = 0 if self.hopeless else self.ablation.seeds - len(self.ended_seeds)
        return max(0, self.tuning.left) + seeds

    @property
    def hopeless(self) -> bool:
        """True if tuning is over and no trial finished."""
        return self.tuning.left <= 0 and not self._finished_trials()

    @property
    def done(self) -> bool:
        """True if everything was handed out."""
        return self.hopeless or (self._seeds is not None and not self._seeds)

    def next(self) -> list[PlannedRun]:
        """Return the next trial or batch of trials; after the last trial ended, the next seed or batch of seeds."""
        if self._seeds is None:
            return self.tuning.next()
        return self._seeds.pop(0) if self._seeds else []

    def ended(self, planned: PlannedRun, run: str, state: str, outcome: Outcome) -> None:
        """Note the end of a trial or a seed. The last trial decides what the seeds train."""
        if planned.kind == Kind.TRIAL:
            self.tuning.ended(planned, run, state, outcome)
            self._plan_seeds()
        else:
            self.ended_seeds[planned.config.seed] = state

    def _finished_trials(self) -> list[int]:
        return [n for n in self.tuning.values if n < self.ablation.trials]

    def _plan_seeds(self) -> None:
        """Once tuning is over, plan the seeds that the winner still needs, and set aside those of another winner."""
        if self.tuning.left > 0 or self._seeds is not None or not self._finished_trials():
            return
        best = self.tuning.best_number(self.ablation.trials)
        winner = self.tuning.configs[best]
        recorded = {row.tags[Tag.CONFIG]: row for row in reversed(self._recorded)}  # the newest counts
        planned: list[PlannedRun] = []
        wanted: set[str] = set()
        first = self.ablation.first_seed
        seeds = [winner.with_knobs({"seed": first + at}) for at in range(self.ablation.seeds)]
        groups = [(config, group) for group in batches(seeds, self.device) for config in group]
        for config, members in groups:
            wanted.add(config.hash())
            row = recorded.get(config.hash())
            if row is not None and not can_continue(row):
                self.ended_seeds[config.seed] = row.state
                self.tuning.changed.update(changes_since(row, config, self.tracker))
                continue
            run = self._seed(config, best, members)
            planned.append(run if row is None else continued(run, row, self.tracker))
        self._seeds = group_batches(planned)
        for row in self._recorded:
            superseded = row.tags[Tag.CONFIG] not in wanted  # an earlier winner's, or not one of the planned seeds
            if superseded and Tag.SUPERSEDED not in row.tags:
                self.tracker.tag(row.id, {Tag.SUPERSEDED: "true"})
            elif Tag.SUPERSEDED in row.tags and not superseded:  # it is wanted again
                self.tracker.untag(row.id, Tag.SUPERSEDED)

    def _seed(self, config: RunConfig, winner: int, members: tuple[RunConfig, ...]) -> PlannedRun:
        return PlannedRun(
            kind=Kind.SEED,
            label=f"s{config.seed}",
            name=shortened(f"s{config.seed} {self.cell.name}"),
            config=config,
            tags={Tag.WINNER_TRIAL: str(winner), MlflowTag.PARENT: self.run, **self.tags},
            metric=self.ablation.metric,
            read_test=True,
            batch=members if len(members) > 1 else (),
            cell=self.cell.name,
        )
