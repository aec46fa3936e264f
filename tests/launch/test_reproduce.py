"""`knobs reproduce` trains recorded runs again and compares every value."""

import json
import random
import re
import sqlite3
from pathlib import Path

import pytest
from reported import copied, knobs, project, runs, write

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reports")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def database(home: Path) -> Path:
    return home / "mlruns" / "mlflow.db"


def tags(database: Path, run: str) -> dict[str, str]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    found = dict(connection.execute("select key, value from tags where run_uuid = ?", (run,)).fetchall())
    connection.close()
    return found


def test_runs_come_out_the_same_and_change_no_report(home: Path, database: Path, tmp_path: Path) -> None:
    report = ("--small", "--out", str(tmp_path))
    assert knobs(home, "report", "search", *report).code == 0
    chance = random.Random(0)
    wanted = [
        chance.choice(runs(database, kind="seed")),
        chance.choice(runs(database, kind="trial", study="search", state="pruned")),
        *runs(database, kind="trial", study="search", winner="true"),
    ]
    for run in wanted:
        done = knobs(home, "reproduce", run)
        assert done.code == 0, done.out + done.err
        lines = done.out.splitlines()
        assert "code, data, packages, thread count and device are as recorded" in lines
        again = re.search(r"identical: all (\d+) recorded values of \d+ metrics, .* \(run ([0-9a-f]{32})\)", lines[-1])
        assert again, done.out
        assert int(again[1]) >= 5  # even a run that was pruned at once has 5
        told = tags(database, again[2])
        assert told["knobs.reproduces"] == run
        assert (told["knobs.kind"], told["knobs.reproduced"]) == ("reproduction", "identical")
        assert told["knobs.digest"] == tags(database, run)["knobs.digest"]
    done = knobs(home, "report", "search", "--check", *report[1:])
    assert done.code == 0, done.out


def test_another_thread_count_is_said_before_it_trains(home: Path, database: Path) -> None:
    run = runs(database, kind="seed", cell="width 8, tanh")[0]
    done = knobs(home, "reproduce", run, "--training.threads", "2")
    lines = done.out.splitlines()
    assert lines[:2] == ["differs: thread count: 1 recorded, 2 now", "so its values may differ"]
    assert done.code in (0, 1)  # a toy of 8 features may round the same


def test_what_differs_is_said_first_and_the_first_difference_is_named(
    home: Path, database: Path, tmp_path: Path
) -> None:
    run = runs(database, kind="seed", cell="width 8, relu")[0]

    def change(connection: sqlite3.Connection) -> None:
        connection.execute(
            "update metrics set value = 0.5 where run_uuid = ? and key = 'val/loss' and step in (16, 24)", (run,)
        )
        names = ("knobs.code", "knobs.data_fingerprint")
        connection.execute("update tags set value = 'f00d' where run_uuid = ? and key in (?, ?)", (run, *names))

    done = knobs(home, "reproduce", run, store=copied(home, tmp_path / "store", change))
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].startswith("differs: code of engine, model or data set: f00d recorded, ")
    assert any(line.startswith("differs: data: f00d recorded, ") for line in lines[1:3])
    assert lines.index("so its values may differ") < len(lines) - 1
    assert re.search(r"not the same: val/loss at step 16: 0\.5 recorded, [\d.]+ now", lines[-1])


def test_a_cell_of_a_report_made_elsewhere(home: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert knobs(home, "report", "tiny", "--small", "--out", str(report)).code == 0
    write(tmp_path)
    done = knobs(tmp_path, "reproduce", "--cell", "width  8, tanh", "--report", str(report))
    assert done.code == 0, done.out + done.err
    assert len(re.findall(r"^width 8, tanh/s100\d: identical", done.out, re.MULTILINE)) == 3
    receipts = json.loads((report / "receipts.json").read_text())
    curves, number, state = (receipts["runs"][f"width 8, tanh/s{seed}"] for seed in (1000, 1001, 1002))
    curves["values"] = "0" * 32
    number["single"]["test/accuracy"], number["values"] = 0.125, "0" * 32
    state["state"] = "diverged"
    (report / "receipts.json").write_text(json.dumps(receipts))
    done = knobs(tmp_path, "reproduce", "--cell", "width 8, tanh", "--report", str(report))
    assert done.code == 1
    only_hash = "its curves are not those of the receipt, which has only their hash"
    assert f"width 8, tanh/s1000: not the same: {only_hash} (run " in done.out, done.out
    assert re.search(r"width 8, tanh/s1001: not the same: test/accuracy at step \d+: 0\.125 recorded", done.out), (
        done.out
    )
    assert "width 8, tanh/s1002: not the same: it ended as diverged when recorded, as finished now (run " in done.out, (
        done.out
    )
    assert "not reproduced: width 8, tanh/s1000, width 8, tanh/s1001, width 8, tanh/s1002" in done.err


def test_bad_input(home: Path, database: Path, tmp_path: Path) -> None:
    parent = runs(database, kind="ablation", ablation="tiny")[0]
    assert knobs(home, "report", "tiny", "--small", "--out", str(tmp_path)).code == 0
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "receipts.json").write_text('{"version": 2, "configs": {"width 8, tanh": {}}}')
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "receipts.json").write_text(
        '{"configs": {"width 8, tanh": {}}, "runs": {"width 8, tanh/s1": {}}}'
    )
    for arguments, said in (
        (("0" * 32,), "no run '00000000000000000000000000000000' in this store"),
        (("<script>",), "no run '<script>'"),
        ((parent,), "it is a whole ablation"),
        ((), "needs RUN_ID"),
        (("--cell", "width 8, tanh"), "needs RUN_ID, or --cell LABEL with --report DIR"),
        (("--cell", "width 8, tan", "--report", str(tmp_path)), "did you mean width 8, tanh?"),
        (("--cell", "width 8, tanh", "--report", str(tmp_path / "none")), "no report in"),
        (
            ("--cell", "width 8, tanh", "--report", str(tmp_path / "old")),
            "was made by another version of knobs (receipts 2)",
        ),
        (("--cell", "width 8, tanh", "--report", str(tmp_path / "cut")), "its receipts cannot be read: KeyError"),
        ((parent, "--model.width", "3"), "a reproduction changes no knob but training.threads"),
    ):
        done = knobs(home, "reproduce", *arguments)
        assert (done.code, done.out) == (2, ""), (arguments, done.out, done.err)
        assert said in done.err, done.err
