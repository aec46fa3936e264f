"""`knobs run` and `knobs study`: from checked input to the record."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from knobs import data, definition, discover, signals
from knobs.ablation import Ablation
from knobs.config import RunConfig
from knobs.data import monitored
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch import links, notes
from knobs.launch.driver import Driver
from knobs.launch.list_plan import ListPlan
from knobs.launch.session import Session, how_to_call, only_driver, say, warn
from knobs.launch.study_plan import StudyPlan, changes, identity
from knobs.launch.task import Task, take_up, unfinished
from knobs.study import Study
from knobs.tracking import Row, Tracker


def with_typed_knobs(config: RunConfig, typed: dict[str, str]) -> RunConfig:
    """A config with knobs as they were typed on the command line; kinds first, since they decide what else there is."""
    for name, text in sorted(typed.items(), key=lambda item: not item[0].endswith(".kind")):
        config = config.with_knobs({name: config.parse_knob(name, text)})
    return config


def check_buildable(config: RunConfig) -> None:
    """Raises `BadInputError`, one sentence, where the network cannot take the data, or the metric is none of it."""
    from knobs import batch_of_one  # imports torch

    spec = config.data.spec()
    config.model.build(spec)
    batch_of_one.check(config)
    monitored(spec, config.training.monitor)


def baseline_of(name: str) -> RunConfig:
    """The baseline of a study or an ablation."""
    folder, module = discover.find(name)
    if folder == "studies":
        return discover.the_one(module, Study).baseline
    return discover.the_one(module, Ablation).baseline


def run(session: Session, name: str, typed: dict[str, str], source: str | None) -> None:
    """Train a baseline, or a recorded run's config, with these knobs; read validation and test."""
    if source is None:
        config, experiment, origin = baseline_of(name), name, {}
        config = with_typed_knobs(config, typed)
        check_buildable(config)
        tracker, driver, display = session.open(name, config.data)
    else:
        if session.places.tracking_uri is None and not session.places.database.exists():
            raise BadInputError(f"no run {source!r}: nothing is recorded yet in {session.places.folder}")
        tracker, driver, display = session.open(source[:8])
        row = tracker.get(source)
        if "knobs.config" not in row.tags:
            raise BadInputError(f"run {source} was not recorded by knobs: it has no config")
        config = with_typed_knobs(RunConfig.from_json(row.tags["knobs.config"]), typed)
        check_buildable(config)
        data.check(config.data, session.places.cache)
        experiment = name = row.tags.get("knobs.study") or row.tags.get("knobs.name", "runs")
        origin = {"knobs.from": source}
    tags = {"knobs.kind": "run", "knobs.name": name, **origin}
    shown = "run" + "".join(f" {text}" for text in typed.values())
    metric = f"val/{monitored(config.data.spec(), config.training.monitor)}"
    with signals.held(), only_driver(session.places, f"{name}.run-{config.digest('')[:12]}"):
        task = Task("run", config, shown[:18].strip(), tags, test=True, metric=metric)
        if not session.fresh:
            _take_up_interrupted(tracker, task, experiment)
        plan = ListPlan(experiment, [task])
        with display:
            driver.run(plan)
    outcome = plan.outcomes["run"]
    if outcome.state != "finished":
        raise AnswerNoError(f"the run ended as {outcome.state}: {outcome.message} (run {task.run})")
    values = outcome.summary
    for split in ("best/val", "best/train", "test"):
        line = "  ".join(f"{k.rpartition('/')[2]} {v:.4f}" for k, v in values.items() if k.startswith(f"{split}/"))
        say(f"{split.removeprefix('best/'):<6} {line}")
    say(f"at step {int(values['best/step'])} of {config.training.max_steps}; run {task.run}")
    say(f"look further: {how_to_call('knobs')} ui, then")
    links.say_links(tracker, experiment, run=task.run, publish=True)


def _take_up_interrupted(tracker: Tracker, task: Task, experiment: str) -> None:
    """If this very run was interrupted before, go on with it."""
    where = tracker.experiment(experiment)
    for row in tracker.search("tags.`knobs.kind` = 'run' and tags.`knobs.state` != 'finished'", where):
        if unfinished(row) and row.tags.get("knobs.config") == task.config.to_json():
            take_up(task, row, tracker)
            return


def study(
    session: Session,
    name: str,
    typed: dict[str, str],
    *,
    trials: int | None = None,
    timeout: float | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    seed: int | None = None,
    record_as: str | None = None,
) -> None:
    """Launch a study, or go on with it, up to a total of trials; then read the test split with the winner."""
    found = load_study(name, typed, sampler=sampler, pruner=pruner, seed=seed)
    check_buildable(found.baseline)
    total = trials if trials is not None else found.trials
    if len(session.devices) > found.lag:
        warn(f"{len(session.devices)} workers but a lag of {found.lag}: some will idle; the lag is part of the study")
    about = discover.load("studies", name).__doc__ or ""
    options = {"as": record_as, "trials": total, "sampler": sampler, "pruner": pruner, "seed": seed}
    described = notes.of_command("study", name, options, typed)
    name = record_as or name
    tracker, driver, display = session.open(name, found.baseline.data)
    with signals.held(), only_driver(session.places, name):
        deadline = None if timeout is None else time.monotonic() + timeout
        plan = StudyPlan(name, found, tracker, total=total, deadline=deadline)
        parent, rows = open_parent(tracker, name, found, fresh=session.fresh)
        told = definition.of_study(name, found, about, total)
        tracker.upload_texts(parent.id, {definition.FILE: definition.to_json(told)})
        driver.fresh = "knobs.fresh" in parent.tags
        tracker.tag(parent.id, described)
        links.links(tracker, name, publish=True)
        state = "interrupted"
        try:
            plan.open(parent.id, rows)
            if plan.search.history or plan.resumed:
                say(f"{name}: goes on after {len(plan.search.history)} trials, {len(plan.resumed)} interrupted")
            for how, number in plan.others.items():
                warn(f"{number} recorded trials were trained {how}; --fresh sets them aside")
            with display:
                driver.run(plan)
            if plan.objectives:
                _read_test(driver, tracker, plan, parent.id)
            state = "finished"
        finally:
            _close_parent(tracker, plan, parent.id, state)
        links.links(tracker, name, publish=True)
    report_study(tracker, driver, plan, parent.id)


