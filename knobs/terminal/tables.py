"""The console and the plain look of all tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """Return a console on standard output. It is wide outside of a terminal, so that no line of a table is folded."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)


def plain_table(title: str | None = None) -> Table:
    """Return a table without lines, with its title on the left."""
    return Table(title=title, title_justify="left", box=None, pad_edge=False)
