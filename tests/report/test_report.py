"""Reports: sections, receipts, comparisons, and names that try to break out of the page."""

import csv
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reported import NASTY_NAMES, copied, knobs, project, receipts, runs, write

from knobs.record.definition import VERSION

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reports")]

SECTIONS = [
    "Verdicts",
    "What it shows",
    "Cells: test accuracy",
    "Learning curves",
    "Tuning",
    "What was fixed",
    "Failures and divergences",
    "Review",
    "How to reproduce",
    "Provenance",
    "Receipts",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def report(home: Path) -> Path:
    done = knobs(home, "report", "tiny")
    assert done.code == 0, done.err
    return home / "mlruns" / "reports" / "tiny"


def every_file(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Page(HTMLParser):
    """A page's tags with their attributes, and the texts inside them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.append((self._open[-1], data))

    def within(self, tag: str) -> list[str]:
        return [text.strip() for name, text in self.texts if name == tag and text.strip()]


def test_files_and_contents_in_order(report: Path) -> None:
    figures = {f"figures/{name}.{kind}" for name in ("main", "curves", "tuning", "tuned-1") for kind in ("svg", "png")}
    others = {"report.md", "report.html", "table.csv", "table.tex", "receipts.json", "times.csv"}
    assert every_file(report).keys() == figures | others
    text = (report / "report.md").read_text()
    assert text.startswith("# Does width help on a toy?\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert Page((report / "report.html").read_text()).within("h2") == SECTIONS
    assert "Wider is better." in text
    assert "chance, test/accuracy 0.3333: three classes" in text
    assert "knobs ablate tiny --repetitions 1 --trials 2 --seeds 3" in text
    assert text.count("- **look**") + text.count("- **fine**") == 17
    for image in re.findall(r'src="([^"]+)"', text):
        assert (report / image).is_file()
    for path in (report / "figures").glob("*.svg"):
        ET.parse(path)


def test_page_is_one_file_without_script(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "img", "object", "embed"}
    assert not re.findall(r"url\((?!#)|@import|\bon\w+=", text)
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    local = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    beside = {"table.csv", "times.csv", "receipts.json"}
    assert {target[1:] for target in local if target and target.startswith("#")} <= set(ids)
    assert {target for target in local if target and not target.startswith("#")} == beside


def test_every_number_has_a_receipt(report: Path) -> None:
    found = receipts(report)
    shown = {entry["shown"] for entry in found["numbers"].values()}
    page = Page((report / "report.html").read_text())
    linked = [text for tag, text in page.texts if tag == "a" and re.fullmatch(r"[-+<\d.,e ]+", text)]
    assert len(linked) > 40
    assert set(linked) <= shown
    text = (report / "report.md").read_text()
    for section in ("Verdicts", "Cells: test accuracy", "Tuning", "Failures and divergences", "Review"):
        body = re.sub(r"`[^`]*`( \([^)]*\))?", "", text.split(f"## {section}\n")[1].split("\n## ")[0])
        assert set(re.findall(r"[-+]?\d+\.\d+", body)) <= shown, section
    wanted = {"id", "digest", "seed", "commit", "diff", "code", "data", "packages", "machine", "threads", "values"}
    for key, entry in found["numbers"].items():
        assert entry["how"], key
        for run in found["groups"][entry["runs"]]:
            assert wanted <= found["runs"][run].keys()
    trials, seeds = sorted(origin["execution"] for origin in found["origins"].values())
    assert trials.startswith('batch of {"optimizer.lr": [')
    assert seeds == 'batch of {"seed": [1000, 1001, 1002]}'
    for run in found["runs"].values():
        assert re.fullmatch("[0-9a-f]{64}", run["digest"])
        assert found["packages"][run["packages"]]["torch"]
        assert found["machines"][run["machine"]]["python"]
    assert len(found["runs"]) == 4 * (2 + 3)
    assert found["groups"]["seeds of width 2, relu"] == [f"width 2, relu/s{seed}" for seed in (1000, 1001, 1002)]


def test_table_holds_the_numbers_of_the_receipts(report: Path) -> None:
    found = receipts(report)["numbers"]
    rows = list(csv.DictReader((report / "table.csv").read_text().splitlines()))
    assert [row["cell"] for row in rows] == ["width 2, relu", "width 2, tanh", "width 8, relu", "width 8, tanh"]
    for row in rows:
        assert float(row["mean"]) == found[f"table/{row['cell']}/mean"]["value"]
        assert row["seeds"] == "3"
    assert [row["cell"] for row in rows if not row["difference"]] == ["width 8, relu"]  # the baseline
    tex = (report / "table.tex").read_text()
    assert tex.count(r"\\") == 1 + 4
    assert r"\toprule" in tex


def test_same_bytes_when_built_twice_and_small_is_a_part_of_it(home: Path, report: Path, tmp_path: Path) -> None:
    assert knobs(home, "report", "tiny", "--out", str(tmp_path / "again")).code == 0
    assert every_file(tmp_path / "again") == every_file(report)
    assert knobs(home, "report", "tiny", "--small", "--out", str(tmp_path / "again")).code == 0  # replaces it
    small = every_file(tmp_path / "again")
    assert {Path(path).suffix for path in small} == {".md", ".csv", ".svg", ".json"}
    assert all(data == (report / path).read_bytes() for path, data in small.items() if path != "receipts.json")
    done = knobs(home, "report", "tiny", "--check", "--out", str(tmp_path / "again"))
    assert done.code == 0, done.out


def test_check_names_what_was_altered(home: Path, report: Path, tmp_path: Path) -> None:
    done = knobs(home, "report", "tiny", "--check")
    assert (done.code, "is what the store gives" in done.out) == (0, True), done.out
    run = runs(home / "mlruns" / "mlflow.db", cell="width 8, tanh", kind="seed")[0]

    def check(change: str, **options: str) -> str:
        folder = tmp_path / re.sub(r"\W+", "-", change)[:40]
        store = copied(home, folder, lambda c: c.execute(change, options or {"run": run}))
        done = knobs(home, "report", "tiny", "--check", "--out", str(report), store=store)
        assert done.code == 1, done.out
        return done.out

    where = "where run_uuid = :run and key = 'test/accuracy'"
    out = check(f"update latest_metrics set value = 0.99 {where}")
    assert re.search(rf"run {run} \(width 8, tanh/s100\d\): test/accuracy was 0\.\d+, is 0\.99", out)
    assert "table/width 8, tanh/mean" in out
    assert "figures/main.svg" in out
    out = check("update metrics set value = value * 1.0000001 where run_uuid = :run and key = 'val/loss' and step = 16")
    assert f"run {run} (width 8, tanh/s" in out
    out = check("update runs set lifecycle_stage = 'deleted' where run_uuid = :run")
    assert "is in the report and not in the store" in out


def test_check_names_what_was_edited(home: Path, report: Path, tmp_path: Path) -> None:
    edited = tmp_path / "edited"
    shutil.copytree(report, edited)
    figure = edited / "figures" / "main.svg"
    figure.write_text(figure.read_text().replace("#0072b2", "#0072b3", 1))
    (edited / "table.tex").unlink()
    text = (edited / "report.md").read_text()
    (edited / "report.md").write_text(text.replace("| 3 | ", "| 4 | ", 1))
    numbers = (edited / "receipts.json").read_text()
    (edited / "receipts.json").write_text(re.sub(r'"shown":"[^"]*"', '"shown":"7"', numbers, count=1))
    (edited / "times.csv").write_text("the clock is nobody's business")
    done = knobs(home, "report", "tiny", "--check", "--out", str(edited))
    assert done.code == 1
    assert "figures/main.svg: was edited" in done.out
    assert "table.tex: is missing" in done.out
    assert "report.md: was edited" in done.out
    assert "its receipt was altered" in done.out
    assert "times.csv" not in done.out
    assert "4 differences" in done.err


def test_against_a_rerun_in_an_empty_store(home: Path, report: Path, tmp_path: Path) -> None:
    write(tmp_path)
    done = knobs(tmp_path, "ablate", "tiny", "--devices", "cpu:2")
    assert done.code == 0, done.err
    done = knobs(tmp_path, "report", "tiny", "--against", str(report))
    assert (done.code, "identical to" in done.out) == (0, True), done.out + done.err
    run = runs(tmp_path / "mlruns" / "mlflow.db", cell="width 8, tanh", kind="seed")[1]
    where = f"where run_uuid = '{run}' and key = 'test/accuracy'"
    change = f"update latest_metrics set value = value + 0.25 {where}"
    store = copied(tmp_path, tmp_path / "other", lambda c: c.execute(change))
    done = knobs(tmp_path, "report", "tiny", "--against", str(report), store=store)
    assert done.code == 1
    found = re.search(r"table/width 8, tanh/mean: [\d.]+ there, [\d.]+ here \(differs by \+0\.0833, ", done.out)
    assert found, done.out
    broken = tmp_path / "broken"
    shutil.copytree(report, broken)
    (broken / "table.csv").write_text("x")
    done = knobs(tmp_path, "report", "tiny", "--against", str(broken))
    assert (done.code, "was changed after the report was made" in done.out) == (1, True)


def test_unfinished_is_marked_and_decides_nothing(home: Path, tmp_path: Path) -> None:
    database = home / "mlruns" / "mlflow.db"
    seed, trial = (
        runs(database, cell="width 8, tanh", kind="seed")[0],
        runs(database, cell="width 2, relu", kind="trial")[1],
    )
    change = f"update tags set value = 'interrupted' where key = 'knobs.state' and run_uuid in ('{seed}', '{trial}')"
    store = copied(home, tmp_path / "store", lambda c: c.execute(change))
    done = knobs(home, "report", "tiny", "--out", str(tmp_path / "report"), store=store)
    assert done.code == 0, done.err
    text = (tmp_path / "report" / "report.md").read_text()
    assert "width 2, relu: 1 of 2 trials; width 8, tanh: 2 of 3 seeds" in text
    assert "· incomplete ·" in text
    assert len(re.findall(r"- \*\*undecided\*\*: .*the ablation is not finished", text)) == 2
    assert "**supported**" not in text
    assert receipts(tmp_path / "report")["complete"] is False
    assert "unfinished" in text.split("## Failures and divergences")[1].split("## ")[0]


def test_bad_input(home: Path, report: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("report", "tiney"), "no study or ablation named 'tiney' is recorded; did you mean tiny?"),
        (("report", "../tiny"), "no study or ablation named '../tiny'"),
        (("report", "tiny", "--check", "--out", str(tmp_path)), "no report in"),
        (("report", "tiny", "--against", str(tmp_path)), "no report in"),
        (("report", "search", "--check", "--out", str(report)), "is the report of tiny, not of search"),
        (("report", "tiny", "--check", "--against", str(report)), "use one of them"),
    ):
        done = knobs(home, *arguments)
        assert (done.code, done.out) == (2, ""), arguments
        assert message in done.err
        assert len(done.err.splitlines()) <= 4
    done = knobs(home, "report", "tiny", store=tmp_path / "empty")
    assert (done.code, "nothing is recorded yet" in done.err) == (2, True)
    definition = next((home / "mlruns").rglob("definition.json"))
    text = definition.read_text()
    try:
        definition.write_text(text.replace(f'"version": {VERSION}', '"version": 99'))
        name = "tiny" if '"name": "tiny"' in text else "nasty" if '"name": "nasty"' in text else "search"
        done = knobs(home, "report", name)
        assert (done.code, "another version of knobs" in done.err) == (2, True), done.err
        definition.unlink()
        done = knobs(home, "report", name)
        assert (done.code, "writes it again" in done.err) == (2, True), done.err
    finally:
        definition.write_text(text)


def test_nasty_names_break_out_of_nothing(home: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    done = knobs(home, "report", "nasty", "--out", str(tmp_path / "a" / "b" / "report"))
    assert done.code == 0, done.err
    report = tmp_path / "a" / "b" / "report"
    outside = {p for p in tmp_path.rglob("*") if p not in before and p.is_file() and report not in p.parents}
    assert not outside
    text = (report / "report.html").read_text()
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "b", "i", "object"}
    assert sum(tag == "style" for tag, _ in page.tags) == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for path in (report / "figures").glob("*.svg"):
        assert not {element.tag for element in ET.parse(path).iter()} & {"{http://www.w3.org/2000/svg}script"}
    markdown = re.sub(r"^```.*?^```$", "", (report / "report.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"<(?!img src=\"figures/|a id=\"|/a>)", markdown)
    assert not re.search(r"(?<!\\)\[l(?<!\\)\]\(", markdown)
    assert [line for line in markdown.splitlines() if line.startswith("# ")] == markdown.splitlines()[:1]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("| ")}
    assert widths <= {3, 4, 5, 9}, widths
    tex = (report / "table.tex").read_text()
    assert not re.search(r"(?<!\\)[_#%](?!\s*needs)", tex.replace(r"% needs \usepackage{booktabs}", ""))
    rows = list(csv.reader((report / "table.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == [" ".join(name.split()) for name in NASTY_NAMES]
    assert knobs(home, "report", "nasty", "--check", "--out", str(report)).code == 0


def test_cells_of_their_own_spaces_steps_and_data(home: Path) -> None:
    done = knobs(home, "report", "mixed")
    assert done.code == 0, done.err
    text = (home / "mlruns" / "reports" / "mixed" / "report.md").read_text()
    assert "in every cell but linear (nothing to tune)" in text
    assert "(0.001 to 0.5, log: one; 0.001 to 0.25, log: two). Budget of every cell: 3 trials of 16 to 24 steps" in text
    assert "all runs share code, data, packages, thread count, device and machine" in text  # of one data set
    assert "`unknown`" not in text
    receipts_of = receipts(home / "mlruns" / "reports" / "mixed")["runs"]
    assert [key for key in receipts_of if key.startswith("linear/")] == ["linear/s1000", "linear/s1001"]
    assert len({run["cpu_capability"] for run in receipts_of.values()}) == 1


def test_study_report(home: Path) -> None:
    done = knobs(home, "report", "search")
    assert done.code == 0, done.err
    report = home / "mlruns" / "reports" / "search"
    text = (report / "report.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:4] == [
        "What it found",
        "How the search went",
        "The best trials: validation accuracy",
        "Learning curves",
    ]
    found = receipts(report)
    rows = list(csv.DictReader((report / "table.csv").read_text().splitlines()))
    assert len(rows) == 12 == len(found["runs"])
    best = max(float(row["val/accuracy"]) for row in rows if row["val/accuracy"])
    assert found["numbers"]["best/value"]["value"] == best
    assert "best/test/accuracy" in found["numbers"]
    counted = {key: entry["value"] for key, entry in found["numbers"].items() if key.startswith("ends/")}
    assert sum(counted.values()) == 12
    finished = sum(row["state"] == "finished" for row in rows)
    names = {path.stem for path in (report / "figures").glob("*.svg")}
    shared = {"history", "curves", "slices", "interactions"}
    assert names == shared | ({"importances"} if finished >= 10 else set())
    done = knobs(home, "report", "search", "--check")
    assert done.code == 0, done.out
