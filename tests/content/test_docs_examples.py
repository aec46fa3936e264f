"""Every example of a page in docs/ that names its file passes its checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT, quick

BLOCK = re.compile(r'```python\n("""[^\n]*"""  # (\w+)/(\w+)\.py\n.*?)```', re.DOTALL)
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
EXAMPLES = [(page, *found) for page, text in PAGES.items() for found in BLOCK.findall(text)]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_an_example(page: str) -> None:
    assert page in {example[0] for example in EXAMPLES}


@pytest.mark.slow
def test_every_example_passes_its_checks(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    names = []
    for _, text, folder, name in EXAMPLES:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text)
        names.append(name)
    done = quick("check", *names, store=tmp_path / "mlruns", cwd=tmp_path)
    assert done.code == 0, done
    assert all(re.search(rf"^ok +[\w ]+ {name}:", done.out, re.MULTILINE) for name in names), done.out
