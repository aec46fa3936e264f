"""Plans the runs that train a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from knobs.config import RunConfig, Value
from knobs.launch.plans.plan import PlannedRun
from knobs.launch.plans.replicated_trials import open_trial
from knobs.launch.plans.run_names import trial_label, trial_name
from knobs.launch.plans.trial_batches import Place, TrialBatches
from knobs.launch.plans.trial_in_training import TrialInTraining
from knobs.record.schema import Kind, MlflowTag, Tag
from knobs.record.spaces import SpaceStore
from knobs.record.stores.mlflow_store import Tracker
from knobs.search import PendingTrial, Study


@dataclass(kw_only=True)
class TrialRuns:
    """Plans the runs of one study's trials: one run a trial, or one a replicate below a run of the trial's own."""

    study: Study
    tracker: Tracker
    name: str
    experiment: str
    cell: str = ""
    """The cell of an ablation that the study tunes."""
    tags: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    """Stands before the labels of trials."""
    batches: TrialBatches
    """Which runs train together."""
    index: int = 0
    """The number of this study's search in `batches`."""
    spaces: SpaceStore = field(init=False)
    """The spaces of the study's or cell's run, which the trials are below; set once it is open."""

    def begin(self, asked: PendingTrial, row: str = "") -> TrialInTraining:
        """Begin a trial. One with replicates gets a run of its own, unless `row` is it."""
        count = self.study.replicates.count
        if count > 1 and not row:
            name = trial_name(self._label(asked), asked.trial.params)
            tags = {**self._tags(asked), MlflowTag.PARENT: self.spaces.owner}
            row = open_trial(self.tracker, self.experiment, name, asked.config, count, tags)
        return TrialInTraining(asked, count, self.study.pruner == "wilcoxon", row)

    def run_of(self, trial: TrialInTraining, replicate: int) -> PlannedRun:
        """Return the run of a replicate; the one run of a trial without replicates."""
        asked, single = trial.asked, not trial.row
        label = self._label(asked) + ("" if single else f".{replicate}")
        values: dict[str, Value] = dict(asked.trial.params)
        below = {MlflowTag.PARENT: trial.row or self.spaces.owner}
        planned = PlannedRun(
            kind=Kind.TRIAL if single else Kind.REPLICATE,
            label=label,
            name=trial_name(label, values),
            config=self.study.replicates.configs(asked.config)[replicate],
            tags={**self._tags(asked), **below, **({} if single else {Tag.REPLICATE: str(replicate)})},
            metric=self.study.metric,
            should_continue=asked.report if single else None,
            prunes=self.study.pruner != "none",
            cell=self.cell,
        )
        return replace(planned, batch=tuple(self.members(trial, replicate).values()))

    def members(self, trial: TrialInTraining, replicate: int) -> dict[Place, RunConfig]:
        """Return the runs that train together with a run, itself included; empty if it trains alone."""
        return self.batches.members(Place(self.index, trial.asked.number, replicate), trial.asked.config)

    def _label(self, asked: PendingTrial) -> str:
        return self.prefix + trial_label(asked.number)

    def _tags(self, asked: PendingTrial) -> dict[str, str]:
        return {
            Tag.STUDY: self.name,
            Tag.TRIAL: str(asked.number),
            Tag.SPACE: self.spaces.key(asked.trial.distributions),
            **self.tags,
        }


def trial_number(planned: PlannedRun) -> int:
    """Return the number of a run's trial."""
    return int(planned.tags[Tag.TRIAL])


def replicate_number(planned: PlannedRun) -> int:
    """Return the number of a run within its trial."""
    return int(planned.tags.get(Tag.REPLICATE, "0"))
