"""Write the report of a study or an ablation, or check it."""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import TYPE_CHECKING

from knobs.commands.arguments import Parser
from knobs.errors import AnswerNoError, BadInputError

if TYPE_CHECKING:
    from knobs.report.compare import Comparison
    from knobs.report.formats.document import Document


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `knobs report`."""
    parser.add_argument("name", metavar="NAME", help="a recorded study or ablation")
    parser.add_argument("--out", metavar="DIR", help="folder to write to (mlruns/reports/NAME)")
    parser.add_argument("--check", action="store_true", help="compare the written report with the store, byte by byte")
    parser.add_argument("--against", metavar="DIR", help="compare with a report made elsewhere, number by number")
    parser.add_argument("--small", action="store_true", help="write only Markdown, SVG, CSV and receipts, to commit")


def execute(options: argparse.Namespace, knobs: dict[str, str]) -> None:
    """Write the report and print its first section, or compare. Raise `AnswerNoError` if a comparison differs."""
    del knobs
    if options.check and options.against:
        raise BadInputError("--check compares with the store, --against with another report: use one of them")
    if options.against and options.out:
        raise BadInputError("--against writes nothing, so --out has no use beside it")
    gc.disable()  # collecting garbage would take a third of the time of this short command
    from knobs.record.queries import open_store
    from knobs.report import build, compare

    name, tracker = options.name, open_store()
    folder = Path(options.out) if options.out else build.report_folder(tracker.places, name)
    if options.check:
        _print_check(name, folder, compare.compare_with_store(tracker, name, folder))
    elif options.against:
        other = Path(options.against)
        _print_against(name, other, compare.compare_with_report(tracker, name, other))
    else:
        content, files = build.build_report(tracker, name, small=options.small)
        build.write_report(files, folder)
        _print_summary(content.document, folder, files)


def _print_summary(document: Document, folder: Path, files: dict[str, bytes]) -> None:
    from knobs.report.formats.document import Bullets
    from knobs.report.formats.markdown import inline_markdown

    if document.banner:
        print(_without_markup(inline_markdown(document.banner)))
    for block in document.sections[0].blocks:
        for item in block.items if isinstance(block, Bullets) else ():
            print(_without_markup(inline_markdown(item)).partition(" · ")[0])
    page = "report.html" if "report.html" in files else "report.md"
    print(f"{folder / page}  and {len(files) - 1} more files")


def _without_markup(markdown: str) -> str:
    return markdown.replace("**", "").replace("\\", "").replace("&#36;", "$").replace("&lt;", "<").replace("&gt;", ">")


def _print_check(name: str, folder: Path, found: Comparison) -> None:
    for line in found.differences:
        print(line)
    if found.differences:
        raise AnswerNoError(f"{name}: {_count(found)} between {folder} and the store")
    print(f"{name}: {found.same}; {folder} is what the store gives")


def _print_against(name: str, other: Path, found: Comparison) -> None:
    for line in [*found.remarks, *found.differences]:
        print(line)
    if found.differences:
        raise AnswerNoError(f"{name}: {_count(found)} between this store and {other}")
    print(f"{name}: identical to {other}: {found.same}")


def _count(found: Comparison) -> str:
    count = len(found.differences)
    return "1 difference" if count == 1 else f"{count} differences"
