"""Show what is recorded: everything, one study or one ablation."""

from __future__ import annotations

import argparse
import csv
import gc
import sys
from typing import TYPE_CHECKING

from knobs.commands.arguments import Parser
from knobs.errors import BadInputError
from knobs.terminal.say import how_to_call, say

if TYPE_CHECKING:
    from knobs.record.recorded_ablation import RecordedAblation
    from knobs.record.recorded_study import RecordedStudy


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs status`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="a study or an ablation")
    parser.add_argument("--csv", action="store_true", help="print a study's trials as CSV")


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Print a table of what is recorded, with links to MLflow's pages."""
    del knobs
    if options.name is None and options.csv:
        raise BadInputError("--csv needs the name of a study")
    gc.disable()  # collecting garbage would take a third of the time of this short command
    from knobs.record.queries import open_store
    from knobs.record.reader import read_recorded
    from knobs.record.recorded_study import RecordedStudy
    from knobs.terminal.overview_table import show_overview

    tracker = open_store()
    if options.name is None:
        show_overview(tracker)
        return
    recorded = read_recorded(tracker, options.name)
    if not isinstance(recorded, RecordedStudy):
        if options.csv:
            raise BadInputError(f"--csv is for studies; knobs report {recorded.name} writes the ablation's table.csv")
        _show_ablation(recorded)
    elif options.csv:
        _write_csv(recorded)
    else:
        _show_study(recorded)


def _show_ablation(ablation: RecordedAblation) -> None:
    from knobs.pages.links import say_links
    from knobs.pages.pages import AblationPages
    from knobs.terminal.ablation_table import show_ablation

    say(f"{ablation.name}: {ablation.progress}, {ablation.parent.state}")
    show_ablation(ablation)
    say(f"{how_to_call('knobs')} ui, then open")
    say_links(ablation.tracker, ablation.name, pages=AblationPages(ablation))


def _show_study(study: RecordedStudy) -> None:
    from knobs.pages.links import say_links
    from knobs.pages.pages import StudyPages
    from knobs.terminal.study_tables import show_trials

    show_trials(study)
    say(f"{how_to_call('knobs')} ui, then open")
    say_links(study.tracker, study.name, pages=StudyPages(study))


def _write_csv(study: RecordedStudy) -> None:
    """Print one line per trial: number, state, value, step of the value, knobs."""
    from knobs.record.schema import Metric
    from knobs.record.states import StateName

    knobs = list(dict.fromkeys(knob for trial in study.trials for knob in trial.row.params))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["trial", "state", study.metric, "steps", *knobs])
    for trial in study.trials:
        row, value = trial.row, trial.value(study.metric)
        step = row.metrics.get(Metric.BEST_STEP)
        state = StateName.FINISHED if trial.finished else trial.state  # the same file wherever the study ran
        shown = ["" if value is None else repr(value), "" if step is None else int(step)]
        out.writerow([row.trial, state, *shown, *(row.params.get(knob, "") for knob in knobs)])
