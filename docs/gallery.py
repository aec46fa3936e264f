"""Rewrites the README's gallery from the reports in experiments/reports: `make gallery`.

The section stands between `<!-- gallery A B -->` and `<!-- /gallery -->`: reports A and B come first, the others after
them by name. What it shows is what each report.md says first.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"(<!-- gallery([^\n]*?) -->\n).*?(<!-- /gallery -->)", re.DOTALL)
NONE = "None is committed yet: `knobs report NAME --small --out experiments/reports/NAME`, then `make gallery`.\n"
PICTURE_WIDTH = 420
MOST_LINES = 4
"""Verdicts that are shown whole; of the others how many are what."""


def rewritten(readme: str, reports: Path) -> str:
    """The README with the gallery of these reports; the text as it was, if the gallery was that already."""
    found = SECTION.search(readme)
    if not found:
        raise SystemExit("README.md has no <!-- gallery --> ... <!-- /gallery -->")
    there = sorted(path.parent.name for path in reports.glob("*/report.md"))
    first = [name for name in found[2].split() if name in there]
    entries = [_entry(reports / name) for name in [*first, *(name for name in there if name not in first)]]
    return readme[: found.end(1)] + ("\n".join(entries) or NONE) + readme[found.start(3) :]


def _entry(folder: Path) -> str:
    """Title, what it came to, the first picture: all three as the report has them."""
    text = (folder / "report.md").read_text(encoding="utf-8")
    title, rest = text.removeprefix("# ").split("\n", 1)
    where = f"experiments/reports/{folder.name}"
    first = rest.split("\n## ")[1]
    lines = [line.partition(" · [")[0] for line in first.splitlines() if line.startswith("- ")]
    lines = [re.sub(r"(, n \d+) \(.*", r"\1", line) for line in lines]  # remarks on the interval are in the report
    lines = [*lines[:MOST_LINES], *_rest(lines[MOST_LINES:])]
    picture = re.search(r'<img src="(figures/[\w-]+\.svg)" alt="([^"]*)"', rest)
    shown = f'<img src="{where}/{picture[1]}" alt="{picture[2]}" width="{PICTURE_WIDTH}">' if picture else ""
    warning = [line for line in rest.split("\n## ")[0].splitlines() if line.startswith("> ")]
    parts = [f"**[{title}]({where}/report.md)**", *warning, "\n".join(lines), shown]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rest(lines: list[str]) -> list[str]:
    """`and 8 more: 7 supported, 1 contradicted`; nothing where all are shown."""
    words = Counter(found[1] for line in lines if (found := re.match(r"- \*\*(\w+)\*\*", line)))
    counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
    return [f"- and {len(lines)} more: {counts}"] if words else lines


if __name__ == "__main__":
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = rewritten(old, ROOT / "experiments" / "reports")
    path.write_text(new, encoding="utf-8")
    print("README.md: " + ("its gallery is rewritten" if new != old else "its gallery is as it was"))
