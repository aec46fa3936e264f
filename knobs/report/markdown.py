"""A report as Markdown that reads well on a code-hosting page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from knobs.report.document import (
    Anchor,
    Block,
    Bullets,
    Code,
    Document,
    Fence,
    Folded,
    Inline,
    Link,
    Number,
    Paragraph,
    Parts,
    Picture,
    Strong,
    Table,
)

PICTURE_WIDTH = 560


def render(document: Document) -> str:
    """The whole page."""
    lines = [f"# {escape(document.title)}", "", inline(document.subtitle), ""]
    if document.banner:
        lines += [f"> **{inline(document.banner)}**", ""]
    lines += _blocks(document.lead)
    for section in document.sections:
        lines += [f"## {escape(section.title)}", "", *_blocks(section.blocks)]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Text as text: no emphasis, link, tag, table or formula can come of it; one line."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    kept = ("" if not text[:1].isspace() else " ") + line + (" " if line and text[-1:].isspace() else "")
    kept = kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")
    kept = re.sub(r"([\\`*_\[\]|~])", r"\\\1", kept)
    kept = re.sub(r"#(?=\w)", r"\\#", kept)
    return re.sub(r"(https?|www)([:.])", r"\1&#8203;\2", kept) if "://" in kept or "www." in kept else kept


def inline(parts: Parts) -> str:
    """Parts of a line."""
    return "".join(_inline(part) for part in parts)


def _inline(part: Inline) -> str:
    match part:
        case str():
            return escape(part)
        case Number():
            return escape(part.shown)
        case Code():
            return code(part.text)
        case Strong():
            return f"**{escape(part.text)}**"
        case Link():
            return f"[{escape(part.text)}]({part.target})"
        case Anchor():
            return f'<a id="{part.name}"></a>{escape(part.text)}'


def code(text: str) -> str:
    """A code span; the pipe is escaped for tables, which read it before code."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"


def _blocks(blocks: Sequence[Block]) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        lines += [*_block(block), ""]
    return lines


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph():
            return [_start(inline(block.parts))]
        case Bullets():
            return [f"- {inline(item)}" for item in block.items]
        case Table():
            align = ["---" if i in block.left else "---:" for i in range(len(block.head))]
            head = [_row([escape(text) for text in block.head]), _row(align)]
            return head + [_row([inline(cell) for cell in row]) for row in block.rows]
        case Picture():
            alt = escape(block.alt).replace('"', "&quot;")
            image = f'<img src="figures/{block.name}.svg" alt="{alt}" width="{PICTURE_WIDTH}">'
            return [image, "", _start(inline(block.caption))]
        case Fence():
            ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.text)), default=0))
            return [ticks, block.text, ticks]
        case Folded():
            title = escape(block.title)
            return ["<details>", f"<summary>{title}</summary>", "", *_blocks(block.blocks), "</details>"]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _start(line: str) -> str:
    """A paragraph that cannot be taken for a list, a heading or a quote."""
    return re.sub(r"^(\s*)([-+#=]|\d+(?=[.)]))", r"\1&#8203;\2", line)
