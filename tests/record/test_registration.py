"""An ablation's design is recorded before its first run. Every later change is said, and so is every further look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import optuna
import pytest
from written_records import BASELINE, new_tracker, record_ablation, start_ablation

from knobs import Ablation, Beats, Derived, Factor, Match, NoDifference, RecordedValues, Reference, RunConfig
from knobs.record.define import define_ablation
from knobs.record.registration import Registration, design_of
from knobs.record.stores.mlflow_store import Tracker
from knobs.report.ablation.report import ablation_report
from knobs.report.formats.markdown import render_markdown

FACTOR = 2.0


def twice(config: RunConfig, values: RecordedValues) -> float:
    """Return twice the loss."""
    return helper(values.values["best/val/loss"])


def helper(value: float) -> float:
    return FACTOR * value


def thrice(config: RunConfig, values: RecordedValues) -> float:
    return 3 * values.values["best/val/loss"]


def rate(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)})


def wider_rate(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-4, 1.0, log=True)})


def rate_of_wide(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Draw from the same ranges at the baseline, and from others elsewhere."""
    low = 1e-3 if baseline.knobs()["optimizer.lr"] == 0.1 else 1e-2
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", low, 1.0, log=True)})


WIDER = Beats(text="Wider is better.", metric="test/accuracy", better={"model.width": "16"}, worse={"model.width": "8"})
SAME = NoDifference(
    text="Depth does not matter.", metric="test/accuracy", a={"model.depth": "1"}, b={"model.depth": "2"}, within=0.5
)
ABLATION = Ablation(
    question="Does width help?",
    claim="Wider is better.",
    baseline=BASELINE,
    factors=(Factor.of("model.width", [8, 16]), Factor.of("model.depth", [1, 2])),
    nuisance=rate,
    claims=(WIDER, SAME),
    references=(Reference(name="known", metric="test/accuracy", value=0.5, source="computed"),),
    derived=(Derived(name="twice", text="Twice the loss.", of=twice),),
    metric="val/loss",
    direction="minimize",
    trials=1,
    repetitions=1,
    seeds=2,
)


def with_claim(at: int, **changes: Any) -> Callable[[Ablation], Ablation]:
    def edit(ablation: Ablation) -> Ablation:
        claims = list(ablation.claims)
        claims[at] = replace(claims[at], **changes)
        return replace(ablation, claims=tuple(claims))

    return edit


def with_(**changes: Any) -> Callable[[Ablation], Ablation]:
    return lambda ablation: replace(ablation, **changes)


def with_derived(**changes: Any) -> Callable[[Ablation], Ablation]:
    return lambda ablation: replace(ablation, derived=(replace(ablation.derived[0], **changes),))


def with_baseline(**knobs: Any) -> Callable[[Ablation], Ablation]:
    changes: Mapping[str, Any] = {name.replace("__", "."): value for name, value in knobs.items()}
    return lambda ablation: replace(ablation, baseline=ablation.baseline.with_knobs(changes))


def width(*values: int) -> tuple[Factor, ...]:
    return Factor.of("model.width", list(values)), Factor.of("model.depth", [1, 2])


NAMED = Factor("model.width", {"8": {"model.width": 8}, "16": {"model.width": 24}})

EDITS: dict[str, Callable[[Ablation], Ablation]] = {
    "the question": with_(question="Does depth help?"),
    "the expected result": with_(claim="Wider is worse."),
    "the text of a claim": with_claim(0, text="Wider is much better."),
    "the metric of a claim": with_claim(0, metric="test/loss"),
    "the sides of a claim": with_claim(0, better={"model.width": "8"}, worse={"model.width": "16"}),
    "the direction of a claim": with_claim(0, direction="minimize"),
    "the cells of a claim": with_claim(0, where={"model.depth": "1"}),
    "the margin of a claim": with_claim(1, within=5.0),
    "the order of the claims": with_(claims=(SAME, WIDER)),
    "a claim less": with_(claims=(WIDER,)),
    "a claim more": with_(claims=(WIDER, SAME, replace(WIDER, text="Again.", metric="test/loss"))),
    "the kind of a claim": with_(
        claims=(NoDifference(text=WIDER.text, metric="test/accuracy", a=WIDER.better, b=WIDER.worse, within=1.0), SAME)
    ),
    "a level more": with_(factors=width(8, 16, 32)),
    "the order of the levels": with_(factors=width(16, 8)),
    "the knobs of a level": with_(factors=(NAMED, Factor.of("model.depth", [1, 2]))),
    "a factor less": lambda ablation: replace(ablation, claims=(WIDER,), factors=width(8, 16)[:1]),
    "which combinations are kept": with_(where=lambda levels: levels != {"model.width": "16", "model.depth": "2"}),
    "crossed or one at a time": with_(design="one_at_a_time"),
    "the range of a tuned knob": with_(nuisance=wider_rate),
    "the code of the space": with_(nuisance=rate_of_wide),
    "a fixed knob": with_baseline(optimizer__momentum=0.5),
    "where tuning starts": with_baseline(optimizer__lr=0.2),
    "the steps": with_baseline(training__max_steps=40),
    "the metric": with_(metric="val/accuracy", direction="maximize"),
    "the trials": with_(trials=2),
    "the number of seeds": with_(seeds=3),
    "the first seed": with_(first_seed=2000),
    "the metric of the tables": with_(shown="train/loss"),
    "the code of a derived number": with_derived(of=thrice),
    "the name of a derived number": with_derived(name="double"),
    "the better side of a derived number": with_derived(lower_is_better=True),
    "a matched knob": with_(match=Match(knob="model.width", target=200)),
    "a reference's source": lambda a: replace(a, references=(replace(a.references[0], source="a paper"),)),
    "the pruner": with_(pruner="median"),
    "the feedback lag": with_(feedback_lag=2),
}


