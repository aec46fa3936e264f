"""Train a run again and compare every recorded value bit by bit."""

from __future__ import annotations

import argparse
from pathlib import Path

from knobs.commands.arguments import Parser, parse_count
from knobs.errors import BadInputError

KNOBS = ()


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs reproduce`."""
    parser.add_argument("run", nargs="?", metavar="RUN_ID", help="a recorded run")
    parser.add_argument("--cell", metavar="LABEL", help="train the seeds of this cell of a report")
    parser.add_argument("--report", metavar="DIR", help="folder of that report")
    parser.add_argument("--devices", help="auto, cpu:N, cuda:0,1 or mps (the kind that the run was trained on)")
    parser.epilog = "--training.threads N trains with another number of threads."


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Train the run, or a cell's seeds, and print the first difference. Raise `AnswerNoError` if there is one."""
    if (options.run is None) == (options.cell is None) or (options.cell is None) != (options.report is None):
        raise BadInputError("knobs reproduce needs RUN_ID, or --cell LABEL with --report DIR")
    if wrong := sorted(set(knobs) - {"training.threads"}):
        raise BadInputError(f"--{wrong[0]}: a reproduction changes no knob but training.threads; see knobs run --from")
    threads = parse_count("--training.threads", knobs["training.threads"]) if knobs else None
    from knobs.launch.reproduce import reproduce_cell, reproduce_run

    if options.run is not None:
        reproduce_run(options.run, options.devices, threads)
    else:
        reproduce_cell(options.cell, Path(options.report), options.devices, threads)
