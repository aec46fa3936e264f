"""A report before it has a format: sections of blocks. Each format escapes the texts itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Number:
    """A number as shown; `anchor` names the receipt that lists its runs."""

    shown: str
    anchor: str


@dataclass(frozen=True)
class Code:
    """A command, a knob, or a value as typed."""

    text: str


@dataclass(frozen=True)
class Strong:
    """A word that stands out."""

    text: str
    tone: str = ""
    """`good`, `bad` or `open`: sets the colour in formats that have colours."""


@dataclass(frozen=True)
class Link:
    """A link to a place in the report, or to a file beside it."""

    text: str
    target: str
    """`#anchor`, or a path relative to the report."""


@dataclass(frozen=True)
class Anchor:
    """A place that links lead to."""

    name: str
    text: str


Inline = str | Number | Code | Strong | Link | Anchor
Parts = Sequence[Inline]


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    parts: Parts
    quiet: bool = False
    """True for a remark, which is set smaller."""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Parts]


@dataclass(frozen=True)
class Table:
    """A table for readers. `left` holds the indices of text columns; the other columns hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[Parts]]
    left: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class DataTable:
    """A table for programs: full precision, no markup."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Picture:
    """A figure: `figures/<name>.svg` and `.png`."""

    name: str
    alt: str
    caption: Parts


@dataclass(frozen=True)
class Fence:
    """Lines to type, or lines as a program printed them."""

    text: str


@dataclass(frozen=True)
class Folded:
    """Blocks for few readers: closed until a reader opens them, printed in full."""

    title: str
    blocks: Sequence[Block]


Block = Paragraph | Bullets | Table | Picture | Fence | Folded


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A whole report, in reading order."""

    title: str
    subtitle: Parts
    lead: Sequence[Block]
    sections: Sequence[Section] = field(default_factory=tuple)
    banner: Parts = ()
    """A warning above everything: incomplete, quick."""


def joined(items: Sequence[Parts], separator: str = ", ") -> list[Inline]:
    """Return the items in a row, with a separator between them."""
    found: list[Inline] = []
    for i, item in enumerate(items):
        found += [separator, *item] if i else item
    return found


def slug(text: str) -> str:
    """Return a text as letters, digits and hyphens. A hash keeps texts apart that would become the same."""
    simple = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
    same = simple == text.lower().replace(" ", "-")
    return simple if same else f"{simple}-{hashlib.sha256(text.encode()).hexdigest()[:6]}".strip("-")
