"""Rewrite the README's gallery from the reports in experiments/reports: `make gallery`.

The gallery stands between `<!-- gallery A B -->` and `<!-- /gallery -->`. Reports A and B come first, the others follow
by name. Each entry shows the beginning of its report.md.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "experiments" / "reports"
GALLERY = re.compile(r"(<!-- gallery([^\n]*?) -->\n).*?(<!-- /gallery -->)", re.DOTALL)
EMPTY = "No report is committed yet: `knobs report NAME --small --out experiments/reports/NAME`, then `make gallery`.\n"
PICTURE_WIDTH = 420
MAX_VERDICTS = 4
"""Verdicts that an entry shows in full. It counts the others."""


def rewrite_gallery(readme: str, reports: Path) -> str:
    """Return the README's text with the gallery of these reports.

    Raise `SystemExit` if the README has no gallery markers.
    """
    found = GALLERY.search(readme)
    if not found:
        raise SystemExit("README.md has no <!-- gallery --> ... <!-- /gallery -->")
    names = sorted(path.parent.name for path in reports.glob("*/report.md"))
    first = [name for name in found[2].split() if name in names]
    entries = [_entry(reports / name) for name in [*first, *(name for name in names if name not in first)]]
    return readme[: found.end(1)] + ("\n".join(entries) or EMPTY) + readme[found.start(3) :]


def _entry(folder: Path) -> str:
    """Title, verdicts and first picture of one report."""
    text = (folder / "report.md").read_text(encoding="utf-8")
    title, rest = text.removeprefix("# ").split("\n", 1)
    path = f"experiments/reports/{folder.name}"
    verdicts = rest.split("\n## ")[1]
    lines = [line.partition(" · [")[0] for line in verdicts.splitlines() if line.startswith("- ")]
    lines = [re.sub(r"(, n \d+) \(.*", r"\1", line) for line in lines]  # the report has the remarks on intervals
    lines = [*lines[:MAX_VERDICTS], *_count_verdicts(lines[MAX_VERDICTS:])]
    picture = re.search(r'<img src="(figures/[\w-]+\.svg)" alt="([^"]*)"', rest)
    image = f'<img src="{path}/{picture[1]}" alt="{picture[2]}" width="{PICTURE_WIDTH}">' if picture else ""
    warning = [line for line in rest.split("\n## ")[0].splitlines() if line.startswith("> ")]
    parts = [f"**[{title}]({path}/report.md)**", *warning, "\n".join(lines), image]
    return "\n\n".join(part for part in parts if part) + "\n"


def _count_verdicts(lines: list[str]) -> list[str]:
    """Return `and 8 more: 7 supported, 1 contradicted`, or the lines themselves if they are no verdicts."""
    words = Counter(found[1] for line in lines if (found := re.match(r"- \*\*(\w+)\*\*", line)))
    counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
    return [f"- and {len(lines)} more: {counts}"] if words else lines


def main() -> None:
    """Rewrite README.md and print whether its gallery changed."""
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = rewrite_gallery(old, REPORTS)
    path.write_text(new, encoding="utf-8")
    print("README.md: " + ("gallery rewritten" if new != old else "gallery unchanged"))


if __name__ == "__main__":
    main()
