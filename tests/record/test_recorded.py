"""Recorded studies and ablations as they are read back: which runs count, and what is left if files are gone."""

import dataclasses
import shutil
import time
from pathlib import Path

import pytest
from memory_pool import MemoryPool
from support import Done, quick
from written_records import (
    BASELINE,
    a_study,
    an_ablation,
    new_tracker,
    read_ablation,
    record_ablation,
    record_study,
    remove_artifact,
    space,
)

from knobs import BadInputError
from knobs.errors import StoreError
from knobs.record.queries import counted_seeds, counted_trials, current, newest_by_number, parent_of, runs_of_kind
from knobs.record.reader import read_recorded
from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import RecordedRun, RunReader
from knobs.record.schema import Artifact, Kind, MlflowTag, Tag
from knobs.record.states import StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("recorded"))


def row(name: str, kind: str, **tags: str) -> Row:
    """Return a row; `tags` are by the names of `Tag`."""
    every = {Tag.KIND: kind, **{getattr(Tag, tag): value for tag, value in tags.items()}}
    return Row(
        id=name, experiment="1", name=name, status="FINISHED", tags=every, params={}, metrics={}, start_ms=0, end_ms=1,
        artifacts="",
    )  # fmt: skip


# Which runs count


def test_of_each_number_the_newest_counts() -> None:
    newest_first = [
        row("b2", Kind.TRIAL, TRIAL="1"),
        row("c", Kind.TRIAL, TRIAL="10"),
        row("s", Kind.SEED, SEED="3"),
        row("b1", Kind.TRIAL, TRIAL="1"),
        row("a", Kind.TRIAL, TRIAL="0"),
    ]
    assert [found.id for found in counted_trials(newest_first)] == ["a", "b2", "c"]
    assert [found.id for found in counted_trials(newest_first, total=2)] == ["a", "b2"]
    assert newest_by_number([], lambda row: (row.trial,)) == []


def test_seeds_of_an_earlier_winner_and_whatever_was_set_aside_do_not_count() -> None:
    newest_first = [
        row("old", Kind.SEED, SEED="1000", SUPERSEDED="true"),
        row("s1001", Kind.SEED, SEED="1001"),
        row("s1000", Kind.SEED, SEED="1000"),
        row("s1000 before", Kind.SEED, SEED="1000"),
        row("t", Kind.TRIAL, TRIAL="0"),
    ]
    assert [found.id for found in counted_seeds(newest_first, 1)] == ["s1000", "s1001"]
    studies = [row("new", Kind.STUDY), row("aside", Kind.STUDY, RETIRED="true"), row("older", Kind.STUDY)]
    assert [found.id for found in current(studies)] == ["new", "older"]


def test_a_trial_that_was_recorded_twice_counts_once(tracker: Tracker) -> None:
    """A driver that was killed between two steps of a trial's start may leave two runs of one number."""
    study = record_study(tracker, "twice", a_study(), trials=2)
    first = study.trials[1].row
    time.sleep(0.005)
    again = tracker.create(first.experiment, first.name, {k: first.tags[k] for k in COPIED}, first.params)
    tracker.end(again, "FINISHED", {})
    study = read_study(tracker, "twice")
    assert [trial.key for trial in study.trials] == ["t000", "t001"]
    assert study.trials[1].row.id == again


COPIED = (Tag.KIND, Tag.STATE, Tag.STUDY, Tag.TRIAL, Tag.SPACE, Tag.CONFIG, Tag.SEED, MlflowTag.PARENT)


def read_study(tracker: Tracker, name: str, *, strict: bool = False) -> RecordedStudy:
    study = read_recorded(tracker, name, strict=strict)
    assert isinstance(study, RecordedStudy)
    return study


def test_a_study_that_was_set_aside_does_not_count(tracker: Tracker) -> None:
    old = record_study(tracker, "fresh", a_study(), trials=3)
    new = record_study(tracker, "fresh", a_study(), trials=2, fresh=True)
    assert old.parent.id != new.parent.id
    assert parent_of(tracker, "fresh").id == new.parent.id
    assert [trial.row.id for trial in read_study(tracker, "fresh").trials] == [trial.row.id for trial in new.trials]
    assert {trial.row.id for trial in old.trials}.isdisjoint(trial.row.id for trial in new.trials)
    assert len(runs_of_kind(tracker, Kind.TRIAL, new.parent.experiment)) == 5
    assert {trial.state for trial in new.trials} == {StateName.FINISHED}  # `--fresh` reuses nothing


