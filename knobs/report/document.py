"""A report before it has a format: sections of blocks, whose texts are escaped by whoever writes them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Number:
    """A number as shown; `anchor` names the receipt that says where it comes from."""

    shown: str
    anchor: str


@dataclass(frozen=True)
class Code:
    """A command, a knob, a value as typed."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Stands out."""

    text: str
    tone: str = ""
    """good, bad or open: colours it where there are colours."""


@dataclass(frozen=True)
class Link:
    """To a place in the report, or a file beside it."""

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
    """A remark, set smaller."""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Parts]


@dataclass(frozen=True)
class Table:
    """Head and rows; `left` names the columns of text, the others hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[Parts]]
    left: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Picture:
    """A figure: `figures/<name>.svg` and `.png`."""

    name: str
    alt: str
    caption: Parts


@dataclass(frozen=True)
class Fence:
    """Lines to be typed."""

    text: str


@dataclass(frozen=True)
class Folded:
    """What few readers want: closed until it is opened, printed in full."""

    title: str
    blocks: Sequence[Block]


Block = Paragraph | Bullets | Table | Picture | Fence | Folded


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """All of it, in the order a reader wants."""

    title: str
    subtitle: Parts
    lead: Sequence[Block]
    sections: Sequence[Section] = field(default_factory=tuple)
    banner: Parts = ()
    """A warning above everything: incomplete, quick."""


def joined(items: Sequence[Parts], separator: str = ", ") -> list[Inline]:
    """Parts in a row, with a separator between."""
    found: list[Inline] = []
    for i, item in enumerate(items):
        found += [separator, *item] if i else item
    return found
