"""Views, descriptions and links of MLflow's pages. `test_study_pages` tests what a browser shows."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from datamodules.toy import Toy
from knobs import BadInputError, RunConfig, Training
from knobs.launch.plans.plan import Task
from knobs.pages.links import address, links
from knobs.pages.notes import NOTE, ablation_note, command_tags, run_note, study_note, unless_edited
from knobs.pages.study_views import best_and_baseline, trials_view, varying
from knobs.pages.views import View, deep_link, metric, shared, state, tag
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.training import CurvePoint, Outcome
from knobs.training.curves_svg import draw_curves
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.constant import Constant

PARENT = {"metric": "val/loss", "direction": "minimize"}


def row(number: int, params: dict[str, str], loss: float | None = 0.5, **tags: str) -> Row:
    metrics = (
        {} if loss is None else {"best/val/loss": loss, "train/loss": 1.0, "system/seconds": 1.0, "parameters": 2.0}
    )
    return Row(
        id=f"run{number}",
        name=f"t{number:03d}",
        status="FINISHED",
        tags={"knobs.trial": str(number), **tags},
        params=params,
        metrics=metrics,
        start_ms=0,
        end_ms=1,
        artifacts="",
        experiment="1",
    )


def parent(**tags: str) -> Row:
    return dataclasses.replace(row(0, PARENT, 0.25, **tags), id="parent", metrics={"best/val/loss": 0.25})


def trials(*params: dict[str, Any]) -> list[Row]:
    return [row(number, {k: str(v) for k, v in given.items()}) for number, given in enumerate(params)]


def test_a_deep_link_says_filter_order_and_mode() -> None:
    view = View(key="k", title="T", filters="tags.`a` = 'b&c'", order_by=metric("best/x"), ascending=True)
    for charts in (False, True):
        found = urlsplit(deep_link("http://127.0.0.1:5000", "7", view, charts=charts))
        path, _, query = found.fragment.partition("?")
        asked = {key: value[0] for key, value in parse_qs(query).items()}
        assert path == "/experiments/7/runs"
        assert asked.pop("compareRunsMode", None) == ("CHART" if charts else None)
        assert asked == {
            "workflowType": "machine_learning",
            "searchFilter": "tags.`a` = 'b&c'",
            "orderByKey": "metrics.`best/x`",
            "orderByAsc": "true",
        }


def test_knobs_that_are_searched_come_first_and_constants_not_at_all() -> None:
    rows = trials({"a": 1, "z": 1, "b": 1, "c": 1}, {"a": 2, "z": 2, "b": 2, "c": 1})
    assert varying(rows, ["z", "c"]) == ("z", "a", "b")


def test_a_searched_knob_that_only_some_runs_have_varies() -> None:
    rows = trials({"optimizer.kind": "sgd", "optimizer.momentum": 0.9}, {"optimizer.kind": "adamw"})
    assert varying(rows, ["optimizer.kind", "optimizer.momentum"]) == (
        "optimizer.kind",
        "optimizer.momentum",
    )


def test_a_knob_that_its_kind_decides_says_no_more_than_the_kind() -> None:
    rows = trials({"o.kind": "sgd", "o.decay": 0}, {"o.kind": "adamw", "o.decay": 0.1}, {"o.kind": "sgd", "o.decay": 0})
    assert varying(rows, ["o.kind"]) == ("o.kind",)
    rows += trials({"o.kind": "sgd", "o.decay": 0.5})
    assert varying(rows, ["o.kind"]) == ("o.kind", "o.decay")


def test_a_studys_view_has_the_objective_first_and_state_last() -> None:
    view = trials_view(parent(), trials({"a": 1}, {"a": 2}), ["a"])
    assert view.columns == ("metrics.`best/val/loss`", "params.`a`", "tags.`knobs.state`")
    assert view.ascending
    assert view.curves == ("val/loss", "train/loss")
    assert view.folded == ("Model metrics", "best/val", "System metrics")


def test_before_two_trials_have_ended_the_searched_knobs_are_columns() -> None:
    assert trials_view(parent(), [], ["a", "b"]).columns[1:-1] == ("params.`a`", "params.`b`")


def test_parallel_coordinates_leave_out_what_not_every_finished_run_has() -> None:
    rows = [*trials({"a": 1, "b": 1}, {"a": 2}), row(2, {"a": "3", "b": "2"}, None)]
    assert trials_view(parent(), rows, ["a", "b"]).parallel == ("a",)


def test_the_baseline_stands_beside_the_best() -> None:
    rows = [row(number, {}, loss) for number, loss in enumerate((9.0, 3.0, None, 1.0, 2.0, 1.0, 5.0))]
    assert best_and_baseline(parent(), rows, 3) == ["run3", "run5", "run4", "run0"]
    assert best_and_baseline(parent(), rows[:2], 3) == ["run1", "run0"]
    assert best_and_baseline(parent(), [], 3) == []


def test_a_shared_view_fits_the_tag_and_is_read_back() -> None:
    knobs = {f"model.a_rather_long_name_{number}": number for number in range(30)}
    rows = trials(knobs, {name: value + 1 for name, value in knobs.items()})
    ((key, text),) = shared(trials_view(parent(), rows, list(knobs)), 7).items()
    assert key == "mlflow.sharedViewState.knobs-trials"
    assert len(text) < 20_000  # MLflow takes no longer one
    told = json.loads(text)
    assert (told["name"], told["createdAt"]) == ("Trials, best first", 7)
    state = json.loads(told["state"])
    assert set(state["selectedColumns"]) <= set(state["columnOrder"])
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections


@pytest.mark.parametrize(("count", "mode"), [(50, "SHOW_ALL"), (51, "FIRST_20_RUNS")])
def test_many_trials_are_not_all_drawn_at_once(count: int, mode: str) -> None:
    rows = trials(*({"a": number} for number in range(count)))
    assert state(trials_view(parent(), rows, ["a"]))["runsHiddenMode"] == mode


def test_a_description_is_replaced_only_where_it_is_ours() -> None:
    first = unless_edited({}, "one")
    assert first[NOTE] == "one"
    assert unless_edited(first, "one") == {}
    assert unless_edited(first, "two")[NOTE] == "two"
    assert unless_edited({**first, NOTE: "mine"}, "two") == {}


def test_a_studys_description() -> None:
    tags = command_tags("study", "no_such_file", {"trials": 8, "seed": None}, {"model.width": "7 8"})
    told = study_note(parent(**tags, **{"knobs.best_trial": "3"}), 9, {"trials": "#/x"}, Path("a/report.html"))
    assert told.split("\n\n") == [
        "Best so far: val/loss 0.2500, t003 of 9 trials.",
        "[trials](#/x)",
        "`knobs study no_such_file --trials 8 --model.width '7 8'`",
        "Report: `a/report.html`",
    ]


def test_an_ablations_description_has_a_line_a_claim_decided_or_open() -> None:
    told = {"question": "Q?", "claim": "C.", "claims": [{"text": "wide wins"}, {"text": "deep wins"}]}
    start = ablation_note(parent(), "0 of 2 cells, 0 of 4 seeds", told, [], {})
    assert start.split("\n\n")[2:] == [
        "Nothing decided yet; 0 of 2 cells, 0 of 4 seeds.",
        "- **open**: wide wins\n- **open**: deep wins",
    ]
    decided = {"claim": "wide wins", "verdict": "supported", "effect": 0.1, "interval": [0.05, 0.2], "p": 0.01, "n": 5}
    unknown = {"claim": "deep wins", "verdict": "undecided"}
    tags = command_tags("ablate", "no_such_file", {"quick": True, "seeds": 2, "trials": None}, {})
    ended = parent(**tags, **{"knobs.verdicts": "1 supported, 1 undecided"})
    assert ablation_note(ended, "2 of 2 cells, 4 of 4 seeds", told, [decided, unknown], {"cells": "#/x"}) == (
        "Q?\n\n*C.*\n\n1 supported, 1 undecided; 2 of 2 cells, 4 of 4 seeds.\n\n"
        "- **supported**: wide wins (effect +0.1000, 95% [+0.0500, +0.2000], p 0.01, n 5)\n"
        "- **undecided**: deep wins\n\n"
        "[cells](#/x)\n\n`knobs ablate no_such_file --quick --seeds 2`"
    )


def test_groups_open_closed() -> None:
    view = View(key="k", title="T", filters="", order_by="", group_by=(tag("a"),), closed=("x", "y z"))
    assert state(view)["groupsExpanded"] == {"tag.a.x": False, "tag.a.y z": False}
    assert "groupsExpanded" not in state(dataclasses.replace(view, group_by=()))


@pytest.mark.parametrize(
    ("outcome", "how"),
    [
        (
            Outcome(state="finished", best_step=30, summary={"best/val/loss": 0.5}),
            "Finished: **val/loss 0.5000** at step 30.",
        ),
        (Outcome(state="pruned", message="pruned"), "Pruned at step 12."),
        (Outcome(state="diverged", message="loss is inf at step 9"), "Diverged: loss is inf at step 9."),
    ],
)
def test_a_runs_description(outcome: Outcome, how: str) -> None:
    config = RunConfig(model=MLP(), data=Toy(), optimizer=AdamW(lr=0.1), schedule=Constant(), training=Training())
    tags = {"knobs.kind": "trial", "knobs.study": "no_such_file", "knobs.trial": "4"}
    task = Task("t004", config, "t004", tags, metric="val/loss", run="abc", step=12)
    told = run_note(task, outcome, outcome.state)
    assert told.split("\n\n") == ["Trial 4 of `no_such_file`", how, "`knobs run --from abc`"]


def test_links_lead_to_a_teams_server_without_its_password(tmp_path: Path) -> None:
    assert address(StoreLocations(tmp_path, tmp_path), 5001) == "http://127.0.0.1:5001"
    assert address(StoreLocations(tmp_path, tmp_path, "http://me:secret@host:80/")) == "http://me:***@host:80"


def test_what_cannot_be_published_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(StoreLocations(tmp_path, tmp_path / "mlruns"))
    tracker.experiment("n")

    def refuse(*_: object) -> None:
        raise BadInputError("no")

    monkeypatch.setattr(Tracker, "tag_experiment", refuse)
    (link,) = links(tracker, "n", publish=True).values()
    assert "searchFilter" in link
    monkeypatch.undo()
    (link,) = links(tracker, "n", publish=True).values()
    assert "viewStateShareKey=knobs-studies" in link


def test_a_picture_shows_every_curve_and_no_infinity() -> None:
    values = [{"train/loss": 2.0 / n, "val/loss": 1.0 / n, "val/<r2>": 0.1 * n, "lr": 0.1} for n in range(1, 900)]
    values[0]["val/loss"] = float("inf")
    records = [CurvePoint(step=10 * n, values=v, time_ms=n) for n, v in enumerate(values, 1)]
    drawn = draw_curves(records, 500)
    tree = ET.fromstring(drawn)
    lines = [element for element in tree.iter() if element.tag.endswith("polyline")]
    texts = {element.text for element in tree.iter() if element.tag.endswith("text")}
    assert len(lines) == 3
    assert {"train/loss", "val/loss", "val/<r2>"} <= texts
    assert all(len(line.attrib["points"].split()) <= 200 for line in lines)
    assert "inf" not in drawn
    assert len(drawn) < 12_000


def test_a_picture_of_nothing_and_of_one_point() -> None:
    assert draw_curves([], 0) == ""
    assert draw_curves([CurvePoint(step=1, values={"lr": 0.1, "val/loss": float("nan")}, time_ms=0)], 1) == ""
    assert "polyline" in draw_curves([CurvePoint(step=1, values={"val/loss": 2.0}, time_ms=0)], 1)
