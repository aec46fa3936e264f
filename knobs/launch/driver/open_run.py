"""A run that the driver has opened: what the recorder has written of it and has yet to write."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from knobs.code import Reads
from knobs.config import RunConfig
from knobs.launch.plans.plan import PlannedRun
from knobs.record.schema import Metric, Tag
from knobs.training import CurvePoint, Outcome, TrainJob


@dataclass(eq=False)
class OpenRun:
    """One run between its plan and its end."""

    planned: PlannedRun
    config: RunConfig = field(init=False)
    """Its config, as a tree of the classes that are imported now."""
    id: str = ""
    """Id of the MLflow run, once it has one."""
    code: str = ""
    """Hash of the code that trains it; empty until it is opened in this launch."""
    outdated_workers: int = 0
    """How many workers refused it because they had imported other code."""
    reads: Reads = field(default_factory=Reads)
    """Its recorded reads besides its data."""
    fingerprint: str = ""
    """Fingerprint of its data."""
    identity: str = ""
    """Hash that is equal in runs that must come out the same."""
    attempt: int = 0
    """How often it was handed to a worker."""
    lost_workers: int = 0

    last_step: int = -1
    """Last step in the store. Points up to it are replays."""
    singles: set[str] = field(default_factory=set)
    """Single values that are in the store."""
    pending: list[CurvePoint] = field(default_factory=list)
    """Points that are not in the store yet."""

    reused_from: str = ""
    """The finished run whose values it takes over."""
    carried: dict[str, float] = field(default_factory=dict)
    """Single values of that run, if only the test split has yet to be read."""
    checkpoint: Path | None = None
    """The checkpoint to evaluate instead of training."""

    alone: bool = False
    """It ran out of memory and is tried once more, alone on its card."""

    step: int = 0
    value: float | None = None
    """Latest step, and the metric's value there, for the display."""

    def __post_init__(self) -> None:
        self.config = self.planned.config

    @classmethod
    def of(cls, planned: PlannedRun) -> OpenRun:
        """Return a planned run that is about to be opened; one that continues keeps its MLflow run."""
        run = cls(planned)
        if (old := planned.continues) is not None:
            run.id, run.fingerprint, run.attempt = old.id, old.fingerprint, old.attempt
            run.lost_workers, run.last_step, run.singles = old.lost_workers, old.last_step, set(old.singles)
        if (reading := planned.reads_test_of) is not None:
            run.id, run.checkpoint = reading.row.id, reading.checkpoint
            run.fingerprint = reading.row.tags.get(Tag.DATA, "")  # the test split of what it was trained on
            run.code = reading.row.tags.get(Tag.CODE, "")  # and read by the code that trained it
        return run

    @property
    def trains(self) -> bool:
        """False if it only reads the test split of a run that has ended."""
        return self.planned.reads_test_of is None

    @property
    def has_trained(self) -> bool:
        """True if some of its steps are in the store or about to be."""
        return self.last_step >= 0 or bool(self.pending)

    def completed(self, outcome: Outcome) -> Outcome:
        """Return an outcome with the values of the reused run, if only its test split was read now."""
        if not self.carried or outcome.state != "finished":
            return outcome
        best_step = int(self.carried[Metric.BEST_STEP])
        return replace(outcome, best_step=best_step, summary={**self.carried, **outcome.summary})

    def receive(self, point: CurvePoint) -> None:
        """Keep a point to be written. Points up to the last written step are replays and are dropped."""
        self.step, self.value = point.step, point.values.get(self.planned.metric)
        if point.step > (self.pending[-1].step if self.pending else self.last_step):
            self.pending.append(point)

    def job(self, scratch: Path, cache: Path, resume: tuple[Path, ...], initial: Path | None) -> TrainJob:
        """Return the job for a worker. `scratch` is the run's folder; `resume` has checkpoints, the furthest first.

        `initial`: the checkpoint with its initial weights.
        """
        planned = self.planned
        return TrainJob(
            run=self.id,
            config=self.config.to_json(),
            folder=scratch / f"attempt-{self.attempt}",
            cache=cache,
            code=self.code,
            fingerprint=self.fingerprint,
            initial=initial,
            resume=resume,
            batch=tuple(member.to_json() for member in planned.batch),
            read_test=planned.read_test,
            pruning_metric=planned.metric if planned.should_continue and planned.prunes else None,
            evaluate_checkpoint=self.checkpoint,
        )
