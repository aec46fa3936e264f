"""Repetitions of an ablation: what differs between them, what all cells share, and how they continue."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from memory_pool import MemoryPool, QuietDisplay
from written_records import an_ablation, new_tracker, record_ablation, start_ablation

from knobs import Ablation, RunConfig
from knobs.errors import InterruptedBySignal
from knobs.launch.driver import Driver
from knobs.launch.plans.ablation_plan import AblationPlan
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
from knobs.record.runs import recorded_batch
from knobs.record.schema import Tag
from knobs.record.stores.mlflow_store import Tracker

ABLATION = an_ablation(repetitions=6, trials=4, seeds=2)


@pytest.fixture
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("repetitions"))


def rates(cell: RecordedCell) -> dict[int, list[Any]]:
    """Return the tuned values of each repetition, by its trials."""
    found: dict[int, list[Any]] = {}
    for trial in cell.trials:
        found.setdefault(trial.row.repetition, []).append(trial.chosen["optimizer.lr"])
    return found


def everything(recorded: RecordedAblation) -> list[tuple[str, str, str, float | None]]:
    """Return key, config and value of every run, and how it was trained."""
    return [(r.key, r.row.tags[Tag.CONFIG], r.row.tags[Tag.EXECUTION], r.value("val/loss")) for r in recorded.runs]


def test_a_repetition_has_draws_and_seeds_of_its_own_which_all_cells_share(tracker: Tracker) -> None:
    recorded = record_ablation(tracker, "whole", ABLATION)
    narrow, wide = recorded.cells
    assert rates(narrow) == rates(wide)
    draws = rates(narrow)
    assert list(draws) == list(range(6))
    assert len({tuple(values) for values in draws.values()}) == 6
    for values in draws.values():  # one in each quarter of the range
        assert sorted(int(4 * np.log(rate / 1e-3) / np.log(1e3)) for rate in values) == [0, 1, 2, 3]
    for cell in recorded.cells:
        assert {(t.row.repetition, t.row.seed) for t in cell.trials} == {(n, n) for n in range(6)}
        assert [s.row.seed for s in cell.seeds] == [first + s for first in range(1000, 1600, 100) for s in (0, 1)]
        assert [s.row.repetition for s in cell.seeds] == [n for n in range(6) for _ in (0, 1)]
        assert [trial.key for trial in cell.trials[:5]] == [
            *(f"{cell.name}/r00t00{n}" for n in range(4)), f"{cell.name}/r01t000",
        ]  # fmt: skip


def test_its_winner_is_the_best_of_its_own_trials_and_its_value_the_mean_of_its_seeds(tracker: Tracker) -> None:
    recorded = record_ablation(tracker, "winners", ABLATION)
    for cell in recorded.cells:
        assert len(cell.winners) == 6
        for number, winner in cell.winners.items():
            own = [trial for trial in cell.trials if trial.row.repetition == number]
            assert winner.value("val/accuracy") == max(trial.value("val/accuracy") or 0.0 for trial in own)
            seeds = [seed for seed in cell.seeds if seed.row.repetition == number]
            assert {seed.row.params["optimizer.lr"] for seed in seeds} == {winner.row.params["optimizer.lr"]}
            expected = np.mean([seed.value("test/accuracy") for seed in seeds])
            assert cell.values("test/accuracy")[number] == pytest.approx(expected)
    verdict = recorded.decide()[0]
    assert verdict.result is not None
    assert verdict.result.n == 6


def test_more_repetitions_continue_the_recorded_ones(tracker: Tracker) -> None:
    before = everything(record_ablation(tracker, "grows", replace(ABLATION, repetitions=5)))
    pool = MemoryPool()
    after = record_ablation(tracker, "grows", ABLATION, pool=pool)
    assert set(before) <= set(everything(after))
    assert len(after.runs) == 2 * 6 * (4 + 2)
    assert len(after.runs) - len(before) == 2 * (4 + 2)
    fewer = record_ablation(tracker, "grows", replace(ABLATION, repetitions=5))
    assert everything(fewer) == before


def test_runs_of_five_repetitions_train_together(tracker: Tracker) -> None:
    recorded = record_ablation(tracker, "batches", replace(ABLATION, repetitions=10))
    for cell in recorded.cells:
        for runs, sizes in ((cell.trials, [10, 10]), (cell.seeds, [10])):
            for block in (0, 1):
                own = [run for run in runs if run.row.repetition // 5 == block]
                batches = Counter(recorded_batch(run.config, run.row.tags[Tag.EXECUTION]) for run in own)
                assert sorted(batches.values()) == sizes
                assert {config for batch in batches for config in batch} == {run.config for run in own}


@pytest.mark.parametrize("checks", [1, 3, 5, 9])
def test_interrupted_anywhere_it_continues_to_the_same_table(
    checks: int, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = record_ablation(new_tracker(tracker.places.folder.parent / f"other{checks}"), "ablation", ABLATION)
    parent = start_ablation(tracker, "ablation", ABLATION)
    plan = AblationPlan("ablation", ABLATION, tracker, "cpu")
    plan.open(parent, fresh=False)
    plan.extend(6)
    left = iter(range(checks))

    def check() -> None:
        if next(left, None) is None:
            raise InterruptedBySignal(signal.SIGINT)

    monkeypatch.setattr("knobs.signals.check", check)
    with pytest.raises(InterruptedBySignal):
        Driver(tracker, MemoryPool(), QuietDisplay(), fresh=False).run(plan)
    monkeypatch.undo()
    assert everything(record_ablation(tracker, "ablation", ABLATION)) == everything(whole)


def test_deleted_runs_are_trained_again_in_their_batches(tracker: Tracker) -> None:
    whole = record_ablation(tracker, "deleted", ABLATION)
    victims = [whole.cells[0].trials[0], whole.cells[0].trials[9], whole.cells[1].seeds[3]]
    for run in victims:
        tracker.client.delete_run(run.row.id)
    again = record_ablation(tracker, "deleted", ABLATION)
    assert everything(again) == everything(whole)
    assert not {run.row.id for run in victims} & {run.row.id for run in again.runs}


def test_a_cell_with_nothing_to_tune_trains_seeds_alone(tracker: Tracker) -> None:
    def of_wide_networks(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
        """Tune the rate of wide networks only."""
        if baseline.knobs()["model.width"] == 8:
            return baseline
        return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)})

    recorded = record_ablation(tracker, "one", replace(ABLATION, nuisance=of_wide_networks))
    assert [(len(cell.trials), len(cell.seeds)) for cell in recorded.cells] == [(0, 12), (24, 12)]
    assert recorded.missing == []
    untuned = record_ablation(tracker, "none", an_ablation(nuisance=None, repetitions=1, seeds=4))
    assert [(len(cell.trials), len(cell.seeds)) for cell in untuned.cells] == [(0, 4), (0, 4)]
    assert untuned.missing == []
    assert [len(cell.values("test/accuracy")) for cell in untuned.cells] == [4, 4]


def looks(most: int) -> Ablation:
    """Return an ablation that is decided after 5, 10, ... repetitions."""
    return an_ablation(repetitions=most, trials=2, seeds=1, looks=tuple(range(5, most + 1, 5)))


def test_a_look_ends_the_ablation_once_every_claim_is_decided(tracker: Tracker) -> None:
    """What is missing depends on the verdicts after the planned looks, not on the maximum."""
    recorded = record_ablation(tracker, "looks", looks(20))
    decided = [n for n in (5, 10, 15, 20) if all(v.verdict != "undecided" for v in recorded._decide_after(
        [look for look in (5, 10, 15, 20) if look <= n]))]  # fmt: skip
    assert recorded.looked[-1] == (decided[0] if decided else 20)
    assert recorded.missing == []
    part = record_ablation(tracker, "part", replace(looks(20), repetitions=20), upto=5)
    assert part.reached == 5
    undecided = any(verdict.verdict == "undecided" for verdict in part.decide())
    assert bool(part.missing) == undecided
    assert part.looked == [5]
