"""A recorded run as it is read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mlflow.entities import Run

from knobs.record.schema import Tag
from knobs.record.states import is_ended, is_finished


@dataclass(frozen=True)
class Row:
    """One recorded run: MLflow's fields under our words."""

    id: str
    experiment: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    start_ms: int
    end_ms: int | None
    artifacts: str

    @classmethod
    def of(cls, run: Run) -> Row:
        """Return MLflow's run as a row."""
        return cls(
            id=run.info.run_id,
            experiment=str(run.info.experiment_id),
            name=run.info.run_name,
            status=run.info.status,
            tags=dict(run.data.tags),
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
            start_ms=run.info.start_time,
            end_ms=run.info.end_time,
            artifacts=run.info.artifact_uri,
        )

    @property
    def kind(self) -> str:
        """One of `Kind`; empty if knobs did not record the run."""
        return self.tags.get(Tag.KIND, "")

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return self.tags.get(Tag.STATE, "")

    @property
    def ended(self) -> bool:
        """True if the run will not continue."""
        return is_ended(self.state)

    @property
    def finished(self) -> bool:
        """True if the run has values at the checkpoint that validation chose."""
        return is_finished(self.state)

    @property
    def trial(self) -> int:
        """The number of a trial."""
        return int(self.tags[Tag.TRIAL])

    @property
    def replicate(self) -> int:
        """The number of a replicate within its trial."""
        return int(self.tags[Tag.REPLICATE])

    @property
    def replicated(self) -> bool:
        """True for a trial that trains nothing itself: its replicates are the runs below it."""
        return Tag.REPLICATES in self.tags

    @property
    def repetition(self) -> int:
        """The repetition of an ablation that a trial or a fresh seed belongs to."""
        return int(self.tags.get(Tag.REPETITION, "0"))

    @property
    def seed(self) -> int:
        """The seed of a run's config."""
        return int(self.tags[Tag.SEED])

    @property
    def levels(self) -> dict[str, str]:
        """Level by factor of a cell, trial or seed of an ablation."""
        return {k.removeprefix(Tag.LEVEL): level for k, level in self.tags.items() if k.startswith(Tag.LEVEL)}

    @property
    def trained_run(self) -> str:
        """Id of the run that was trained: this one, or the one whose values it took over."""
        return self.tags.get(Tag.REUSED_FROM, self.id)

    @property
    def folder(self) -> Path | None:
        """The folder of its artifacts if that is on this machine."""
        scheme, _, path = self.artifacts.rpartition("://")
        return Path(unquote(path) if scheme else path) if scheme in ("", "file") else None
