"""Launch a study, or continue it."""

from __future__ import annotations

import argparse

from knobs import discover
from knobs.commands.arguments import TIMES, Parser, add_launch_arguments, check_name

KNOBS = ()


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs study`."""
    parser.add_argument("name", metavar="NAME", help="a file in studies/")
    parser.add_count("--trials", help="number of trials in all, including recorded ones")
    parser.add_amount("--timeout", TIMES, "10m", metavar="TIME", help="start no new trial after 90s, 10m, 2h, ...")
    parser.add_argument("--sampler", metavar="S", help="tpe, gp, cmaes, qmc, random, grid or nsga2")
    parser.add_argument("--pruner", metavar="P", help="median, hyperband, halving, wilcoxon (of replicates) or none")
    parser.add_count("--seed", least=0, help="seed of the search")
    parser.add_count("--confirm", metavar="N", help="train the winner with N fresh seeds in the end")
    parser.add_argument("--as", dest="record_as", metavar="NAME", help="record under another name")
    add_launch_arguments(parser)
    parser.epilog = "Change any knob of the baseline by its dotted name: --model.width 256."


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Run the study to its total of trials, and print the best ones."""
    discover.find_file(options.name)
    if options.record_as is not None:
        check_name(options.record_as)
    from knobs.launch.session import session

    with session(options.devices, options.per_device, storage=options.storage, fresh=options.fresh) as opened:
        from knobs.launch.study import launch_study  # takes seconds, in which the workers start

        launch_study(
            opened,
            options.name,
            knobs,
            trials=options.trials,
            timeout=options.timeout,
            sampler=options.sampler,
            pruner=options.pruner,
            seed=options.seed,
            confirm=options.confirm,
            record_as=options.record_as,
        )
