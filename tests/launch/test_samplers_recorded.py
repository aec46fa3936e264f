"""Samplers through the record and the command: a relaunch continues the same search, and a grid ends by itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from support import Done, quick
from written_records import a_study, new_tracker, record_study

from knobs.record.queries import runs_of_kind
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Kind, Tag
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

STUDY = '''"""Which rate and which width a toy needs."""

from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=1, width=8),
    data=Toy(),
    optimizer=SGD(lr=0.1),
    schedule=Constant(),
    training=Training(max_steps=20, val_every=10),
)


def space(trial, baseline):
    return baseline.with_knobs(
        {
            "model.width": trial.suggest_int("model.width", 8, 24, step=8),
            "optimizer.momentum": trial.suggest_float("optimizer.momentum", 0.0, 0.9, step=0.9),
        }
    )


def rates(trial, baseline):
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 0.001, 1.0, log=True)})


study = Study(baseline=BASELINE, space=space, metric="val/loss", direction="minimize", pruner="none")
'''


def table(study: RecordedStudy) -> list[tuple[object, ...]]:
    return [(run.row.trial, run.config.to_json(), run.value("val/loss")) for run in study.trials]


@pytest.mark.parametrize(("sampler", "first", "trials"), [("nsga2", 14, 23), ("cmaes", 9, 16)])
def test_a_relaunch_continues_the_search(sampler: str, first: int, trials: int, tmp_path: Path) -> None:
    study = a_study(sampler=sampler, feedback_lag=2)
    whole = record_study(new_tracker(tmp_path / "whole"), "study", study, trials=trials)
    tracker = new_tracker(tmp_path / "twice")
    record_study(tracker, "study", study, trials=first)
    again = record_study(tracker, "study", study, trials=trials)
    assert table(again) == table(whole)
    noted = [run.row.tags.get(Tag.NOTED, "") for run in again.trials]
    assert all(noted) if sampler == "nsga2" else not any(noted)
    assert sampler != "nsga2" or len(set(noted)) == 3, "two generations have learned"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samplers")
    (folder / "studies").mkdir()
    (folder / "studies" / "widths.py").write_text(STUDY)
    (folder / "studies" / "rates.py").write_text(STUDY.replace("space=space", "space=rates"))
    return folder


def launch(project: Path, *arguments: str) -> Done:
    return quick("study", *arguments, "--devices", "cpu:1", store=project / "mlruns", cwd=project)


def values(project: Path, name: str) -> list[dict[str, str]]:
    """Return the knobs of a study's trials by number."""
    tracker = Tracker(StoreLocations(project, project / "mlruns"))
    rows = runs_of_kind(tracker, Kind.TRIAL, tracker.experiment(name))
    return [row.params for row in sorted(rows, key=lambda row: row.trial)]


@pytest.mark.slow
def test_a_grid_ends_after_its_last_point(project: Path) -> None:
    first = launch(project, "widths", "--sampler", "grid", "--trials", "4")
    assert first.code == 0, first
    assert "widths: 4 of the grid's 6 points; --trials 6 trains all" in first.out
    done = launch(project, "widths", "--sampler", "grid")
    assert done.code == 0, done
    assert "widths: the grid has 6 points, so the study ends after 6 trials, not 20" in done.out
    found = [(knobs["model.width"], knobs["optimizer.momentum"]) for knobs in values(project, "widths")]
    assert len(found) == 6
    assert set(found) == {(width, momentum) for width in ("8", "16", "24") for momentum in ("0.0", "0.9")}
    assert found[0] == ("8", "0.0")
    refused = launch(project, "rates", "--sampler", "grid")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "a grid needs a step for optimizer.lr, a float from 0.001 to 1" in refused.err


@pytest.mark.slow
def test_a_quasi_random_study_covers_its_range(project: Path) -> None:
    done = launch(project, "rates", "--sampler", "qmc", "--trials", "5")
    assert done.code == 0, done
    rates = [float(knobs["optimizer.lr"]) for knobs in values(project, "rates")]
    assert rates[0] == 0.1
    edges = [10 ** (-3 + 0.75 * n) for n in range(5)]
    counts = [sum(low <= rate < high for rate in rates[1:]) for low, high in pairwise(edges)]
    assert counts == [1, 1, 1, 1]
    unknown = launch(project, "rates", "--sampler", "cmae")
    assert (unknown.code, len(unknown.err.splitlines())) == (2, 1)
    assert "did you mean cmaes?" in unknown.err
