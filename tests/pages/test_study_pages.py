"""A study's pages in MLflow, opened in a real browser on a store that real commands wrote."""

import csv
import io
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from mlflow_pages import (
    AXES,
    BEST,
    CARDS,
    COLUMNS,
    COUNT,
    FILTER,
    LINES,
    MADE,
    NAMES,
    OPEN_SECTIONS,
    SORT,
    TEXT,
    best_first,
    browser,
    cells_of,
    free_port,
    make_trials,
    rows_appear,
    start_ui,
    stop,
)
from support import KNOBS, quick

from knobs.pages.links import links, pages_address, publish_pages
from knobs.record.schema import MlflowTag, Tag, has_tag
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ui"),
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on the PATH"),
]

STUDY = "mnist1d_mlp"
TRIALS = 9
WORSE = ("--training.max_steps", "140", "--optimizer.lr", "0.001")  # so that the baseline is not among the five best
SEARCHED = ["model.depth", "model.width", "model.activation", "optimizer.kind", "optimizer.lr", "schedule.kind"]
SEARCHED += ["optimizer.momentum"]  # only if the optimizer is SGD, so not in trial 0


@dataclass(frozen=True)
class Served:
    """A store behind `knobs ui`."""

    store: Path
    said: str
    tracker: Tracker
    port: int
    trials: list[dict[str, str]]
    """The rows of `knobs status STUDY --csv`, best first."""

    def links(self, name: str) -> dict[str, str]:
        return links(self.tracker, name, self.port)

    def varying(self) -> list[str]:
        return [knob for knob in SEARCHED if len({trial[knob] for trial in self.trials}) > 1]

    def finished(self) -> list[dict[str, str]]:
        return [trial for trial in self.trials if trial["val/accuracy"]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = tmp_path_factory.mktemp("ui") / "mlruns"
    tracker = Tracker(StoreLocations(store.parent, store))
    make_trials(tracker)
    for arguments in (("study", STUDY, "--trials", str(TRIALS), *WORSE), ("run", STUDY, "--training.max_steps", "70")):
        done = quick(*arguments, "--devices", "cpu:1", store=store)
        assert done.code == 0, done.err
    table = list(csv.DictReader(io.StringIO(quick("status", STUDY, "--csv", store=store).out)))
    table.sort(key=lambda row: (-float(row["val/accuracy"] or "-inf"), int(row["trial"])))
    port = free_port()
    process, said = start_ui(store, port)
    yield Served(store, said, tracker, port, table)
    assert stop(process) == 0


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def run_names(trials: list[dict[str, str]]) -> list[str]:
    return [f"t{int(trial['trial']):03d}" for trial in trials]


def test_ui_prints_links_newest_first(served: Served) -> None:
    named = [line for line in served.said.splitlines() if re.fullmatch(r"\w+", line)]
    assert named == [STUDY, MADE]
    for title in ("trials", "curves"):
        assert f"{title:<6}  {served.links(STUDY)[title]}\n" in served.said


def test_other_commands_end_with_the_same_links(served: Served) -> None:
    for arguments in (("status", STUDY), ("study", STUDY, "--trials", str(TRIALS), *WORSE)):
        done = quick(*arguments, store=served.store)
        for link in served.links(STUDY).values():
            assert link.replace(f":{served.port}/", ":5000/") in done.out


def test_trials_are_sorted_and_the_varying_knobs_are_columns(served: Served, page: Chromium) -> None:
    page.open(served.links(STUDY)["trials"])
    names = rows_appear(page, TRIALS)
    assert [name.split()[0] for name in names] == run_names(served.trials)
    columns = ["Run Name", "Created", "best/val/accuracy", *served.varying(), "knobs.state", "Duration"]
    assert page.until(COLUMNS, lambda shown: len(shown) == len(columns)) == columns
    shown = cells_of(page, "metrics.`best/val/accuracy`")
    finished = [float(value) for value in shown if value != "-"]
    assert finished == sorted(finished, reverse=True)
    assert finished == [float(trial["val/accuracy"]) for trial in served.finished()]
    assert page.ask(FILTER).endswith("and tags.`knobs.kind` = 'trial'")  # not the winner's fresh seeds
    assert page.ask(SORT) == "Sort: best/val/accuracy"
    assert page.ask(COUNT) == str(TRIALS)
    assert page.ask(TEXT).count("Trials, best first") == 1  # its name in the menu of views


def test_the_trials_curves_are_drawn_together(served: Served, page: Chromium) -> None:
    page.open(served.links(STUDY)["curves"])
    check_curves(served, page)


def test_one_click_leads_from_the_table_to_the_curves(served: Served, page: Chromium) -> None:
    page.open(served.links(STUDY)["trials"])
    rows_appear(page, TRIALS)
    page.ask("document.querySelector('input[type=radio][value=CHART]').click()")
    check_curves(served, page)


def check_curves(served: Served, page: Chromium) -> None:
    assert page.until(CARDS, lambda cards: len(cards) == 4)[:3] == ["val/accuracy", "val/loss", "train/loss"]
    page.until(LINES, lambda counts: counts == [TRIALS] * 3)
    everywhere = [knob for knob in served.varying() if all(trial[knob] for trial in served.finished())]
    assert list(dict.fromkeys(page.until(AXES))) == [*everywhere, "best/val/accuracy"]
    assert page.ask(OPEN_SECTIONS) == ["Curves", "Knobs against the objective"]


def test_the_five_best_and_the_baseline_stand_side_by_side(served: Served, page: Chromium) -> None:
    page.open(served.links(STUDY)["compare"])
    wanted = run_names(served.trials[:5])
    wanted += [] if "t000" in wanted else ["t000"]
    row = "[...document.querySelectorAll('tr')].find(e => e.innerText.startsWith('Run Name'))?.innerText ?? ''"
    shown = page.until(row)
    assert re.findall(r"t\d{3}", shown) == wanted
    assert "t000" in wanted


def test_studies_and_single_runs_are_a_list_with_their_counts(served: Served, page: Chromium) -> None:
    page.open(served.links(STUDY)["runs"])
    names = rows_appear(page, 2)
    assert names == ["run 70", STUDY]
    columns = page.until(COLUMNS, lambda shown: "knobs.state" in shown)
    assert columns[:5] == ["Run Name", "Created", "best/val/accuracy", "test/accuracy", "trials/done"]
    assert cells_of(page, "metrics.`trials/done`")[1] == str(TRIALS)


@pytest.mark.parametrize("title", ["trials", "curves"])
def test_a_deep_link_alone_reads_well(
    served: Served, page: Chromium, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    monkeypatch.setattr(Tracker, "pages_version", lambda _: "4.0.0")
    link = served.links(STUDY)[title]
    assert "viewStateShareKey" not in link
    page.open(link)
    names = rows_appear(page, TRIALS)
    assert [name.split()[0] for name in names] == run_names(served.trials)
    assert page.ask(SORT) == "Sort: best/val/accuracy"
    assert page.ask(COUNT) == str(TRIALS)
    if title == "curves":
        assert "Model training" in page.ask(TEXT)
        page.until(LINES, lambda counts: counts[:1] == [min(10, len(served.finished()))])
    else:
        assert page.ask(COLUMNS)[:2] == ["Run Name", "Created"]


def test_descriptions_say_what_how_well_and_how_again(served: Served, page: Chromium) -> None:
    base = pages_address(served.tracker.places, served.port)
    page.open(f"{base}/#/experiments?workflowType=machine_learning")
    shown = page.until(TEXT, lambda text: STUDY in text and "of 500 trials" in text)
    assert "MLPs on MNIST-1D" in shown
    assert re.search(rf"val/accuracy 0\.\d{{4}}, t00\d of {TRIALS} trials", shown)
    best = served.tracker.search(f"{has_tag(Tag.WINNER, 'true')} and {has_tag(Tag.STUDY, STUDY)}")[0]
    page.open(f"{base}/#/experiments/{served.tracker.experiment(STUDY)}/runs/{best.id}?workflowType=machine_learning")
    shown = page.until(TEXT, lambda text: "knobs run --from" in text and "mnist1d (" in text)
    assert f"Trial {best.trial} of {STUDY}" in shown
    assert f"knobs run --from {best.id}" in shown
    page.open(f"{base}/#/experiments/{served.tracker.experiment(STUDY)}/runs/{best.id}/artifacts/curves.svg")
    assert page.until("document.querySelector('img[alt=\"curves.svg\"]')?.naturalWidth") > 300


def test_of_five_hundred_trials_a_page_is_shown_and_twenty_are_drawn(served: Served, page: Chromium) -> None:
    page.open(served.links(MADE)["trials"])
    names = page.until(NAMES, lambda names: names[:1] == [f"t{BEST}"])
    assert names == [f"t{number:03d}" for number in best_first()[: len(names)]]
    assert page.ask(COUNT) == "100"
    page.requests.clear()
    page.open(served.links(MADE)["curves"])
    page.until(LINES, lambda counts: counts == [20, 20, 20])
    asked = [address for address in page.requests if "history" in address]
    assert len(asked) == 3  # one per metric
    assert len({run for address in asked for run in re.findall(r"run_ids?=([0-9a-f]{32})", address)}) == 20


def test_mlflows_own_search_finds_the_runs(served: Served) -> None:
    code = (
        "import mlflow, sys\n"
        f"mlflow.set_tracking_uri('sqlite:///{served.tracker.places.database}')\n"
        f"found = mlflow.search_runs(experiment_names=['{STUDY}'], filter_string=\"tags.`knobs.kind` = 'trial'\")\n"
        "print(len(found), found['params.model.width'].notna().all())\n"
    )
    interpreter = str(KNOBS.with_name("python"))
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [str(TRIALS), "True"]


def test_a_description_that_somebody_wrote_stays(served: Served) -> None:
    experiment = served.tracker.experiment(MADE)
    served.tracker.tag_experiment(experiment, {MlflowTag.NOTE: "mine"})
    publish_pages(served.tracker, MADE)
    assert served.tracker.experiment_tags(experiment)[MlflowTag.NOTE] == "mine"
