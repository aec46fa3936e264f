"""A report as one HTML file: figures inline, no script, nothing fetched, light or dark as the reader prefers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from knobs.report.figures.style import GRID, INK, MUTED
from knobs.report.figures.svg import SHEET
from knobs.report.formats.document import Block, Document, Inline, slug

TEMPLATES = Path(__file__).parents[1] / "templates"


def render_html(document: Document, figures: Mapping[str, bytes]) -> str:
    """Return the page. `figures` holds SVG files by name."""
    drawn = {name: _inline_svg(svg.decode(), name) for name, svg in figures.items()}
    return _template().render(document=document, figures=drawn)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["slug"] = slug
    environment.filters["kind"] = _kind
    return environment.get_template("report.html")


def _kind(part: Inline | Block) -> str:
    """Return the class name by which the template chooses the markup."""
    return type(part).__name__.lower()


def _inline_svg(svg: str, name: str) -> str:
    """Return an SVG as part of a page: ids of its own, the page's colours, the column's width.

    The template does not escape it. That is safe: knobs drew it, and names in it are shapes, not text.
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
