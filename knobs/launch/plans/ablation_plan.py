"""An ablation as a plan: every cell's trials, then its seeds. A cell that waits leaves the workers to others."""

from __future__ import annotations

from knobs.ablation import Ablation
from knobs.launch.plans.cell_plan import CellPlan
from knobs.launch.plans.plan import PlannedRun
from knobs.record.queries import runs_of_kind
from knobs.record.schema import Kind
from knobs.record.stores.mlflow_store import Tracker
from knobs.training import Outcome


class AblationPlan:
    """All cells of an ablation."""

    def __init__(self, name: str, ablation: Ablation, tracker: Tracker, device: str) -> None:
        self.experiment, self.ablation, self.tracker = name, ablation, tracker
        self.cells = {cell.name: CellPlan(name, ablation, cell, tracker, device) for cell in ablation.cells()}

    def extend(self, repetitions: int) -> None:
        """Plan repetitions up to this number; those that were planned before stay as they are."""
        for cell in self.cells.values():
            cell.extend(repetitions)

    def open(self, parent: str, *, fresh: bool) -> None:
        """Take over every cell's recorded runs."""
        rows = runs_of_kind(self.tracker, Kind.CELL, self.tracker.experiment(self.experiment))
        for cell in self.cells.values():
            cell.open(parent, rows, fresh=fresh)

    @property
    def total(self) -> int:
        """Trials and seeds of all cells."""
        return sum(cell.total for cell in self.cells.values())

    @property
    def left(self) -> int:
        """Trials and seeds that have not ended."""
        return sum(cell.left for cell in self.cells.values())

    @property
    def done(self) -> bool:
        """True if everything was handed out."""
        return all(cell.done for cell in self.cells.values())

    @property
    def waiting(self) -> str:
        """Why there is nothing to train now."""
        return "waits for the last trials of a cell"

    @property
    def headline(self) -> str:
        """Cells and seeds so far."""
        tunings = [tuning for cell in self.cells.values() for tuning in cell.tunings]
        tuned = sum(tuning.left <= 0 for tuning in tunings)
        seeds = sum(len(cell.ended_seeds) for cell in self.cells.values())
        total = sum(cell.planned_seeds for cell in self.cells.values())
        return f"{tuned} of {len(tunings)} tunings, {seeds} of {total} fresh seeds trained"

    def next(self) -> list[PlannedRun]:
        """Return what the first cell has that has something."""
        return next((planned for cell in self.cells.values() if (planned := cell.next())), [])

    def started(self, planned: PlannedRun) -> None:
        """Inform the cell's search."""
        if planned.kind != Kind.SEED:
            self.cells[planned.cell].tuning_of(planned).started(planned)

    def end_tags(self, planned: PlannedRun) -> dict[str, str]:
        """Return the tags of the cell's search."""
        return {} if planned.kind == Kind.SEED else self.cells[planned.cell].tuning_of(planned).end_tags(planned)

    def ended(self, planned: PlannedRun, run: str, state: str, outcome: Outcome) -> None:
        """Inform the cell."""
        self.cells[planned.cell].ended(planned, run, state, outcome)

    def interrupted(self, planned: PlannedRun) -> None:
        """Inform the cell's search."""
        if planned.kind != Kind.SEED:
            self.cells[planned.cell].tuning_of(planned).interrupted(planned)

    def close(self) -> None:
        """Leave what has not ended to be continued later."""
        for cell in self.cells.values():
            for tuning in cell.tunings:
                tuning.close()
