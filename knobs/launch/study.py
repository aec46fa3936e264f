"""Launch a study: from checked input to the record."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from knobs import discover, signals
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch.baseline import check_buildable, one_of_each_kind, with_typed_knobs
from knobs.launch.driver import Driver
from knobs.launch.driver.run_notes import launch_command
from knobs.launch.initial_weights import initial_checkpoint
from knobs.launch.plans.run_names import trial_label
from knobs.launch.plans.study_plan import StudyPlan
from knobs.launch.plans.trial_batches import StudyBatches
from knobs.launch.session import Session
from knobs.launch.study_parent import close_study, open_study
from knobs.launch.study_winner import confirm_winner, read_test_of_winner
from knobs.pages.links import publish_pages, say_links
from knobs.record.define import define_study
from knobs.record.definition import definition_to_json
from knobs.record.queries import counted_trials, runs_under
from knobs.record.reader import recorded_under
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Artifact, Tag
from knobs.record.states import StateName
from knobs.record.stores.locks import only_driver
from knobs.record.stores.mlflow_store import Tracker
from knobs.search import Study, check_space
from knobs.terminal.say import how_to_call, say, warn
from knobs.terminal.study_tables import show_best_trials


def launch_study(
    session: Session,
    name: str,
    typed: dict[str, str],
    *,
    trials: int | None = None,
    timeout: float | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    seed: int | None = None,
    confirm: int | None = None,
    record_as: str | None = None,
) -> None:
    """Launch a study, or continue it, up to a total of trials; then read the test split with the winner.

    `timeout` is in seconds. `confirm`: train the winner with so many fresh seeds in the end.
    Raise `AnswerNoError` if no trial finished.
    """
    study = load_study(name, typed, sampler=sampler, pruner=pruner, seed=seed)
    for config in one_of_each_kind([study.baseline, *check_space(name, study)]):
        check_buildable(config)
    total = trials if trials is not None else study.trials
    about = discover.load("studies", name).__doc__ or ""
    options = {"as": record_as, "trials": total, "sampler": sampler, "pruner": pruner, "seed": seed}
    options["confirm"] = confirm
    command = launch_command("study", name, options, typed)
    name = record_as or name
    tracker, driver, display = session.open(name, study.baseline.data)
    initial_checkpoint(tracker, study.baseline)  # is it there?
    with signals.held(), only_driver(session.places, name):
        deadline = None if timeout is None else time.monotonic() + timeout
        plan = StudyPlan(name, study, tracker, total=total, deadline=deadline)
        plan.train_together(StudyBatches(plan.search, session.devices[0].kind), [plan], 0)
        _say_plan(plan, total, len(session.devices))
        parent = open_study(tracker, name, study, fresh=session.fresh)
        definition = definition_to_json(define_study(name, study, about, plan.total))
        tracker.upload_texts(parent.id, {Artifact.DEFINITION: definition})
        driver.opener.fresh = Tag.FRESH in parent.tags
        tracker.tag(parent.id, {Tag.COMMAND: command})
        publish_pages(tracker, name)
        state = StateName.INTERRUPTED
        try:
            plan.open(parent.id, counted_trials(runs_under(tracker, parent.id, parent.experiment)))
            if plan.search.history or plan.resumed:
                say(f"{name}: continues after {len(plan.search.history)} trials, {len(plan.resumed)} interrupted")
            if plan.missing:
                gone = ", ".join(map(trial_label, plan.missing))
                warn(f"missing in the record, so trained again with the same knobs: {gone}")
            for how, number in plan.changed.items():
                warn(f"{number} recorded trials were trained {how}; --fresh sets them aside")
            with display:
                driver.run(plan)
            if plan.results.values:
                read_test_of_winner(driver, tracker, plan)
                confirm_winner(driver, tracker, plan, confirm or 0, session.devices[0].kind)
            state = StateName.FINISHED
        finally:
            close_study(tracker, plan, parent.id, state)
        publish_pages(tracker, name)
    _print_results(tracker, driver, plan)


def load_study(
    name: str, typed: dict[str, str], *, sampler: str | None = None, pruner: str | None = None, seed: int | None = None
) -> Study:
    """Return the study in the file of this name, changed as the command line says."""
    if name in discover.files("experiments"):
        raise BadInputError(f"{name!r} is an ablation; run it with: knobs ablate {name}")
    found = discover.the_one(discover.load("studies", name), Study)
    changed: dict[str, Any] = {"sampler": sampler, "pruner": pruner, "seed": seed}
    found = replace(found, **{key: value for key, value in changed.items() if value is not None})
    return replace(found, baseline=with_typed_knobs(found.baseline, typed)) if typed else found


def _say_plan(plan: StudyPlan, asked: int, workers: int) -> None:
    """Say how many points of a grid will be trained, and whether workers will wait for other trials."""
    study, lag = plan.study, plan.study.feedback_lag
    if study.sampler == "grid":
        points = len(study.grid())
        if points < asked:
            say(f"{plan.name}: the grid has {points} points, so the study ends after {points} trials, not {asked}")
        elif points > asked:
            say(f"{plan.name}: {asked} of the grid's {points} points; --trials {points} trains all")
    if workers > lag and not plan.search.is_independent(plan.total - 1):
        warn(f"{workers} workers but a feedback lag of {lag}: some will be idle; the lag is part of the study")


def _print_results(tracker: Tracker, driver: Driver, plan: StudyPlan) -> None:
    """Print the best trial, the five best, and the commands and links for more."""
    ended, counts = len(plan.search.history), _counts(plan)
    if not plan.results.values:
        raise AnswerNoError(f"{plan.name}: none of {ended} trials finished ({counts})")
    recorded = recorded_under(tracker, plan.name, tracker.get(plan.parent))
    assert isinstance(recorded, RecordedStudy)
    show_best_trials(recorded)
    say(f"{ended} trials: {counts}; devices idle {driver.device_time.idle_share:.1%} of the time")
    say("look further:")
    say(f"  {how_to_call('knobs')} status {plan.name}")
    if not tracker.places.storage:
        say(f"  {how_to_call('optuna-dashboard')} {tracker.places.optuna_url}")
    say(f"  {how_to_call('knobs')} ui, then open")
    say_links(tracker, plan.name)


def _counts(plan: StudyPlan) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(plan.results.counts.items()))
