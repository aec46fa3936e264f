"""A report as one HTML file: figures inline, no script, nothing fetched, light or dark as the reader has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from knobs.report.document import Block, Document, Inline
from knobs.report.receipts import slug
from knobs.report.style import GRID, INK, MUTED
from knobs.report.svg import SHEET


def render(document: Document, figures: Mapping[str, bytes]) -> str:
    """`figures` are SVG files by name."""
    drawn = {name: inlined(svg.decode(), name) for name, svg in figures.items()}
    return _template().render(document=document, figures=drawn)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("knobs.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["slug"] = slug
    environment.filters["kind"] = _kind
    return environment.get_template("report.html")


def _kind(part: Inline | Block) -> str:
    """What a part or block is, for the template to choose by."""
    return type(part).__name__.lower()


def inlined(svg: str, name: str) -> str:
    """An SVG as part of a page: its ids its own, its ink the page's, its size the column's.

    It was drawn by ourselves, and names in it are shapes, not text: so the template may take it as it is.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)  # the page has it
    body = re.sub(rf'<g id="{SHEET}">.*?</g>', "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", body)
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "rule")):
        body = body.replace(colour, f"var(--{variable})")
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return re.sub(r"\n\s*", "\n", body).strip()
