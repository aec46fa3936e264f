"""An ablation as a plan: every cell's study, then its fresh seeds; a cell that waits lets others have the devices."""

from __future__ import annotations

import json

from knobs import population
from knobs.ablation import Ablation, Cell
from knobs.config import RunConfig
from knobs.job import Outcome
from knobs.launch.study_plan import StudyPlan, identity
from knobs.launch.task import Task, others, take_up, together, unfinished
from knobs.recorded import LEVEL
from knobs.tracking import Row, Tracker


class CellWork:
    """One cell: tuning, then seeds with the winner."""

    def __init__(self, name: str, ablation: Ablation, cell: Cell, tracker: Tracker, device: str) -> None:
        self.device = device
        self.cell, self.ablation, self.tracker = cell, ablation, tracker
        self.tags = {"knobs.ablation": name, "knobs.cell": cell.name}
        self.tags |= {LEVEL + factor: level for factor, level in cell.levels.items()}
        self.experiment = name
        self.tuning = StudyPlan(
            f"{name}.{cell.name.replace(' ', '.')}",
            ablation.study(cell),
            tracker,
            total=ablation.trials,
            experiment=name,
            tags=self.tags,
        )
        self.run = ""
        self.seeds: list[list[Task]] | None = None
        self.ended_seeds: dict[int, str] = {}
        """State of every seed that has ended."""
        self._recorded: list[Row] = []

    def open(self, parent: str, cells: list[Row], fresh: bool) -> None:
        """Find the cell's run, or make it, and take over what it holds."""
        mine = json.dumps(json.loads(json.dumps(identity(self.tuning.study))), sort_keys=True)
        same = [row for row in cells if row.tags["knobs.cell"] == self.cell.name and "knobs.retired" not in row.tags]
        kept = [row for row in same if row.tags["knobs.identity"] == mine and not fresh]
        for row in same:
            if row not in kept:
                self.tracker.tag(row.id, {"knobs.retired": "true"})
        rows: list[Row] = []
        if kept:
            self.run = kept[0].id
            rows = self.tracker.search(
                f"tags.`mlflow.parentRunId` = '{self.run}'", self.tracker.experiment(self.experiment)
            )
        else:
            tags = {
                "knobs.kind": "cell",
                "knobs.identity": mine,
                "knobs.state": "running",
                "mlflow.parentRunId": parent,
            }
            levels = dict(self.cell.levels)
            where = self.tracker.experiment(self.experiment)
            self.run = self.tracker.create(where, self.cell.name[:18], {**tags, **self.tags}, levels)
        self._recorded = [row for row in rows if row.tags["knobs.kind"] == "seed"]
        self.tuning.open(self.run, [row for row in rows if row.tags["knobs.kind"] == "trial"])
        self._plan_seeds()

    @property
    def left(self) -> int:
        """Trials and seeds that have not ended."""
        seeds = 0 if self.hopeless else self.ablation.seeds - len(self.ended_seeds)
        return max(0, self.tuning.left) + seeds

    @property
    def hopeless(self) -> bool:
        """Tuning is over and not one trial finished: reported as such."""
        return self.tuning.left <= 0 and not self._finished_trials()

    @property
    def done(self) -> bool:
        """Everything was handed out."""
        return self.hopeless or (self.seeds is not None and not self.seeds)

    def next(self) -> list[Task]:
        """The next trial, or seeds once all trials have ended."""
        if self.seeds is None:
            return self.tuning.next()
        return self.seeds.pop(0) if self.seeds else []

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Note a trial or a seed; the last trial decides what the seeds train."""
        if task.tags["knobs.kind"] == "trial":
            self.tuning.ended(task, outcome)
            self._plan_seeds()
        else:
            self.ended_seeds[task.config.seed] = outcome.state

    def winner(self) -> RunConfig:
        """The config that validation prefers among the budget's trials."""
        return self.tuning.configs[self.tuning.best_number(self.ablation.trials)]

    def _finished_trials(self) -> list[int]:
        return [n for n in self.tuning.objectives if n < self.ablation.trials]

    def _plan_seeds(self) -> None:
        if self.tuning.left > 0 or self.seeds is not None or not self._finished_trials():
            return
        best, winner = self.tuning.best_number(self.ablation.trials), self.winner()
        tasks: list[Task] = []
        recorded = {row.tags["knobs.config"]: row for row in self._recorded}
        wanted: set[str] = set()
        for seed, members in self._populations(winner).items():
            config = winner.with_knobs({"seed": seed})
            wanted.add(config.to_json())
            row = recorded.get(config.to_json())
            if row is not None and not unfinished(row):
                self.ended_seeds[seed] = row.state
                self.tuning.others.update(others(row, config, self.tracker))
                continue
            tags = {"knobs.kind": "seed", "knobs.winner_trial": str(best), "mlflow.parentRunId": self.run, **self.tags}
            name = f"s{seed} {self.cell.name}"[:18].strip()
            task = Task(name, config, name, tags, test=True, metric=self.ablation.metric, seeds=members)
            if row is not None:
                take_up(task, row, self.tracker)
            tasks.append(task)
        self.seeds = together(tasks)
        for row in self._recorded:  # another winner, since the budget grew: its seeds no longer speak for the cell
            if row.tags["knobs.config"] not in wanted and row.tags["knobs.winner_trial"] != str(best):
                self.tracker.tag(row.id, {"knobs.superseded": "true"})

    def _populations(self, winner: RunConfig) -> dict[int, tuple[int, ...]]:
        """The members of each seed's population; which they are depends on config, device kind and seeds alone.

        A population is trained whole, for those of its members that are not there yet.
        """
        first, count = self.ablation.first_seed, self.ablation.seeds
        size = population.SIZE if population.trains_together(winner, self.device) else 1
        groups = [tuple(range(first + at, first + min(at + size, count))) for at in range(0, count, size)]
        return {seed: group if len(group) > 1 else () for group in groups for seed in group}


