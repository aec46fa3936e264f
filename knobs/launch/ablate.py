"""Launch an ablation: tune every cell, train fresh seeds, decide the claims."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from knobs import discover, signals
from knobs.ablation import Ablation
from knobs.checks.ablations import check_ablation
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch.ablation_parent import close_ablation, decide_and_record, open_ablation, record_references
from knobs.launch.baseline import check_buildable
from knobs.launch.driver.run_notes import launch_command
from knobs.launch.plans.ablation_plan import AblationPlan
from knobs.launch.session import Session
from knobs.pages.links import publish_pages, say_links
from knobs.record.define import define_ablation
from knobs.record.reader import recorded_under
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.schema import Tag
from knobs.record.states import StateName
from knobs.record.stores.locks import only_driver
from knobs.terminal.ablation_table import show_ablation
from knobs.terminal.say import how_to_call, say, warn

QUICK_SUFFIX = "-quick"
"""Quick results are recorded under a name of their own, so that nobody takes them for the whole."""


def load_ablation(name: str, *, seeds: int | None, trials: int | None, quick: bool) -> tuple[str, Ablation]:
    """Return the name under which the ablation in this file is recorded, and the ablation."""
    if name in discover.files("studies"):
        raise BadInputError(f"{name!r} is a study; run it with: knobs study {name}")
    ablation = discover.the_one(discover.load("experiments", name), Ablation)
    ablation = ablation.made_quick() if quick else ablation
    changes: dict[str, Any] = {"seeds": seeds, "trials": trials}
    ablation = replace(ablation, **{key: value for key, value in changes.items() if value is not None})
    return name + (QUICK_SUFFIX if quick else ""), ablation


def launch_ablation(session: Session, file: str, *, seeds: int | None, trials: int | None, quick: bool) -> None:
    """Run an ablation to its verdicts, or continue it. Raise `AnswerNoError` if no run of any cell finished."""
    name, ablation = load_ablation(file, seeds=seeds, trials=trials, quick=quick)
    command = launch_command("ablate", file, {"quick": quick, "seeds": seeds, "trials": trials}, {})
    check_ablation(name, ablation, quick=quick)
    cells = ablation.cells()
    for cell in cells:
        check_buildable(cell.config)
    definition = define_ablation(name, ablation, quick=quick)
    tracker, driver, display = session.open(name, *(cell.config.data for cell in cells))
    with signals.held(), only_driver(session.places, name):
        plan = AblationPlan(name, ablation, tracker, session.devices[0].kind)
        parent, changes = open_ablation(tracker, name, ablation, definition, fresh=session.fresh)
        if changes:
            warn("the design has changed, and results may have been seen; reports will say so:")
            for change in changes:
                warn(f"  {change}")
        tracker.tag(parent, {Tag.COMMAND: command})
        state = StateName.INTERRUPTED
        try:
            plan.open(parent, fresh=session.fresh)
            publish_pages(tracker, name)
            if plan.left < plan.total:
                say(f"{name}: continues, {plan.total - plan.left} of {plan.total} runs are there")
            changed = sum((cell.tuning.changed for cell in plan.cells.values()), Counter[str]())
            for how, number in changed.items():
                warn(f"{number} recorded runs were trained {how}; --fresh sets them aside")
            with display:
                driver.run(plan)
            state = StateName.FINISHED
        finally:
            close_ablation(tracker, plan, parent, state)
        record_references(tracker, name, ablation, parent)
        decide_and_record(tracker, name, ablation, parent)
        publish_pages(tracker, name)
    recorded = recorded_under(tracker, name, tracker.get(parent))
    assert isinstance(recorded, RecordedAblation)
    show_ablation(recorded)
    if quick:
        say("quick: fewer trials, seeds and steps than the whole; not for conclusions")
    say("look further:")
    for words in (f"status {name}", f"report {name}"):
        say(f"  {how_to_call('knobs')} {words}")
    say(f"  {how_to_call('knobs')} ui, then open")
    say_links(tracker, name)
    if not any(cell.ended_seeds for cell in plan.cells.values()):
        raise AnswerNoError(f"{name}: no run of any cell finished")
