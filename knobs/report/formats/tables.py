"""A report's table as CSV for programs and as LaTeX for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from knobs.report.formats.document import Anchor, Code, DataTable, Link, Number, Parts, Strong, Table

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


def table_to_csv(data: DataTable) -> str:
    """Return a table as CSV, floats in full. Text that a spreadsheet would read as a formula is quoted."""
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


def table_to_tex(table: Table, caption: str, label: str) -> str:
    """Return a table for LaTeX's booktabs. `label` must be letters, digits and hyphens."""
    columns = "".join("l" if i in table.left else "r" for i in range(len(table.head)))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_tex(caption)}}}",
        rf"  \label{{tab:{label}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_tex_row([escape_tex(text) for text in table.head])}",
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
            text = escape_tex(part.shown)
            return f"${text[0]}${text[1:]}" if text[:1] in ("-", "+") and len(text) > 1 else text
        case Code():
            return rf"\texttt{{{escape_tex(part.text)}}}"
        case Strong() | Link() | Anchor():
            return escape_tex(part.text)
        case _:
            return escape_tex(str(part))


def escape_tex(text: str) -> str:
    """Return a text on one line, escaped for LaTeX. `[` is put in braces: after a line break it would be an option."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    kept = (" " if text[:1].isspace() else "") + line + (" " if line and text[-1:].isspace() else "")
    return "".join(TEX.get(c, c) for c in kept).replace("[", "{[}").replace("]", "{]}")
