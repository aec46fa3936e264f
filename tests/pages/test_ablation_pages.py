"""An ablation's pages in MLflow, opened in a real browser, after two of its levels were replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from mlflow_pages import (
    COLOURS,
    COLUMNS,
    COUNT,
    LEGENDS,
    OPEN_SECTIONS,
    SORT,
    TEXT,
    browser,
    cells_of,
    free_port,
    rows_appear,
    start_ui,
    stop,
)
from reported import TINY
from support import Done, quick

from knobs.pages.ablation_views import NOT_ASIDE
from knobs.pages.links import links, pages_address, publish_pages
from knobs.record.queries import runs_of_kind
from knobs.record.schema import Kind, Tag
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ui_ablation"),
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on the PATH"),
]

NAME, SEEDS, TRIALS = "tiny", 3, 2
FACTORS = ["model.width", "model.activation"]
CELLS = {"width 8, relu", "width 8, tanh", "width 16, relu", "width 16, tanh"}
ASIDE = {"width 2, relu", "width 2, tanh"}
ABLATE = ("ablate", NAME, "--devices", "cpu:1")


@dataclass(frozen=True)
class Served:
    """A store behind `knobs ui`, and the output of the commands."""

    folder: Path
    store: Path
    tracker: Tracker
    port: int
    done: Done
    said: str

    def links(self) -> dict[str, str]:
        return links(self.tracker, NAME, self.port)

    def kind(self, kind: str) -> list[Row]:
        return runs_of_kind(self.tracker, kind, self.tracker.experiment(NAME))

    def means(self) -> dict[str, float]:
        """Return each cell's mean, computed from its runs, best first."""
        values: dict[str, list[float]] = {}
        for row in self.kind(Kind.SEED):
            values.setdefault(row.tags[Tag.CELL], []).append(row.metrics["test/accuracy"])
        found = {cell: sum(runs) / len(runs) for cell, runs in values.items() if cell in CELLS}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("ablated")
    path, store = folder / "experiments" / f"{NAME}.py", folder / "mlruns"
    path.parent.mkdir()
    for levels, options in (("[2, 8]", ("--seeds", "2")), ("[8, 16]", ())):
        path.write_text(TINY.replace("[2, 8]", levels))
        done = quick(*ABLATE, *options, store=store, cwd=folder)
        assert done.code == 0, done.err
    tracker, port = Tracker(StoreLocations(folder, store)), free_port()
    process, said = start_ui(store, port, cwd=folder)
    yield Served(folder, store, tracker, port, done, said)
    assert stop(process) == 0


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def test_ablate_and_status_end_with_the_links_that_ui_prints(served: Served) -> None:
    status = quick("status", NAME, store=served.store, cwd=served.folder)
    for title, link in served.links().items():
        for done in (served.done, status):
            assert f"{title:<6}  {link.replace(f':{served.port}/', ':5000/')}\n" in done.out
    assert f"{NAME}\n    cells  {served.links()['cells']}\n    seeds  {served.links()['seeds']}\n" in served.said
    assert f"{NAME}: 4 of 4 cells, 12 of 12 seeds, finished" in status.out
    table = status.out[status.out.index(f"{NAME}: test/accuracy") : status.out.index("accuracy rises with width")]
    assert table in served.done.out
    refused = quick("status", NAME, "--csv", store=served.store, cwd=served.folder)
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_cells_show_factors_means_and_intervals_the_best_first(served: Served, page: Chromium) -> None:
    page.open(served.links()["cells"])
    names, means = rows_appear(page, len(CELLS)), served.means()
    assert set(names) == CELLS
    shown = [f"{part}/test/accuracy" for part in ("mean", "low", "high")]
    columns = ["Run Name", "Created", *FACTORS, *shown, "seeds/in_mean", "budget/trials", "knobs.state", "Duration"]
    assert page.until(COLUMNS, lambda found: len(found) == len(columns)) == columns
    values = [float(value) for value in cells_of(page, "metrics.`mean/test/accuracy`")]
    assert values == sorted(values, reverse=True)
    assert values == pytest.approx([means[name] for name in names])
    for factor, place in zip(FACTORS, (0, 1), strict=True):
        levels = [name.removeprefix("width ").split(", ")[place] for name in names]
        assert cells_of(page, f"params.`{factor}`") == levels
    low, high = ([float(x) for x in cells_of(page, f"metrics.`{end}/test/accuracy`")] for end in ("low", "high"))
    assert all(a <= b <= c for a, b, c in zip(low, values, high, strict=True))
    assert cells_of(page, "metrics.`seeds/in_mean`") == [str(SEEDS)] * len(CELLS)
    assert cells_of(page, "metrics.`budget/trials`") == [str(TRIALS)] * len(CELLS)
    assert page.ask(SORT) == "Sort: mean/test/accuracy"
    assert page.ask(COUNT) == str(len(CELLS))
    assert page.ask(TEXT).count("Cells, best mean first") == 1


