"""The report of an ablation with repetitions, over made-up trainings: what it says of tuning, seeds and new samples."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_pool import ENVIRONMENT, MemoryPool, Training
from written_records import an_ablation, new_tracker, record_ablation

from knobs import RunConfig
from knobs.launch.originals import originals_from_receipts
from knobs.launch.pools.messages import NewPoint, RunEnded
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.stores.mlflow_store import Tracker
from knobs.report.ablation.cells import cell_numbers, seeds_group, trials_group
from knobs.report.ablation.report import ablation_report
from knobs.report.ablation.tuning_checks import check_same_trials, check_trials, check_winners_reached
from knobs.report.build import build_report
from knobs.report.formats.markdown import render_markdown
from knobs.report.receipts import Ledger
from knobs.training import CurvePoint, Outcome, TrainJob

GROUPS = 20


@pytest.fixture
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("report"))


def scripted(accuracy: Callable[[RunConfig], float], sampling: float = 0.0) -> Callable[[TrainJob], Training]:
    """Return trainings with these accuracies. `sampling`: how much the accuracy depends on each group of samples."""

    def train(job: TrainJob) -> Training:
        config = RunConfig.from_json(job.config)
        value = accuracy(config)
        curve = {"val/loss": 1.0 - value, "val/accuracy": value, "train/loss": 0.5}
        yield NewPoint(job.run, CurvePoint(step=20, values=curve, time_ms=20))
        summary = {f"best/{name}": number for name, number in curve.items()} | {"best/step": 20.0, "parameters": 1.0}
        left_out: dict[str, list[float]] = {}
        if job.read_test:
            summary |= {"test/loss": 1.0 - value, "test/accuracy": value}
            easy = random.Random(1)
            left_out = {"test/accuracy": [value + sampling * easy.gauss(0, 1) for _ in range(GROUPS)]}
        made = Outcome(state="finished", best_step=20, summary=summary, left_out=left_out, environment=ENVIRONMENT)
        return RunEnded(job.run, made)

    return train


def noise(config: RunConfig) -> float:
    """Return a number that belongs to the config: normal, of standard deviation 1."""
    return random.Random(config.digest("")).gauss(0.0, 1.0)


def recorded(
    tracker: Tracker, accuracy: Callable[[RunConfig], float], *, sampling: float = 0.0, **changes: Any
) -> RecordedAblation:
    """Record an ablation of two widths with these accuracies."""
    given = {"repetitions": 5, "trials": 4, "seeds": 2, **changes}
    return record_ablation(
        tracker, "made-up", an_ablation(**given), pool=MemoryPool(train=scripted(accuracy, sampling))
    )


def ledger(made: RecordedAblation) -> Ledger:
    """Return a ledger that knows the groups of the cells."""
    known = Ledger()
    for cell in made.cells:
        known.add_group(trials_group(cell), cell.trials, "trials")
        known.add_group(seeds_group(cell), cell.seeds, "seeds")
    return known


def is_fresh(config: RunConfig) -> bool:
    """Return whether a seed is that of an evaluation."""
    return config.seed >= 1000


def rate(config: RunConfig) -> float:
    """Return the learning rate."""
    return float(config.knobs()["optimizer.lr"])  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_winner_that_no_seed_reaches_is_named(tracker: Tracker) -> None:
    """One tuning: a lucky trial says .97, its seeds give .63 with a spread of .3, as in a report that we published."""

    def lucky(config: RunConfig) -> float:
        if not is_fresh(config):
            return 0.97 if rate(config) > 0.4 else 0.8
        return 0.6 + 0.25 * noise(config) / 3

    made = recorded(tracker, lucky, repetitions=1, trials=8, seeds=10)
    found = check_winners_reached(made, ledger(made))
    assert not found.fine
    assert "the choice was luck" in str(found.parts)
    assert "width 8" in str(found.parts)


@pytest.mark.slow
def test_winners_that_their_seeds_reach_are_fine(tracker: Tracker) -> None:
    made = recorded(tracker, lambda config: 0.8 + 0.01 * noise(config))
    found = check_winners_reached(made, ledger(made))
    assert found.fine, found.parts


@pytest.mark.slow
def test_rising_tuning_curves_and_rates_that_do_not_matter(tracker: Tracker) -> None:
    steep = recorded(tracker, lambda config: rate(config) ** 0.5 * 0.9 + 0.001 * noise(config))
    assert not check_trials(steep, ledger(steep)).fine
    flat = recorded(new_tracker(tracker.places.folder.parent / "flat"), lambda config: 0.8)
    assert check_trials(flat, ledger(flat)).fine


@pytest.mark.slow
def test_cells_whose_winners_differ_alone_are_named(tracker: Tracker) -> None:
    def by_luck(config: RunConfig) -> float:
        wide = config.knobs()["model.width"] == 16
        return 0.7 + 0.03 * noise(config) + (0.1 if wide and is_fresh(config) else 0.0)

    assert "width" in str(check_same_trials(recorded(tracker, by_luck)).parts)
    other = new_tracker(tracker.places.folder.parent / "real")

    def everywhere(config: RunConfig) -> float:
        return 0.7 + 0.03 * noise(config) + (0.1 if config.knobs()["model.width"] == 16 else 0.0)

    assert check_same_trials(recorded(other, everywhere)).fine


@pytest.mark.slow
def test_the_spread_of_tuning_beside_that_of_seeds(tracker: Tracker) -> None:
    """The winner's rate decides the value; seeds add a little."""

    def by_rate(config: RunConfig) -> float:
        tuned = random.Random(f"{rate(config)}").gauss(0.0, 0.05) if is_fresh(config) else noise(config)
        return 0.5 + tuned + 0.01 * noise(config)

    for row in cell_numbers(recorded(tracker, by_rate)):
        assert row.seeds_sd is not None
        assert row.tuning_sd is not None
        assert 0.004 < row.seeds_sd < 0.02
        assert 0.02 < row.tuning_sd < 0.1


def test_the_report_has_both_intervals_and_speaks_of_repetitions(tracker: Tracker) -> None:
    made = recorded(tracker, lambda config: 0.8 + 0.01 * noise(config), sampling=0.01)
    for row in cell_numbers(made):
        assert row.mean is not None
        assert row.new_mean is not None
        assert row.mean.low is not None
        assert row.new_mean[0] < row.mean.low - 0.01
    text = render_markdown(ablation_report(made).document)
    assert "| repetitions |" in text
    assert "for new samples \\[" in text
    assert "A repetition is the mean of 2 fresh seeds" in text
    assert "5 times, each with draws and seeds of its own, 4 trials" in text
    assert "sd, tuning" in text
    assert "one tuning" not in text
    once = recorded(new_tracker(tracker.places.folder.parent / "once"), noise, repetitions=1, seeds=5)
    assert "verdicts hold for this one tuning" in render_markdown(ablation_report(once).document)


def test_a_cells_seeds_can_be_trained_again_from_the_report_alone(tracker: Tracker, tmp_path: Path) -> None:
    """Each repetition has a winner of its own, so seeds of one cell differ in their tuned knobs."""
    made = recorded(tracker, lambda config: 0.8 + 0.01 * noise(config))
    _, files = build_report(tracker, "made-up", small=True)
    (tmp_path / "receipts.json").write_bytes(files["receipts.json"])
    for cell in made.cells:
        originals = originals_from_receipts(cell.name, tmp_path)
        assert [original.config for original in originals] == [seed.config for seed in cell.seeds]
        assert len({original.config.with_knobs({"seed": 0}) for original in originals}) > 1
