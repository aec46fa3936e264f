"""Views, descriptions and links of MLflow's pages. `test_study_pages` tests what a browser shows."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from written_records import (
    a_study,
    an_ablation,
    new_tracker,
    read_ablation,
    record_ablation,
    record_study,
    space,
    start_ablation,
)

from datamodules.toy import Toy
from knobs import BadInputError, Factor, RunConfig, Training
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.run_notes import launch_command, run_note
from knobs.launch.plans import PlannedRun
from knobs.pages.ablation_views import NOT_ASIDE, cells_view, seeds_view
from knobs.pages.descriptions import note_tags_unless_edited
from knobs.pages.links import links, pages_address, publish_pages
from knobs.pages.notes import ablation_note, study_note
from knobs.pages.study_views import best_and_baseline, trials_view, varying_knobs
from knobs.pages.views import View, deep_link, metric, shared_tag, tag, view_state
from knobs.record.definition import StudyDefinition
from knobs.record.knob_range import KnobRange
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Artifact, Kind, MlflowTag, Tag, level_tags
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_internals import MOST_VIEW_CHARACTERS
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.record.verdicts import RecordedVerdict, verdicts_to_json
from knobs.training import CurvePoint, Outcome
from knobs.training.curves_svg import draw_curves
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.constant import Constant


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("views"))


def row(number: int, params: dict[str, str], loss: float | None = 0.5, **tags: str) -> Row:
    metrics = (
        {} if loss is None else {"best/val/loss": loss, "train/loss": 1.0, "system/seconds": 1.0, "parameters": 2.0}
    )
    return Row(
        id=f"run{number}",
        name=f"t{number:03d}",
        status="FINISHED",
        tags={Tag.TRIAL: str(number), **tags},
        params=params,
        metrics=metrics,
        start_ms=0,
        end_ms=1,
        artifacts="",
        experiment="1",
    )


def trials(*params: dict[str, Any]) -> list[Row]:
    return [row(number, {k: str(v) for k, v in given.items()}) for number, given in enumerate(params)]


def study_of(tracker: Tracker, rows: Sequence[Row], searched: Sequence[str] = (), **tags: str) -> RecordedStudy:
    """Return a study of these trials, which minimises the validation loss; its best value is 0.25."""
    parent = dataclasses.replace(row(0, {}, None, **tags), id="parent", metrics={"best/val/loss": 0.25})
    definition = StudyDefinition(
        name="s",
        about="",
        space={knob: KnobRange(knob, 0, 1) for knob in searched},
        baseline={},
        metric="val/loss",
        direction="minimize",
        trials=len(rows),
        seed=0,
        feedback_lag=1,
        baseline_first=True,
        sampler="tpe",
        replicates={"seeds": 1, "knob": "", "values": []},
        pruner="none",
    )
    return RecordedStudy(tracker, parent, definition, rows)


def varying(tracker: Tracker, rows: Sequence[Row], first: Sequence[str]) -> tuple[str, ...]:
    return varying_knobs(study_of(tracker, rows).trials, first)


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


def test_knobs_that_are_searched_come_first_and_constants_not_at_all(tracker: Tracker) -> None:
    rows = trials({"a": 1, "z": 1, "b": 1, "c": 1}, {"a": 2, "z": 2, "b": 2, "c": 1})
    assert varying(tracker, rows, ["z", "c"]) == ("z", "a", "b")


def test_a_searched_knob_that_only_some_runs_have_varies(tracker: Tracker) -> None:
    rows = trials({"optimizer.kind": "sgd", "optimizer.momentum": 0.9}, {"optimizer.kind": "adamw"})
    knobs = ("optimizer.kind", "optimizer.momentum")
    assert varying(tracker, rows, knobs) == knobs


def test_a_knob_that_its_kind_decides_says_no_more_than_the_kind(tracker: Tracker) -> None:
    rows = trials({"o.kind": "sgd", "o.decay": 0}, {"o.kind": "adamw", "o.decay": 0.1}, {"o.kind": "sgd", "o.decay": 0})
    assert varying(tracker, rows, ["o.kind"]) == ("o.kind",)
    rows += trials({"o.kind": "sgd", "o.decay": 0.5})
    assert varying(tracker, rows, ["o.kind"]) == ("o.kind", "o.decay")


def test_a_studys_view_has_the_objective_first_and_state_last(tracker: Tracker) -> None:
    view = trials_view(study_of(tracker, trials({"a": 1}, {"a": 2}), ["a"]))
    assert view.columns == ("metrics.`best/val/loss`", "params.`a`", "tags.`knobs.state`")
    assert view.ascending
    assert view.curves == ("val/loss", "train/loss")
    assert view.folded == ("Model metrics", "best/val", "System metrics")


def test_before_two_trials_have_ended_the_searched_knobs_are_columns(tracker: Tracker) -> None:
    assert trials_view(study_of(tracker, [], ["a", "b"])).columns[1:-1] == ("params.`a`", "params.`b`")


def test_parallel_coordinates_leave_out_what_not_every_finished_run_has(tracker: Tracker) -> None:
    rows = [*trials({"a": 1, "b": 1}, {"a": 2}), row(2, {"a": "3", "b": "2"}, None)]
    assert trials_view(study_of(tracker, rows, ["a", "b"])).parallel == ("a",)


def test_the_baseline_stands_beside_the_best(tracker: Tracker) -> None:
    rows = [row(number, {}, loss) for number, loss in enumerate((9.0, 3.0, None, 1.0, 2.0, 1.0, 5.0))]
    assert best_and_baseline(study_of(tracker, rows), 3) == ["run3", "run5", "run4", "run0"]
    assert best_and_baseline(study_of(tracker, rows[:2]), 3) == ["run1", "run0"]
    assert best_and_baseline(study_of(tracker, []), 3) == []


def test_conditional_knobs_of_a_recorded_study_are_columns_too(tracker: Tracker) -> None:
    study = record_study(tracker, "conditional", a_study(space), trials=6)
    assert study.searched == ["optimizer.lr", "model.width", "optimizer.momentum"]
    view = trials_view(study)
    assert view.columns[1:-1] == tuple(f"params.`{knob}`" for knob in study.searched)
    assert view.parallel == tuple(study.searched)  # a narrow network has the momentum of its baseline
    assert best_and_baseline(study, 1) == [study.ranked[0].row.id, study.trials[0].row.id]


def test_a_shared_view_fits_the_tag_and_is_read_back(tracker: Tracker) -> None:
    knobs = {f"model.a_rather_long_name_{number}": number for number in range(45)}
    rows = trials(knobs, {name: value + 1 for name, value in knobs.items()})
    ((key, text),) = shared_tag(trials_view(study_of(tracker, rows, list(knobs))), 7).items()
    assert key == "mlflow.sharedViewState.knobs-trials"
    assert len(text) < MOST_VIEW_CHARACTERS
    experiment = tracker.experiment("shared view")
    tracker.tag_experiment(experiment, {key: text})
    view = json.loads(tracker.experiment_tags(experiment)[key])
    assert (view["name"], view["createdAt"]) == ("Trials, best first", 7)
    state = json.loads(view["state"])
    assert set(state["selectedColumns"]) <= set(state["columnOrder"])
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections


def test_a_view_that_is_too_long_for_mlflow_is_a_deep_link_and_the_rest_is_published(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_study(tracker, "long", a_study(), trials=2, about="About it.")
    monkeypatch.setattr("knobs.pages.links.MOST_VIEW_CHARACTERS", 2000)
    publish_pages(tracker, "long")
    found = links(tracker, "long")
    assert "searchFilter" in found["trials"]
    assert "viewStateShareKey" in found["runs"]
    assert "About it." in tracker.experiment_tags(tracker.experiment("long"))[MlflowTag.NOTE]


@pytest.mark.parametrize(("count", "mode"), [(50, "SHOW_ALL"), (51, "FIRST_20_RUNS")])
def test_many_trials_are_not_all_drawn_at_once(count: int, mode: str, tracker: Tracker) -> None:
    rows = trials(*({"a": number} for number in range(count)))
    assert view_state(trials_view(study_of(tracker, rows, ["a"])))["runsHiddenMode"] == mode


def test_a_description_is_replaced_only_if_it_is_ours() -> None:
    first = note_tags_unless_edited({}, "one")
    assert first[MlflowTag.NOTE] == "one"
    assert note_tags_unless_edited(first, "one") == {}
    assert note_tags_unless_edited(first, "two")[MlflowTag.NOTE] == "two"
    assert note_tags_unless_edited({**first, MlflowTag.NOTE: "mine"}, "two") == {}
    long = note_tags_unless_edited(first, "x" * 10_000)
    assert note_tags_unless_edited(long, "x" * 10_000) == {}
    assert note_tags_unless_edited(long, "two")[MlflowTag.NOTE] == "two"


def test_a_studys_description(tracker: Tracker) -> None:
    command = launch_command("study", "no_such_file", {"trials": 8, "seed": None}, {"model.width": "7 8"})
    study = study_of(tracker, trials(*({} for _ in range(9))), **{Tag.COMMAND: command, Tag.BEST_TRIAL: "3"})
    assert study_note(study, {"trials": "#/x"}, Path("a/report.html")).split("\n\n") == [
        "Best so far: val/loss 0.2500, t003 of 9 trials.",
        "[trials](#/x)",
        "`knobs study no_such_file --trials 8 --model.width '7 8'`",
        "Report: `a/report.html`",
    ]


def test_an_ablations_description_has_one_line_per_claim_decided_or_open(tracker: Tracker) -> None:
    ablation = an_ablation()
    claims = tuple(dataclasses.replace(ablation.claims[0], text=text) for text in ("wide wins", "deep wins"))
    parent = start_ablation(tracker, "described", dataclasses.replace(ablation, claims=claims))
    start = ablation_note(read_ablation(tracker, "described"), {}, None)
    assert start.split("\n\n")[2:4] == [
        "Nothing decided yet; 0 of 2 cells, 0 of 4 seeds.",
        "- **open**: wide wins\n- **open**: deep wins",
    ]
    verdicts = [
        RecordedVerdict(claim="wide wins", verdict="supported", effect=0.1, interval=(0.05, 0.2), p=0.01, n=5),
        RecordedVerdict(claim="deep wins", verdict="undecided"),
    ]
    tracker.upload_texts(parent, {Artifact.VERDICTS: verdicts_to_json(verdicts)})
    command = launch_command("ablate", "no_such_file", {"quick": True, "seeds": 2, "trials": None}, {})
    tracker.tag(parent, {Tag.VERDICTS: "1 supported, 1 undecided", Tag.COMMAND: command})
    assert ablation_note(read_ablation(tracker, "described"), {"cells": "#/x"}, None) == (
        "Does width help?\n\n*Wider is better.*\n\n1 supported, 1 undecided; 0 of 2 cells, 0 of 4 seeds.\n\n"
        "- **supported**: wide wins (effect +0.1000, 95% [+0.0500, +0.2000], p 0.010, n 5)\n"
        "- **undecided**: deep wins\n\n"
        "[cells](#/x)\n\n`knobs ablate no_such_file --quick --seeds 2`"
    )


@pytest.mark.slow
def test_an_ablations_views_show_the_cells_and_seeds_that_count(tracker: Tracker) -> None:
    record_ablation(tracker, "viewed", an_ablation())
    publish_pages(tracker, "viewed")
    ablation, experiment = read_ablation(tracker, "viewed"), tracker.experiment("viewed")
    cells = tracker.search(cells_view(ablation).filters, experiment)
    assert {cell.tags[Tag.CELL] for cell in cells} == {"width 8", "width 16"}
    assert all({"mean/test/accuracy", "low/test/accuracy", "seeds/in_mean"} <= cell.metrics.keys() for cell in cells)
    assert len(tracker.search(seeds_view(ablation).filters, experiment)) == 4
    record_ablation(tracker, "viewed", an_ablation(), fresh=True)  # sets everything aside, then trains anew
    publish_pages(tracker, "viewed")
    ablation = read_ablation(tracker, "viewed")
    assert {row.id for row in tracker.search(cells_view(ablation).filters, experiment)}.isdisjoint(c.id for c in cells)
    seeds = tracker.search(seeds_view(ablation).filters, experiment)
    assert {row.id for row in seeds} == {seed.row.id for seed in ablation.seeds}
    assert len(tracker.search(f"tags.`{Tag.KIND}` = '{Kind.SEED}'", experiment)) == 8


def test_a_factor_that_is_no_knob_is_shown_by_its_level_tag(tracker: Tracker) -> None:
    sizes = Factor("size", {"small": {"model.width": 8}, "large": {"model.width": 16}})
    ablation = record_ablation(tracker, "sizes", an_ablation(factors=(sizes,), claims=()))
    assert seeds_view(ablation).columns[0] == tag(next(iter(level_tags([("size", "")]))))
    assert NOT_ASIDE in seeds_view(ablation).filters
    assert cells_view(ablation).columns[0] == "params.`size`"


def test_groups_open_closed() -> None:
    view = View(key="k", title="T", filters="", order_by="", group_by=(tag("a"),), closed=("x", "y z"))
    assert view_state(view)["groupsExpanded"] == {"tag.a.x": False, "tag.a.y z": False}
    assert "groupsExpanded" not in view_state(dataclasses.replace(view, group_by=()))


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
    tags = {Tag.STUDY: "no_such_file", Tag.TRIAL: "4"}
    planned = PlannedRun(kind=Kind.TRIAL, label="t004", name="t004", config=config, tags=tags, metric="val/loss")
    note = run_note(OpenRun(planned, id="abc", step=12), outcome, outcome.state)
    assert note.split("\n\n") == ["Trial 4 of `no_such_file`", how, "`knobs run --from abc`"]


def test_links_lead_to_a_teams_server_without_its_password(tmp_path: Path) -> None:
    assert pages_address(StoreLocations(tmp_path, tmp_path), 5001) == "http://127.0.0.1:5001"
    assert pages_address(StoreLocations(tmp_path, tmp_path, "http://me:secret@host:80/")) == "http://me:***@host:80"


def test_a_store_that_refuses_tags_still_has_links(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker.experiment("n")

    def refuse(*_: object) -> None:
        raise BadInputError("no")

    monkeypatch.setattr(Tracker, "tag_experiment", refuse)
    publish_pages(tracker, "n")
    (link,) = links(tracker, "n").values()
    assert "searchFilter" in link
    monkeypatch.undo()
    publish_pages(tracker, "n")
    (link,) = links(tracker, "n").values()
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
