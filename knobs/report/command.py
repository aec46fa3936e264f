"""`knobs report`: build, write and say what it says; or compare, and name whatever differs."""

from __future__ import annotations

from pathlib import Path

from knobs.errors import AnswerNoError
from knobs.recorded import open_store
from knobs.report import build, compare
from knobs.report.document import Bullets, Document
from knobs.report.markdown import inline


def report(name: str, *, out: Path | None, check: bool, against: Path | None, small: bool) -> None:
    """Raises `AnswerNoError` where a comparison found a difference."""
    tracker = open_store()
    folder = out or build.folder_of(tracker.places, name)
    if check:
        _check(name, folder, compare.check(tracker, name, folder))
    elif against is not None:
        _against(name, compare.against(tracker, name, against), against)
    else:
        content, files = build.build(tracker, name, small=small)
        build.write(files, folder)
        _say(content.document, folder, files)


def _say(document: Document, folder: Path, files: dict[str, bytes]) -> None:
    if document.banner:
        print(_plain(inline(document.banner)))
    for block in document.sections[0].blocks:
        for item in block.items if isinstance(block, Bullets) else ():
            print(_plain(inline(item)).partition(" · ")[0])
    page = "report.html" if "report.html" in files else "report.md"
    print(f"{folder / page}  and {len(files) - 1} more files")


def _plain(markdown: str) -> str:
    return markdown.replace("**", "").replace("\\", "").replace("&#36;", "$").replace("&lt;", "<").replace("&gt;", ">")


def _check(name: str, folder: Path, found: compare.Found) -> None:
    for line in found.differences:
        print(line)
    if found.differences:
        raise AnswerNoError(f"{name}: {_many(len(found.differences))} between {folder} and the store")
    print(f"{name}: {found.same}; {folder} is what the store gives")


def _against(name: str, found: compare.Found, folder: Path) -> None:
    for line in [*found.remarks, *found.differences]:
        print(line)
    if found.differences:
        raise AnswerNoError(f"{name}: {_many(len(found.differences))} between this store and {folder}")
    print(f"{name}: identical to {folder}: {found.same}")


def _many(count: int) -> str:
    return "1 difference" if count == 1 else f"{count} differences"
