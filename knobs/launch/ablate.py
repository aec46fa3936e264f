"""Launch an ablation: tune every cell, train fresh seeds, decide the claims."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from knobs import discover, signals
from knobs.ablation import LOOK_EVERY, Ablation
from knobs.checks.ablations import check_ablation
from knobs.errors import AnswerNoError, BadInputError
from knobs.launch.ablation_parent import (
    close_ablation,
    decide_and_record,
    open_ablation,
    read_ablation,
    record_references,
)
from knobs.launch.baseline import check_buildable
from knobs.launch.driver.run_notes import launch_command
from knobs.launch.initial_weights import initial_checkpoint
from knobs.launch.plans.ablation_plan import AblationPlan
from knobs.launch.session import Session
from knobs.pages.links import publish_pages, say_links
from knobs.record.define import define_ablation
from knobs.record.schema import Tag
from knobs.record.states import StateName
from knobs.record.stores.locks import only_driver
from knobs.terminal.ablation_table import show_ablation
from knobs.terminal.say import how_to_call, say, warn

QUICK_SUFFIX = "-quick"
"""Quick results are recorded under a name of their own, so that nobody takes them for the whole."""


MOST_REPETITIONS = 20
"""With `--until-decided`, unless `--repetitions` says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of an ablation as the command line gives it. None: as its file says."""

    repetitions: int | None = None
    trials: int | None = None
    seeds: int | None = None
    until_decided: bool = False
    quick: bool = False

    def options(self) -> dict[str, Any]:
        """Return the options of the command that says the same."""
        return asdict(self)


def load_ablation(name: str, size: Size) -> tuple[str, Ablation]:
    """Return the name under which the ablation in this file is recorded, and the ablation in this size."""
    if name in discover.files("studies"):
        raise BadInputError(f"{name!r} is a study; run it with: knobs study {name}")
    ablation = discover.the_one(discover.load("experiments", name), Ablation)
    ablation = ablation.made_quick() if size.quick else ablation
    given = {"repetitions": size.repetitions, "trials": size.trials, "seeds": size.seeds}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if size.until_decided:
        most = changes["repetitions"] = size.repetitions or MOST_REPETITIONS
        if most % LOOK_EVERY or size.quick:
            what = "--quick" if size.quick else f"--repetitions {most}"
            raise BadInputError(f"--until-decided looks after every {LOOK_EVERY} repetitions; {what} does not fit that")
        changes["looks"] = tuple(range(LOOK_EVERY, most + 1, LOOK_EVERY))
    elif ablation.looks and changes.get("repetitions", ablation.repetitions) != ablation.repetitions:
        changes["looks"] = tuple(range(LOOK_EVERY, changes["repetitions"] + 1, LOOK_EVERY))
    return name + (QUICK_SUFFIX if size.quick else ""), replace(ablation, **changes)


def launch_ablation(session: Session, file: str, size: Size) -> None:
    """Run an ablation to its verdicts, or continue it. Raise `AnswerNoError` if no run of any cell finished."""
    name, ablation = load_ablation(file, size)
    command, quick = launch_command("ablate", file, size.options(), {}), size.quick
    check_ablation(name, ablation, quick=quick)
    cells = ablation.cells()
    for cell in cells:
        check_buildable(cell.config)
    definition = define_ablation(name, ablation, quick=quick)
    tracker, driver, display = session.open(name, *(cell.config.data for cell in cells))
    for cell in cells:
        initial_checkpoint(tracker, cell.config)  # is it there?
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
            record_references(tracker, name, ablation, parent)
            for look in ablation.looks or (ablation.repetitions,):
                plan.extend(look)
                if look <= LOOK_EVERY or not ablation.looks:
                    _say_continuation(name, plan)
                    publish_pages(tracker, name)
                with display:
                    driver.run(plan)
                recorded = decide_and_record(tracker, name, ablation, parent)
                if not recorded.missing:
                    break
                if ablation.looks:
                    say(f"{name}: undecided after {look} repetitions, goes on")
            state = StateName.FINISHED
        finally:
            close_ablation(tracker, plan, parent, state)
        publish_pages(tracker, name)
    show_ablation(read_ablation(tracker, name, parent))
    if quick:
        say("quick: fewer trials, seeds and steps than the whole; not for conclusions")
    say("look further:")
    for words in (f"status {name}", f"report {name}"):
        say(f"  {how_to_call('knobs')} {words}")
    say(f"  {how_to_call('knobs')} ui, then open")
    say_links(tracker, name)
    if not any(cell.ended_seeds for cell in plan.cells.values()):
        raise AnswerNoError(f"{name}: no run of any cell finished")


def _say_continuation(name: str, plan: AblationPlan) -> None:
    """Say how much of the plan is recorded, and what was trained differently from now."""
    if plan.left < plan.total:
        say(f"{name}: continues, {plan.total - plan.left} of {plan.total} runs are there")
    for how, number in sum((cell.changes() for cell in plan.cells.values()), Counter[str]()).items():
        warn(f"{number} recorded runs were trained {how}; --fresh sets them aside")
