"""A report as Markdown for code-hosting pages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from knobs.report.formats.document import (
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


def render_markdown(document: Document) -> str:
    """Return the whole page."""
    lines = [f"# {escape_markdown(document.title)}", "", inline_markdown(document.subtitle), ""]
    if document.banner:
        lines += [f"> **{inline_markdown(document.banner)}**", ""]
    lines += _blocks(document.lead)
    for section in document.sections:
        lines += [f"## {escape_markdown(section.title)}", "", *_blocks(section.blocks)]
    return "\n".join(lines).rstrip() + "\n"


def escape_markdown(text: str) -> str:
    """Return a text on one line, escaped so that it becomes no emphasis, link, tag, table or formula."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    kept = ("" if not text[:1].isspace() else " ") + line + (" " if line and text[-1:].isspace() else "")
    kept = kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")
    kept = re.sub(r"([\\`*_\[\]|~])", r"\\\1", kept)
    kept = re.sub(r"#(?=\w)", r"\\#", kept)
    return re.sub(r"(https?|www)([:.])", r"\1&#8203;\2", kept) if "://" in kept or "www." in kept else kept


def inline_markdown(parts: Parts) -> str:
    """Return the parts of a line."""
    return "".join(_inline(part) for part in parts)


def _inline(part: Inline) -> str:
    match part:
        case str():
            return escape_markdown(part)
        case Number():
            return escape_markdown(part.shown)
        case Code():
            return _code(part.text)
        case Strong():
            return f"**{escape_markdown(part.text)}**"
        case Link():
            return f"[{escape_markdown(part.text)}]({part.target})"
        case Anchor():
            return f'<a id="{part.name}"></a>{escape_markdown(part.text)}'


def _code(text: str) -> str:
    """Return a code span. Its pipes are escaped: tables read pipes before they read code."""
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
            return [_plain_paragraph(inline_markdown(block.parts))]
        case Bullets():
            return [f"- {inline_markdown(item)}" for item in block.items]
        case Table():
            align = ["---" if i in block.left else "---:" for i in range(len(block.head))]
            head = [_table_row([escape_markdown(text) for text in block.head]), _table_row(align)]
            return head + [_table_row([inline_markdown(cell) for cell in row]) for row in block.rows]
        case Picture():
            alt = escape_markdown(block.alt).replace('"', "&quot;")
            image = f'<img src="figures/{block.name}.svg" alt="{alt}" width="{PICTURE_WIDTH}">'
            return [image, "", _plain_paragraph(inline_markdown(block.caption))]
        case Fence():
            ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.text)), default=0))
            return [ticks, block.text, ticks]
        case Folded():
            title = escape_markdown(block.title)
            return ["<details>", f"<summary>{title}</summary>", "", *_blocks(block.blocks), "</details>"]


def _table_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain_paragraph(line: str) -> str:
    """Return a paragraph that starts no list, heading or quote."""
    return re.sub(r"^(\s*)([-+#=]|\d+(?=[.)]))", r"\1&#8203;\2", line)
