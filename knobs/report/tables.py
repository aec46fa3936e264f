"""A report's table as CSV for programs and as LaTeX for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from knobs.report.content import Data
from knobs.report.document import Anchor, Code, Link, Number, Parts, Strong, Table

TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "-": "-",
}


def to_csv(data: Data) -> str:
    """Floats in full; text that a spreadsheet would take for a formula is quoted for it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(text) for text in data.head])
    writer.writerows([[_csv_cell(cell) for cell in row] for row in data.rows])
    return out.getvalue()


def _csv_cell(cell: object) -> object:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return repr(cell)
    if isinstance(cell, str):
        line = "".join(c for c in " ".join(cell.split()) if c.isprintable())
        return f"'{line}" if line[:1] in ("=", "+", "-", "@") and not _is_number(line) else line
    return cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def to_tex(table: Table, caption: str, label: str) -> str:
    """A booktabs table; `label` is letters, digits and hyphens."""
    columns = "".join("l" if i in table.left else "r" for i in range(len(table.head)))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \label{{tab:{label}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_tex_row([escape(text) for text in table.head])}",
        r"    \midrule",
        *(f"    {_tex_row([_tex(cell) for cell in row])}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(parts: Parts) -> str:
    return "".join(_tex_part(part) for part in parts)


def _tex_part(part: object) -> str:
    match part:
        case Number():
            text = escape(part.shown)
            return f"${text[0]}${text[1:]}" if text[:1] in ("-", "+") and len(text) > 1 else text
        case Code():
            return rf"\texttt{{{escape(part.text)}}}"
        case Strong() | Link() | Anchor():
            return escape(part.text)
        case _:
            return escape(str(part))


def escape(text: str) -> str:
    """Text as text in LaTeX, on one line; `[` after a line's end would be an option, so it is held in braces."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    kept = (" " if text[:1].isspace() else "") + line + (" " if line and text[-1:].isspace() else "")
    return "".join(TEX.get(c, c) for c in kept).replace("[", "{[}").replace("]", "{]}")
