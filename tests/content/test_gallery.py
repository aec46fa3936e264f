"""The README's gallery shows what the committed reports state, in the order that its marker gives."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from support import ROOT

from knobs.launch.originals import originals_from_receipts
from knobs.record.runs import recorded_batch
from knobs.record.schema import Tag

found = importlib.util.spec_from_file_location("gallery", ROOT / "scripts" / "gallery.py")
assert found is not None
assert found.loader is not None
gallery = importlib.util.module_from_spec(found)
found.loader.exec_module(gallery)

README = "# x\n\n<!-- gallery b absent -->\nold\n<!-- /gallery -->\n\nrest\n"

REPORT = """# Is {name} better?

`{name}` · ablation · complete
{banner}
Expected: so.

## Verdicts

- **supported**: one \\[a, b\\], n 10 (stretched) · [runs of claim 1](#receipt-claim-1)
- **undecided**: two (why)

## What it shows

- not this

<img src="figures/main.svg" alt="over &lt;x&gt;" width="560">
<img src="figures/second.svg" alt="no" width="560">
"""


def write(reports: Path, name: str, banner: str = "") -> None:
    (reports / name).mkdir(parents=True)
    (reports / name / "report.md").write_text(REPORT.format(name=name, banner=banner))


def test_readme_shows_the_reports_that_are_committed() -> None:
    text = (ROOT / "README.md").read_text()
    assert gallery.rewrite_gallery(text, ROOT / "experiments" / "reports") == text, "run `make gallery`"
    for target in re.findall(r'\]\((experiments/reports/[^)]*)\)|src="(experiments/[^"]*)"', text):
        assert (ROOT / (target[0] or target[1])).is_file()


@pytest.mark.parametrize("report", sorted((ROOT / "experiments" / "reports").iterdir()), ids=lambda path: path.name)
def test_the_runs_of_a_committed_report_can_be_trained_again(report: Path) -> None:
    receipts = json.loads((report / "receipts.json").read_text())
    finished = {run["state"] for run in receipts["runs"].values()} & {"finished", "reused"}
    assert finished
    batches = 0
    for label in receipts["configs"]:
        for original in originals_from_receipts(label, report):
            assert original.config.to_json()
            execution = original.facts[Tag.EXECUTION]
            assert execution == "solo" or original.config in recorded_batch(original.config, execution)
            batches += execution != "solo"
    assert batches == sum(
        receipts["origins"][run["origin"]]["execution"] != "solo"
        for run in receipts["runs"].values()
        if run["kind"] == ("seed" if receipts["kind"] == "ablation" else "trial")
    )


def test_without_reports(tmp_path: Path) -> None:
    text = gallery.rewrite_gallery(README, tmp_path / "none")
    assert "No report is committed yet" in text
    assert (text.startswith("# x\n"), text.endswith("\nrest\n")) == (True, True)
    with pytest.raises(SystemExit, match="no <!-- gallery -->"):
        gallery.rewrite_gallery("# x\n", tmp_path)


def test_the_first_verdicts_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    write(tmp_path, "b")
    report = tmp_path / "b" / "report.md"
    more = "".join(f"- **{word}**: more, n 5\n" for word in ["supported"] * 4 + ["contradicted"])
    report.write_text(report.read_text().replace("- **undecided**: two (why)\n", "- **undecided**: two (why)\n" + more))
    text = gallery.rewrite_gallery(README, tmp_path)
    assert text.count("**: more, n 5") == 2
    assert "- and 3 more: 2 supported, 1 contradicted\n" in text


def test_order_and_contents(tmp_path: Path) -> None:
    for name in ("c", "b", "a"):
        write(tmp_path, name, "\n> **Incomplete.**\n" if name == "a" else "")
    text = gallery.rewrite_gallery(README, tmp_path)
    assert re.findall(r"\[Is (\w) better\?\]\(experiments/reports/(\w)/report\.md\)", text) == [
        ("b", "b"), ("a", "a"), ("c", "c")
    ]  # fmt: skip
    assert text.count("- **supported**: one \\[a, b\\], n 10\n- **undecided**: two (why)\n") == 3
    assert text.count("> **Incomplete.**") == 1
    assert '<img src="experiments/reports/b/figures/main.svg" alt="over &lt;x&gt;"' in text
    assert "not this" not in text
    assert "second" not in text
    assert gallery.rewrite_gallery(text, tmp_path) == text