def load_study(
    name: str, typed: dict[str, str], *, sampler: str | None = None, pruner: str | None = None, seed: int | None = None
) -> Study:
    """The study in the file of this name, changed as the command line says."""
    if name in discover.files("experiments"):
        raise BadInputError(f"{name!r} is an ablation; run it with: knobs ablate {name}")
    found = discover.the_one(discover.load("studies", name), Study)
    changed: dict[str, Any] = {"sampler": sampler, "pruner": pruner, "seed": seed}
    found = replace(found, **{key: value for key, value in changed.items() if value is not None})
    return replace(found, baseline=with_typed_knobs(found.baseline, typed)) if typed else found


def open_parent(tracker: Tracker, name: str, found: Study, *, fresh: bool) -> tuple[Row, list[Row]]:
    """The study's parent run and its recorded trials. Raises `BadInputError` where they belong to another study."""
    experiment = tracker.experiment(name)
    parents = tracker.search("tags.`knobs.kind` = 'study'", experiment)
    current = [row for row in parents if "knobs.retired" not in row.tags]
    mine = json.loads(json.dumps(identity(found)))
    params = {"metric": found.metric, "direction": found.direction}
    if fresh:
        for row in current:
            tracker.tag(row.id, {"knobs.retired": "true"})
    elif current:
        old = json.loads(current[0].tags["knobs.identity"])
        if differ := changes(old, mine):
            raise BadInputError(
                f"{name} was started with other settings: {'; '.join(differ[:3])}"
                f"{f' and {len(differ) - 3} more' if len(differ) > 3 else ''}\n"
                f"two ways on: record it under a new name (--as NAME), or set the old trials aside (--fresh)"
            )
        rows = tracker.search(f"tags.`mlflow.parentRunId` = '{current[0].id}'", experiment)
        tracker.params(current[0].id, params)  # a driver killed at its start may not have come to it
        tracker.reopen(current[0].id, {"knobs.state": "running"})
        return current[0], rows
    tags = {"knobs.kind": "study", "knobs.study": name, "knobs.identity": json.dumps(mine), "knobs.state": "running"}
    tags |= {"knobs.fresh": "true"} if fresh else {}  # so is what goes on with it
    return tracker.get(tracker.create(experiment, name[:18], tags, params)), []


def _read_test(driver: Driver, tracker: Tracker, plan: StudyPlan, parent: str) -> None:
    """The winner's test metrics, read once."""
    number = plan.best_number()
    rows = tracker.search(f"tags.`mlflow.parentRunId` = '{parent}'", tracker.experiment(plan.name))
    row = next(row for row in rows if row.tags["knobs.trial"] == str(number))
    for other in rows:
        if "knobs.winner" in other.tags and other.id != row.id:
            tracker.tag(other.id, {"knobs.winner": "false"})
    if not any(metric.startswith("test/") for metric in row.metrics):
        holder = row.tags.get("knobs.reused_from", row.id)
        checkpoint = tracker.artifact(holder, "checkpoints/best.ckpt")
        config = RunConfig.from_json(row.tags["knobs.config"])
        task = Task("winner", config, row.name, {}, test=True, evaluate=checkpoint, run=row.id, closed=row.state)
        task.fingerprint = row.tags["knobs.data_fingerprint"]
        task.attempt = int(row.tags["knobs.attempt"])
        driver.run(ListPlan(plan.name, [task]))
    tracker.tag(row.id, {"knobs.winner": "true"})


def _close_parent(tracker: Tracker, plan: StudyPlan, parent: str, state: str) -> None:
    tags, done = {"knobs.state": state}, len(plan.search.history)
    summary = {f"trials/{name}": float(count) for name, count in plan.counts.items()} | {"trials/done": float(done)}
    if plan.objectives:
        summary[f"best/{plan.study.metric}"] = plan.objectives[plan.best_number()]
        tags["knobs.best_trial"] = str(plan.best_number())
    if plan.opened:
        tracker.summary(parent, summary, done)
    tracker.end(parent, "FINISHED" if state == "finished" else "KILLED", tags)


def report_study(tracker: Tracker, driver: Driver, plan: StudyPlan, parent: str) -> None:
    """The last lines: the best trial, the five best, and where to look further."""
    from knobs.launch.tables import best_trials

    if not plan.objectives:
        raise AnswerNoError(f"{plan.name}: none of {len(plan.search.history)} trials finished ({_counts(plan)})")
    best_trials(tracker, plan, parent)
    idle, busy = driver.idle_seconds, driver.busy_seconds
    share = idle / (idle + busy) if idle + busy else 0.0
    say(f"{len(plan.search.history)} trials: {_counts(plan)}; devices idle {share:.1%} of the time")
    say("look further:")
    say(f"  {how_to_call('knobs')} status {plan.name}")
    if not plan.tracker.places.storage:
        say(f"  {how_to_call('optuna-dashboard')} {tracker.places.optuna_url}")
    say(f"  {how_to_call('knobs')} ui, then")
    links.say_links(tracker, plan.name)


def _counts(plan: StudyPlan) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(plan.counts.items()))