@pytest.mark.slow
def test_a_cell_that_was_set_aside_and_seeds_of_an_earlier_winner_do_not_count(tracker: Tracker) -> None:
    ablation = an_ablation()
    first = record_ablation(tracker, "cells", ablation)
    cell = next(cell for cell in first.cells if cell.name == "width 16")
    assert cell.row is not None
    tracker.tag(cell.row.id, {Tag.RETIRED: "true"})
    (superseded, kept) = (seed.row.id for seed in next(c for c in first.cells if c.name == "width 8").seeds)
    tracker.tag(superseded, {Tag.SUPERSEDED: "true"})
    found = read_ablation(tracker, "cells")
    assert [cell.row is None for cell in found.cells] == [False, True]
    assert [seed.row.id for seed in found.seeds] == [kept]
    assert found.cells[1].trials == []
    assert {row.id for row in found.others} == {cell.row.id, superseded, *(seed.row.id for seed in cell.seeds)}
    assert found.missing == ["width 8: 1 of 2 seeds", "width 16: 0 of 1 trials"]
    assert found.progress == "0 of 2 cells, 1 of 4 seeds"
    again = record_ablation(tracker, "cells", ablation)  # what was set aside is recorded anew
    assert again.missing == []
    assert again.progress == "2 of 2 cells, 4 of 4 seeds"


@pytest.mark.slow
def test_seeds_count_again_if_their_winner_wins_again(tracker: Tracker) -> None:
    one, three = an_ablation(trials=1), an_ablation(trials=4)
    first = record_ablation(tracker, "winners", one)
    grown = record_ablation(tracker, "winners", three)
    seeds = [{cell.name: {seed.row.id for seed in cell.seeds} for cell in found.cells} for found in (first, grown)]
    changed = [name for name in seeds[0] if seeds[0][name] != seeds[1][name]]
    assert changed  # a later trial won
    again = record_ablation(tracker, "winners", one)
    assert {cell.name: {seed.row.id for seed in cell.seeds} for cell in again.cells} == seeds[0]
    assert again.missing == []
    for cell in again.cells:
        assert [winner.key for winner in cell.winners.values()] == [f"{cell.name}/t000"]


def test_trials_beyond_the_budget_do_not_count(tracker: Tracker) -> None:
    record_ablation(tracker, "budget", an_ablation(trials=2))
    assert [len(cell.trials) for cell in read_ablation(tracker, "budget").cells] == [2, 2]
    fewer = record_ablation(tracker, "budget", an_ablation(trials=1))
    assert [[trial.key for trial in cell.trials] for cell in fewer.cells] == [["width 8/t000"], ["width 16/t000"]]


# One run


def test_a_run_shows_its_space_its_values_and_its_curves(tracker: Tracker) -> None:
    study = record_study(tracker, "run", a_study(), trials=4)
    wide = next(trial for trial in study.trials if "optimizer.momentum" in trial.chosen)
    assert list(wide.distributions) == ["optimizer.lr", "model.width", "optimizer.momentum"]
    assert wide.chosen == {name: wide.config.knobs()[name] for name in wide.distributions}
    assert wide.searched["model.width"].text == "4 to 64, log"
    assert "optimizer.momentum" not in study.trials[0].chosen
    assert wide.curve("val/loss")[-1] == (20, wide.value("val/loss"))
    assert wide.curve("no/curve") == []
    assert wide.curves["val/loss"] == wide.curve("val/loss")
    assert wide.tested == {}
    assert study.ranked == sorted(study.trials, key=lambda trial: trial.value("val/loss") or 0)
    assert study.missing == []


def test_a_reused_run_has_the_provenance_of_the_run_that_was_trained(tracker: Tracker) -> None:
    study = a_study(baseline=BASELINE.with_knobs({"seed": 77}))  # a config that no other test trains
    first = record_study(tracker, "trained", study, trials=1).trials[0].row
    tracker.tag(first.id, {Tag.COMMIT: "of the trained run"})
    reused = record_study(tracker, "reuses", study, trials=1).trials[0]
    assert (reused.state, reused.row.trained_run) == (StateName.REUSED, first.id)
    assert reused.tag(Tag.COMMIT) == "of the trained run"
    assert reused.trained.id == first.id
    alone = RecordedRun("r", reused.row, RunReader(tracker, [reused.row]))
    assert alone.distributions == {}
    assert alone.tag(Tag.STUDY) == "reuses"


# Files that are gone


def show(tracker: Tracker, *arguments: str) -> Done:
    places = tracker.places
    return quick(*arguments, store=places.folder, cwd=places.root)


