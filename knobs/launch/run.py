"""Launch one run of a baseline, or of a recorded run's config."""

from __future__ import annotations

from knobs import signals
from knobs.data import check_loads
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch.baseline import baseline_of, check_buildable, with_typed_knobs
from knobs.launch.initial_weights import initial_checkpoint
from knobs.launch.plans import FixedPlan, PlannedRun
from knobs.launch.plans.continuing import can_continue, continued
from knobs.launch.plans.run_names import shortened
from knobs.launch.session import Session
from knobs.numbers import metric_text
from knobs.pages.links import publish_pages, say_links
from knobs.record.queries import runs_of_kind
from knobs.record.runs import recorded_config
from knobs.record.schema import Kind, Metric, Tag
from knobs.record.states import StateName
from knobs.record.stores.locks import only_driver
from knobs.record.stores.mlflow_store import Tracker
from knobs.terminal.say import how_to_call, say
from knobs.training import Outcome

_SPLITS = {"val": Metric.BEST + Metric.VAL, "train": Metric.BEST + Metric.TRAIN, "test": Metric.TEST}


def launch_run(session: Session, name: str, typed: dict[str, str], source: str | None) -> None:
    """Train the baseline of `name`, or the config of the recorded run `source`, with these knobs; read the test split.

    Raise `AnswerNoError` if the run did not finish.
    """
    origin: dict[str, str] = {}
    if source is None:
        config = with_typed_knobs(baseline_of(name), typed)
        check_buildable(config)
        tracker, driver, display = session.open(name, config.data)
    else:
        if session.places.tracking_uri is None and not session.places.database.exists():
            raise BadInputError(f"no run {source!r}: nothing is recorded yet in {session.places.folder}")
        tracker, driver, display = session.open(source[:8])
        row = tracker.get(source)
        config = with_typed_knobs(recorded_config(tracker, row), typed)
        check_buildable(config)
        check_loads(config.data, session.places.cache)
        name = row.tags.get(Tag.STUDY) or row.tags.get(Tag.NAME, "runs")
        origin = {Tag.COPIED_FROM: source}
    initial_checkpoint(tracker, config)  # is it there?
    planned = PlannedRun(
        kind=Kind.RUN,
        label="run",
        name=shortened("run" + "".join(f" {text}" for text in typed.values())),
        config=config,
        tags={Tag.NAME: name, **origin},
        metric=Metric.VAL + config.monitored.name,
        read_test=True,
    )
    with signals.held(), only_driver(session.places, f"{name}.run-{config.hash()}"):
        if not session.fresh:
            planned = _continued(planned, name, tracker)
        plan = FixedPlan(name, [planned])
        with display:
            driver.run(plan)
        publish_pages(tracker, name)
    run, outcome = plan.runs["run"], plan.outcomes["run"]
    if outcome.state != StateName.FINISHED:
        where = f"\n{driver.recorder.traceback_line(run)}".rstrip() if outcome.log else ""
        raise AnswerNoError(f"the run ended as {outcome.state}: {outcome.message} (run {run}){where}")
    _print_values(outcome)
    say(f"at step {outcome.best_step} of {config.training.max_steps}; run {run}")
    say(f"look further: {how_to_call('knobs')} ui, then open")
    say_links(tracker, name, run=run)


def _continued(planned: PlannedRun, experiment: str, tracker: Tracker) -> PlannedRun:
    """Return the planned run; if the same config was interrupted before, it continues that run."""
    for row in runs_of_kind(tracker, Kind.RUN, tracker.experiment(experiment)):
        if can_continue(row) and row.tags.get(Tag.CONFIG) == planned.config.hash():
            return continued(planned, row, tracker)
    return planned


def _print_values(outcome: Outcome) -> None:
    for split, prefix in _SPLITS.items():
        values = {k: v for k, v in outcome.summary.items() if k.startswith(prefix)}
        say(f"{split:<6} " + "  ".join(f"{k.rpartition('/')[2]} {metric_text(v)}" for k, v in values.items()))