class AblationPlan:
    """All cells of an ablation."""

    def __init__(self, name: str, ablation: Ablation, tracker: Tracker, device: str) -> None:
        self.experiment, self.ablation, self.tracker = name, ablation, tracker
        self.cells = [CellWork(name, ablation, cell, tracker, device) for cell in ablation.cells()]
        self._owners: dict[int, CellWork] = {}

    def open(self, parent: str, *, fresh: bool) -> None:
        """Take over every cell's recorded runs."""
        where = self.tracker.experiment(self.experiment)
        rows = self.tracker.search("tags.`knobs.kind` = 'cell'", where)
        for work in self.cells:
            work.open(parent, rows, fresh)

    @property
    def total(self) -> int:
        """Trials and seeds of all cells."""
        return len(self.cells) * (self.ablation.trials + self.ablation.seeds)

    @property
    def left(self) -> int:
        """Those that have not ended."""
        return sum(work.left for work in self.cells)

    @property
    def done(self) -> bool:
        """Everything was handed out."""
        return all(work.done for work in self.cells)

    @property
    def waiting(self) -> str:
        """Why there is nothing now."""
        return "waits for the last trials of a cell"

    @property
    def headline(self) -> str:
        """Cells and seeds so far."""
        tuned = sum(work.tuning.left <= 0 for work in self.cells)
        seeds = sum(len(work.ended_seeds) for work in self.cells)
        total = len(self.cells) * self.ablation.seeds
        return f"{tuned} of {len(self.cells)} cells tuned, {seeds} of {total} seeds trained"

    def next(self) -> list[Task]:
        """What the first cell has that has something."""
        for work in self.cells:
            if tasks := work.next():
                self._owners |= {id(task): work for task in tasks}
                return tasks
        return []

    def started(self, task: Task) -> None:
        """Tell the task's cell."""
        if task.tags["knobs.kind"] == "trial":
            self._owners[id(task)].tuning.started(task)

    def end_tags(self, task: Task, outcome: Outcome) -> dict[str, str]:
        """What the task's cell wants noted."""
        is_trial = task.tags["knobs.kind"] == "trial"
        return self._owners[id(task)].tuning.end_tags(task, outcome) if is_trial else {}

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Tell the task's cell."""
        self._owners.pop(id(task)).ended(task, outcome)

    def interrupted(self, task: Task) -> None:
        """Tell the task's cell."""
        if task.tags["knobs.kind"] == "trial":
            self._owners[id(task)].tuning.interrupted(task)
