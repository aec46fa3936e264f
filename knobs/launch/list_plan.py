"""Plans for runs that no sampler asks for: a fixed list of tasks."""

from __future__ import annotations

from knobs.job import Outcome
from knobs.launch.task import Task, together


class ListPlan:
    """These tasks, in this order; afterwards `outcomes` holds how each ended, by its label."""

    def __init__(self, experiment: str, tasks: list[Task]) -> None:
        self.experiment, self.total = experiment, len(tasks)
        self.todo = together(tasks)
        self.outcomes: dict[str, Outcome] = {}

    @property
    def left(self) -> int:
        """Tasks that have not ended."""
        return self.total - len(self.outcomes)

    @property
    def done(self) -> bool:
        """Nothing left to hand out."""
        return not self.todo

    @property
    def waiting(self) -> str:
        """Never waits."""
        return ""

    @property
    def headline(self) -> str:
        """Nothing to compare."""
        return ""

    def next(self) -> list[Task]:
        """The next of the list."""
        return self.todo.pop(0) if self.todo else []

    def started(self, task: Task) -> None:
        """Nothing to note."""

    def end_tags(self, task: Task, outcome: Outcome) -> dict[str, str]:
        """None of its own."""
        del task, outcome
        return {}

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Keep the outcome."""
        self.outcomes[task.label] = outcome

    def interrupted(self, task: Task) -> None:
        """The record says it."""