def design(ablation: Ablation) -> dict[str, Any]:
    return design_of(define_ablation("planted", ablation, quick=False))


def test_there_are_thirty_edits() -> None:
    assert len(EDITS) >= 30


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_after_the_first_run_is_a_change_of_the_design(edit: str) -> None:
    edited = EDITS[edit](ABLATION)
    registered = Registration(time_ms=0, design=design(ABLATION))
    revised = registered.revised(design(edited), runs=7)
    assert [revision.runs for revision in revised.revisions] == [7]
    assert revised.revisions[0].changes
    assert registered.revised(design(edited), runs=0).revisions == ()  # before the first run


def test_what_a_derived_number_calls_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = design(ABLATION)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert design(ABLATION) != before


UNEDITED: dict[str, Callable[[Ablation], Ablation]] = {
    "nothing": lambda ablation: ablation,
    "a caveat": with_(caveats=("Small data.",)),
    "the quick preset": lambda a: replace(a, quick=replace(a.quick, trials=9)),
}


@pytest.mark.parametrize("edit", UNEDITED)
def test_an_unedited_design_is_never_changed(edit: str) -> None:
    registered = Registration(time_ms=0, design=design(ABLATION))
    assert registered.revised(design(UNEDITED[edit](ABLATION)), runs=7) == registered


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("registered"))


def report_of(tracker: Tracker, name: str, ablation: Ablation) -> str:
    return render_markdown(ablation_report(record_ablation(tracker, name, ablation)).document)


SMALL = replace(ABLATION, factors=width(8, 16)[:1], claims=(WIDER,), references=())


@pytest.mark.slow
def test_a_report_says_when_the_design_was_recorded(tracker: Tracker) -> None:
    text = report_of(tracker, "said", SMALL)
    assert "recorded before the first run" in text
    again = report_of(tracker, "said", SMALL)
    assert "recorded before the first run" in again
    assert "no seed was added or replaced" in again
    changed = report_of(tracker, "said", with_claim(0, text="Wider wins.")(SMALL))
    assert "changed after 6 runs had begun" in changed
    assert "Wider wins." in changed
    assert "recorded before the first run on" not in changed
    back = report_of(tracker, "said", SMALL)  # changed back, but results were seen meanwhile
    assert "changed after 6 runs had begun" in back
    assert "no seed was added or replaced" in back


def test_a_design_that_changes_before_the_first_run_is_recorded_anew(tracker: Tracker) -> None:
    start_ablation(tracker, "early", SMALL)
    text = report_of(tracker, "early", with_claim(0, text="Wider wins.")(SMALL))
    assert "recorded before the first run" in text


def test_more_seeds_are_a_second_look(tracker: Tracker) -> None:
    record_ablation(tracker, "looks", SMALL)
    recorded = record_ablation(tracker, "looks", with_(seeds=3)(SMALL))
    assert {verdict.look for verdict in recorded.verdicts} == {2}
    text = render_markdown(ablation_report(recorded).document)
    assert "decided 2 times, with seeds a cell: 2 on" in text
    assert "seeds: 2 -" in text


@pytest.mark.slow
def test_seeds_of_another_plan_are_not_pooled(tracker: Tracker) -> None:
    record_ablation(tracker, "pooled", with_(seeds=3)(SMALL))
    fewer = record_ablation(tracker, "pooled", SMALL)
    assert {tuple(seed.row.seed for seed in cell.seeds) for cell in fewer.cells} == {(1000, 1001)}
    others = record_ablation(tracker, "pooled", with_(first_seed=2000)(SMALL))
    assert {tuple(seed.row.seed for seed in cell.seeds) for cell in others.cells} == {(2000, 2001)}
    again = record_ablation(tracker, "pooled", with_(seeds=3)(SMALL))
    assert {tuple(seed.row.seed for seed in cell.seeds) for cell in again.cells} == {(1000, 1001, 1002)}
