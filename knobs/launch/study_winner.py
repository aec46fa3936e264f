"""The winner of a study: its test metrics, read once, and fresh seeds that confirm it."""

from __future__ import annotations

from knobs.code import training_code_hash
from knobs.config import RunConfig
from knobs.launch.driver import Driver
from knobs.launch.plans import FinishedRun, FixedPlan, PlannedRun
from knobs.launch.plans.continuing import can_continue, continued
from knobs.launch.plans.recorded_trials import recorded_replicates
from knobs.launch.plans.replicated_trials import write_test_means
from knobs.launch.plans.run_names import shortened, trial_label
from knobs.launch.plans.study_plan import StudyPlan
from knobs.record.queries import counted_trials, newest_by_number, runs_under
from knobs.record.runs import recorded_config
from knobs.record.schema import Artifact, Kind, MlflowTag, Tag, is_test
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.terminal.say import warn
from knobs.training.batch.rule import batches

FRESH_SEEDS_FROM = 1000
"""Fresh seeds are the winner's seed plus 1000, 1001, ...: a study's trials have none of them."""

SEEDS_TOGETHER = 5
"""Fresh seeds that train as one batch, if they can."""


def read_test_of_winner(driver: Driver, tracker: Tracker, plan: StudyPlan) -> None:
    """Read the winner's test metrics, once, and mark it as the winner. With replicates, each of them reads them."""
    number = plan.results.best_number()
    rows = counted_trials(runs_under(tracker, plan.parent, tracker.experiment(plan.name)))
    winner = next(row for row in rows if row.trial == number)
    for other in rows:
        if Tag.WINNER in other.tags and other.id != winner.id:
            below = runs_under(tracker, other.id, other.experiment) if other.replicated else []
            for row in (other, *below):
                tracker.tag(row.id, {Tag.WINNER: "false"})
    if not any(map(is_test, winner.metrics)):
        if winner.tags.get(Tag.CODE) == training_code_hash(plan.configs[number].content()):
            _read_test(driver, tracker, plan, winner)
        else:
            warn(
                f"the test split of the winner, {trial_label(number)}, is not read: its code was edited since it was "
                f"trained; restore the code and run the command again"
            )
    tracker.tag(winner.id, {Tag.WINNER: "true"})


def _read_test(driver: Driver, tracker: Tracker, plan: StudyPlan, winner: Row) -> None:
    def trained() -> list[Row]:
        """Return the runs whose weights the winner's test metrics are of."""
        return recorded_replicates(tracker, winner) or [winner]

    reading = FixedPlan(
        plan.name,
        [
            PlannedRun(
                kind=row.kind,
                label=row.name,
                name=row.name,
                config=recorded_config(tracker, row),
                read_test=True,
                reads_test_of=FinishedRun(
                    row=row, checkpoint=tracker.artifact(row.trained_run, Artifact.BEST_CHECKPOINT)
                ),
            )
            for row in trained()
            if not any(map(is_test, row.metrics))
        ],
    )
    driver.run(reading)
    failed = [outcome.message for outcome in reading.outcomes.values() if outcome.state != StateName.FINISHED]
    if failed:
        warn(f"the test split of the winner, {trial_label(winner.trial)}, was not read: {failed[0]}")
    elif winner.replicated:
        rows = trained()
        write_test_means(tracker, winner.id, rows)
        for row in rows:
            tracker.tag(row.id, {Tag.WINNER: "true"})


def confirm_winner(driver: Driver, tracker: Tracker, plan: StudyPlan, seeds: int, device: str) -> None:
    """Train the winner with so many fresh seeds, and set aside those of an earlier winner."""
    number = plan.results.best_number()
    rows = [row for row in runs_under(tracker, plan.parent, tracker.experiment(plan.name)) if row.kind == Kind.SEED]
    for row in rows:
        counts, set_aside = row.tags[Tag.WINNER_TRIAL] == str(number), Tag.SUPERSEDED in row.tags
        if counts and set_aside:
            tracker.untag(row.id, Tag.SUPERSEDED)
        elif not counts and not set_aside:
            tracker.tag(row.id, {Tag.SUPERSEDED: "true"})
    own = [row for row in rows if row.tags[Tag.WINNER_TRIAL] == str(number)]
    recorded = {row.seed: row for row in newest_by_number(own, lambda row: (row.seed,))}
    planned: list[PlannedRun] = []
    for members in _fresh_batches(plan.configs[number], seeds, device):
        for member in members:
            known = recorded.get(member.seed)
            if member.seed >= plan.configs[number].seed + FRESH_SEEDS_FROM + seeds:
                continue
            run = _fresh_seed(plan, number, member, members)
            if known is None:
                planned.append(run)
            elif can_continue(known):
                planned.append(continued(run, known, tracker))
    if planned:
        driver.run(FixedPlan(plan.name, planned))


def _fresh_batches(winner: RunConfig, seeds: int, device: str) -> list[tuple[RunConfig, ...]]:
    """Return the fresh seeds in batches that do not depend on how many are asked for: the last may hold more."""
    blocks = range(0, seeds, SEEDS_TOGETHER)
    every = [
        [winner.with_knobs({"seed": winner.seed + FRESH_SEEDS_FROM + first + at}) for at in range(SEEDS_TOGETHER)]
        for first in blocks
    ]
    return [members for block in every for members in batches(block, device)]


def _fresh_seed(plan: StudyPlan, winner: int, config: RunConfig, members: tuple[RunConfig, ...]) -> PlannedRun:
    return PlannedRun(
        kind=Kind.SEED,
        label=f"s{config.seed}",
        name=shortened(f"s{config.seed} {trial_label(winner)}"),
        config=config,
        tags={Tag.STUDY: plan.name, Tag.WINNER_TRIAL: str(winner), MlflowTag.PARENT: plan.parent},
        metric=plan.study.metric,
        read_test=True,
        batch=members if len(members) > 1 else (),
    )
