"""List models, data sets, objectives, optimizers, schedules, studies, ablations."""

from __future__ import annotations

import argparse

from knobs import discover
from knobs.commands.arguments import Parser


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs list`."""
    parser.add_argument("folder", nargs="?", choices=discover.FOLDERS, help="list this folder only")


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Print each content folder with the files in it and the first line of their docstrings."""
    del knobs
    root = discover.project_root()
    for folder in [options.folder] if options.folder else discover.FOLDERS:
        found = discover.files(folder, root)
        widest = max(map(len, found), default=0)
        print(folder)
        for name, path in found.items():
            print(f"  {name:<{widest}}  {discover.summary(path)}")
        if not found:
            print("  (none)")