@pytest.mark.slow
def test_without_its_definition_a_name_still_shows_and_a_report_says_what_to_do(tmp_path: Path) -> None:
    tracker = new_tracker(tmp_path)
    studied = record_study(tracker, "searched", a_study(), trials=2)
    compared = record_ablation(tracker, "compared", an_ablation())
    for parent in (studied.parent, compared.parent):
        remove_artifact(tracker, parent.id, Artifact.DEFINITION)
    for name, texts, command in (
        ("searched", ("searched: 2 trials, finished", "t001", "val/loss"), "knobs study searched"),
        ("compared", ("compared: 0 of 2 cells, 4 of 4 seeds, finished", "model.width", "wide wins"), "knobs ablate"),
    ):
        shown = show(tracker, "status", name)
        assert (shown.code, shown.err) == (0, "")
        for text in texts:
            assert text in shown.out
        report = show(tracker, "report", name)
        assert report.code == 2
        assert f"the definition of {name} is gone" in report.err
        assert command in report.err
        assert report.err.count("\n") <= 4
    shutil.rmtree(tracker.places.artifacts)
    for name in ("searched", "compared"):
        shown = show(tracker, "status", name)
        assert (shown.code, shown.err) == (0, "")


def test_what_the_runs_show_of_a_definition_that_is_gone(tracker: Tracker) -> None:
    record_study(tracker, "gone", a_study(), trials=2)
    remove_artifact(tracker, parent_of(tracker, "gone").id, Artifact.DEFINITION)
    study = read_study(tracker, "gone")
    assert (study.metric, study.direction, len(study.ranked)) == ("val/loss", "minimize", 2)
    assert study.searched == ["optimizer.lr", "model.width", "optimizer.momentum"]
    with pytest.raises(BadInputError, match="`knobs study gone` writes it again; ended runs are not trained again"):
        read_study(tracker, "gone", strict=True)
    pool = MemoryPool()
    again = record_study(tracker, "gone", a_study(), trials=2, pool=pool)
    assert pool.workers[0].received == []
    assert read_study(tracker, "gone", strict=True).definition == again.definition


def test_the_cells_show_what_is_left_of_an_ablations_definition(tracker: Tracker) -> None:
    whole = record_ablation(tracker, "gone cells", an_ablation())
    remove_artifact(tracker, whole.parent.id, Artifact.DEFINITION)
    found = read_ablation(tracker, "gone cells")
    assert {name: set(levels) for name, levels in found.factors.items()} == {"model.width": {"8", "16"}}
    assert {c.name: c.values("test/accuracy") for c in found.cells} == {
        c.name: c.values("test/accuracy") for c in whole.cells
    }
    assert [len(cell.trials) for cell in found.cells] == [1, 1]
    assert found.verdicts == whole.verdicts
    assert found.baseline in found.cells
    with pytest.raises(BadInputError, match="knobs ablate gone cells"):
        read_recorded(tracker, "gone cells", strict=True)


def test_a_space_that_is_gone_is_written_again_when_the_study_continues(tracker: Tracker) -> None:
    study = record_study(tracker, "space", a_study(space), trials=4)
    chosen = [trial.chosen for trial in study.trials]
    assert study.parent.folder is not None
    shutil.rmtree(study.parent.folder / Artifact.SPACES)
    left = read_study(tracker, "space")
    assert set(left.searched) == {"optimizer.lr", "model.width"}  # those of the definition
    assert left.spaces.names(trial.row for trial in left.trials) == []
    with pytest.raises(StoreError, match=r"the search space of trial t000 .* is gone: spaces/"):
        print(left.trials[0].chosen)
    record_study(tracker, "space", a_study(space), trials=5)
    assert [trial.chosen for trial in read_study(tracker, "space").trials[:4]] == chosen


def test_a_definition_of_another_version_is_refused(tracker: Tracker) -> None:
    study = record_study(tracker, "version", a_study(), trials=1)
    text = tracker.text(study.parent, Artifact.DEFINITION)
    assert text is not None
    for changed, message in (
        (text.replace('"version": 6', '"version": 2'), "recorded by another version of knobs .* version 2, not 6"),
        (text[:100], "the recorded definition of version cannot be read"),
        ("[]", "cannot be read"),
        (text.replace('"trials": 1', '"trials": "many"'), "cannot be read"),
    ):
        tracker.upload_texts(study.parent.id, {Artifact.DEFINITION: changed})
        with pytest.raises(BadInputError, match=message) as caught:
            read_study(tracker, "version")
        assert "\n" not in str(caught.value)


def test_names_that_are_not_recorded(tracker: Tracker) -> None:
    record_study(tracker, "a study", a_study(), trials=1)
    with pytest.raises(
        BadInputError, match=r"no study or ablation named 'a stduy' is recorded; did you mean a study\?"
    ):
        parent_of(tracker, "a stduy")
    with pytest.raises(BadInputError, match="no ablation named 'a study' is recorded"):
        parent_of(tracker, "a study", (Kind.ABLATION,))


def test_rows_of_runs_that_are_not_ours() -> None:
    foreign = dataclasses.replace(row("f", ""), tags={})
    assert (foreign.kind, foreign.state, foreign.ended, foreign.finished) == ("", "", False, False)
    assert foreign.levels == {}
    assert foreign.trained_run == "f"