def test_seeds_stand_in_a_closed_group_a_cell_with_their_mean(served: Served, page: Chromium) -> None:
    page.open(served.links()["seeds"])
    rows, means = rows_appear(page, len(CELLS)), served.means()
    groups = [re.search(r"Group: (.*)\n(\d+)", row) for row in rows]
    assert {(found[1], found[2]) for found in groups if found} == {(cell, str(SEEDS)) for cell in CELLS}
    names = [found[1] for found in groups if found]
    columns = ["Run Name", "Created", *FACTORS, "test/accuracy", "optimizer.lr", "knobs.state", "Duration"]
    assert page.until(COLUMNS, lambda found: len(found) == len(columns)) == columns
    values = [float(value.removesuffix(" (average)")) for value in cells_of(page, "metrics.`test/accuracy`")]
    assert values == pytest.approx([means[name] for name in names])
    assert values == sorted(values, reverse=True)
    assert cells_of(page, "params.`model.width`") == [re.findall(r"\d+", name)[0] for name in names]
    assert page.ask(COUNT) == str(len(CELLS) * SEEDS)


def test_curves_are_one_a_cell(served: Served, page: Chromium) -> None:
    page.open(served.links()["curves"])
    page.until(COLOURS, lambda counts: counts == [len(CELLS)] * 3)
    assert [set(names) for names in page.ask(LEGENDS)] == [CELLS] * 3
    assert page.ask(OPEN_SECTIONS) == ["Curves"]


def test_the_rest_is_a_list_with_verdicts_and_counts(served: Served, page: Chromium) -> None:
    page.open(served.links()["runs"])
    assert rows_appear(page, 1) == [NAME]
    assert page.ask(COUNT) == "2"  # the reference is folded under its ablation
    columns = page.until(COLUMNS, lambda found: "knobs.source" in found)
    counts = ["cells/done", "seeds/done", "trials/done", "trials/reused", "trials/pruned", "trials/diverged"]
    assert columns == [
        "Run Name",
        "Created",
        "knobs.verdicts",
        "test/accuracy",
        *counts,
        "knobs.state",
        "knobs.source",
        "Duration",
    ]
    found = [cells_of(page, f"metrics.`{name}`") for name in counts[:3]]
    assert found == [["4"], [str(4 * SEEDS)], [str(4 * TRIALS)]]


@pytest.mark.parametrize(("title", "count"), [("cells", len(CELLS)), ("seeds", len(CELLS) * SEEDS)])
def test_a_deep_link_alone_reads_well(
    served: Served, page: Chromium, monkeypatch: pytest.MonkeyPatch, title: str, count: int
) -> None:
    monkeypatch.setattr(Tracker, "pages_version", lambda _: "4.0.0")
    link = served.links()[title]
    assert "viewStateShareKey" not in link
    page.open(link)
    rows_appear(page, count)
    assert page.ask(SORT) == {"cells": "Sort: mean/test/accuracy", "seeds": "Sort: test/accuracy"}[title]


def test_what_no_longer_speaks_for_the_ablation_lies_aside_until_it_does_again(served: Served) -> None:
    where = served.tracker.experiment(NAME)

    def aside() -> set[str]:
        rows = [*served.kind(Kind.CELL), *served.kind(Kind.SEED)]
        shown = {row.id for row in served.tracker.search(NOT_ASIDE, where)}
        return {row.tags[Tag.CELL] for row in rows if row.id not in shown}

    assert aside() == ASIDE
    path = served.folder / "experiments" / f"{NAME}.py"
    path.write_text(TINY.replace("[2, 8]", "[2, 8, 16]"))
    done = quick(*ABLATE, store=served.store, cwd=served.folder)
    assert done.code == 0, done.err
    assert aside() == set()
    assert len(served.kind(Kind.CELL)) == len(CELLS | ASIDE)
    assert {row.levels["model.width"] for row in served.kind(Kind.SEED)} == {"2", "8", "16"}


def test_descriptions_say_question_claim_verdicts_and_how_again(served: Served, page: Chromium) -> None:
    parent = served.kind(Kind.ABLATION)[0]
    base = f"{pages_address(served.tracker.places, served.port)}/#/experiments"
    page.open(f"{base}?workflowType=machine_learning")
    shown = page.until(TEXT, lambda text: NAME in text and " seeds" in text)
    assert "Does width help on a toy?" in shown
    assert f"{parent.tags[Tag.VERDICTS]}; 6 of 6 cells, 18 of 18 seeds" in shown
    assert quick("report", NAME, store=served.store, cwd=served.folder).code == 0
    publish_pages(served.tracker, NAME)
    page.open(f"{base}/{served.tracker.experiment(NAME)}/runs/{parent.id}?workflowType=machine_learning")
    page.until("[...document.querySelectorAll('button')].find(e => e.innerText == 'Show more')?.click() ?? 1")
    shown = page.until(TEXT, lambda text: "Report:" in text)
    for text in ("Wider is better.", "accuracy rises with width", "effect ", f"knobs ablate {NAME}", "report.html"):
        assert text in shown
