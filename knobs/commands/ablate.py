"""Run an ablation to its verdicts, or continue it."""

from __future__ import annotations

import argparse

from knobs import discover
from knobs.commands.arguments import Parser, add_launch_arguments
from knobs.errors import BadInputError


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs ablate`."""
    parser.add_argument("name", metavar="NAME", help="a file in experiments/")
    parser.add_count("--repetitions", help="how often every cell is tuned and evaluated")
    parser.add_count("--trials", help="tuning trials in every repetition of a cell")
    parser.add_count("--seeds", help="fresh seeds in every repetition of a cell")
    parser.add_argument(
        "--until-decided",
        action="store_true",
        help="look at the claims after every 5 repetitions, and end if all are decided or after 20 (or --repetitions)",
    )
    parser.add_argument("--quick", action="store_true", help="use the smaller preset; recorded as NAME-quick")
    parser.add_argument("--dry-run", action="store_true", help="print cells, runs, the expected time and memory")
    parser.add_amount(
        "--effect",
        {"": 1.0},
        "0.02",
        metavar="E",
        help="with --dry-run: repetitions that claims need for it",
    )
    add_launch_arguments(parser)


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Tune every cell, train its seeds, decide the claims and print them; or only describe this work."""
    del knobs
    discover.find_file(options.name)
    from knobs.launch.session import session

    names = ("repetitions", "trials", "seeds", "until_decided", "quick")
    size = {name: getattr(options, name) for name in names}
    if options.effect is not None and not options.dry_run:
        raise BadInputError("--effect says how many repetitions claims need; it goes with --dry-run")
    if options.dry_run:
        from knobs.devices import parse_devices
        from knobs.launch.ablate import Size, load_ablation
        from knobs.launch.dry_run import print_dry_run

        discover.activate(discover.project_root())
        name, ablation = load_ablation(options.name, Size(**size))
        workers = len(parse_devices(options.devices, options.per_device))
        print_dry_run(name, ablation, workers, effect=options.effect)
        return
    with session(options.devices, options.per_device, storage=options.storage, fresh=options.fresh) as opened:
        from knobs.launch.ablate import Size, launch_ablation  # takes seconds, in which the workers start

        launch_ablation(opened, options.name, Size(**size))
