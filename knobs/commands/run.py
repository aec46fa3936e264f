"""Train one tracked run of a baseline or of a recorded config."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from knobs import discover
from knobs.commands.arguments import Parser, add_launch_arguments
from knobs.errors import BadInputError

KNOBS = ("seed",)


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs run`."""
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="show this help; after NAME, list its knobs")
    parser.add_argument("name", metavar="NAME", nargs="?", help="a study or an ablation, whose baseline is trained")
    parser.add_argument("--from", dest="source", metavar="RUN_ID", help="train the recorded config of this run again")
    parser.add_argument("--init-from", metavar="RUN_ID", help="start from the weights of this run, where they fit")
    add_launch_arguments(parser, per_device=False)
    parser.epilog = "Set any knob by its dotted name: --model.width 256. `knobs run NAME --help` lists all knobs."


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Train the run, and print its validation and test metrics."""
    if (options.name is None) == (options.source is None):
        raise BadInputError("knobs run needs the name of a study or ablation, or --from RUN_ID")
    if options.init_from is not None:
        knobs = {**knobs, "training.init_from": options.init_from}
    if options.name:
        discover.find_file(options.name)
    from knobs.launch.session import session

    with session(options.devices, 1, workers=1, storage=options.storage, fresh=options.fresh) as opened:
        from knobs.launch.run import launch_run  # takes seconds, in which the worker starts

        launch_run(opened, options.name or "", knobs, options.source)


class _Help(argparse.Action):
    """Lists the knobs of a baseline if its name comes before `--help`; else shows the usual help."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        del values, option_string
        if namespace.name:
            _list_knobs(namespace.name)
        else:
            parser.print_help()
        parser.exit()


def _list_knobs(name: str) -> None:
    """Print every knob of a baseline: its name, its value, what it means."""
    from knobs.config import describe, text_of
    from knobs.launch.baseline import baseline_of

    discover.activate(discover.project_root())
    config = baseline_of(name)
    print(f"knobs of {name}, with the baseline's values:")
    for knob, value in config.knobs().items():
        place, _, leaf = knob.partition(".")
        owner = type(getattr(config, place)) if leaf else type(config)
        about = describe(owner).get(leaf or place, f"the kind of {place}; another kind has other knobs")
        print(f"  --{knob:<26} {'none' if value is None else text_of(value):<12} {about}")
