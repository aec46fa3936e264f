"""Derived numbers, claims against a number and exact computations, from the file to the report."""

import json
import math
from pathlib import Path

import pytest
from support import quick

from knobs import Ablation, BadInputError, Beats, Computed, Derived, Exceeds, Factor, Matches, RecordedValues, RunConfig
from knobs.ablation import Claim, decide_claims
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

FILE = '''"""What can be read off a run?"""

from datamodules.toy import Toy
from knobs import Ablation, Beats, Computed, Derived, Exceeds, Factor, RecordedValues, Reference, RunConfig, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant


def nuisance(trial, baseline):
    """Nothing is tuned."""
    return baseline


def fall(config: RunConfig, run: RecordedValues) -> float:
    """Last validation loss divided by the first; NaN if it is below a quarter."""
    (_, first), *_, (_, last) = run.curves["val/loss"]
    return last / first if last / first > 0.25 else float("nan")


def half() -> float:
    return 0.5


ablation = Ablation(
    question="What can be read off a run?",
    claim="What was recorded.",
    baseline=RunConfig(
        model=MLP(depth=1, width=8), data=Toy(), optimizer=SGD(lr=0.1), schedule=Constant(),
        training=Training(max_steps=64, val_every=8, keep="last"),
    ),
    factors=(Factor.of("optimizer.lr", [0.001, 0.3]),),
    nuisance=nuisance,
    metric="val/loss",
    direction="minimize",
    shown="derived/left",
    derived=(Derived(name="left", text="Last validation loss by the first.", of=fall, lower_is_better=True),),
    trials=1,
    repetitions=1,
    seeds=5,
    references=(
        Reference(name="known", metric="derived/left", value=half, source="a half"),
        Reference(name="known", metric="test/accuracy", value=0.25, source="a quarter"),
    ),
    claims=(
        Beats(text="faster leaves less", metric="derived/left", better={"optimizer.lr": "0.3"},
              worse={"optimizer.lr": "0.001"}),
        Exceeds(text="less than all is left", metric="derived/left", value=1.0, where={"optimizer.lr": "0.3"}),
        Exceeds(text="better than a coin", metric="test/accuracy", value=half, where={"optimizer.lr": "0.3"}),
        Computed(text="half is a half", value=half, expected=0.5, within=0.0),
        Computed(text="half is one", value=half, expected=1.0, within=0.1),
    ),
)
'''  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one finished ablation."""
    folder = tmp_path_factory.mktemp("derived")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "readings.py").write_text(FILE)
    done = quick("ablate", "readings", "--devices", "cpu:1", store=folder / "mlruns", cwd=folder)
    assert done.code == 0, done.err
    assert "supported: faster leaves less" in done.out
    return folder


@pytest.mark.slow
def test_what_is_read_is_recorded_with_every_seed(project: Path) -> None:
    tracker = Tracker(StoreLocations(project, project / "mlruns"))
    rows = tracker.search("tags.`knobs.kind` = 'seed'", tracker.experiment("readings"))
    assert len(rows) == 10
    for row in rows:
        curve = [value for _, value in tracker.curve(row.id, "val/loss")]
        left = curve[-1] / curve[0]
        assert row.metrics.get("derived/left") == (left if left > 0.25 else None)
    cells = tracker.search("tags.`knobs.kind` = 'cell'", tracker.experiment("readings"))
    assert all(math.isfinite(row.metrics["mean/derived/left"]) for row in cells)


@pytest.mark.slow
def test_verdicts_and_the_report(project: Path) -> None:
    done = quick("report", "readings", store=project / "mlruns", cwd=project)
    assert done.code == 0, done.err
    text = (project / "mlruns" / "reports" / "readings" / "report.md").read_text()
    for line in (
        "- **supported**: faster leaves less — effect -",
        "- **supported**: less than all is left — effect -",
        "- **supported**: half is a half (computed exactly: 0.5, expected 0.5 within 0)",
        "- **contradicted**: half is one (computed exactly: 0.5, expected 1 within 0.1)",
        "## Cells: left",
        "- `derived/left`: Last validation loss by the first.",
        "Nothing was tuned",
        "- known, derived/left 0.5000: a half",
        "- known, test/accuracy 0.2500: a quarter",
    ):
        assert line in text
    done = quick("report", "readings", "--check", store=project / "mlruns", cwd=project)
    assert done.code == 0, done.err
    found = json.loads((project / "mlruns" / "reports" / "readings" / "receipts.json").read_text())
    assert found["numbers"]


@pytest.mark.slow
def test_a_seed_is_trained_again_to_the_bit(project: Path) -> None:
    tracker = Tracker(StoreLocations(project, project / "mlruns"))
    row = tracker.search("tags.`knobs.kind` = 'seed'", tracker.experiment("readings"))[0]
    done = quick("reproduce", row.id, store=project / "mlruns", cwd=project)
    assert done.code == 0, done.err


def numbers(value: float) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
    return {(("f", "a"),): {seed: value + 0.001 * (seed % 5) for seed in range(10)}}


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        (Exceeds(text="x", metric="test/accuracy", value=0.7), "supported"),
        (Exceeds(text="x", metric="test/accuracy", value=lambda: 0.9), "contradicted"),
        (Exceeds(text="x", metric="test/loss", value=0.9), "supported"),
        (Exceeds(text="x", metric="test/loss", value=0.7), "contradicted"),
        (Exceeds(text="x", metric="test/accuracy", value=0.802), "undecided"),
        (Matches(text="x", metric="test/accuracy", value=lambda: 0.802, within=0.01), "supported"),
        (Computed(text="x", value=2.0, expected=2.0 + 1e-9, within=1e-8), "supported"),
        (Computed(text="x", value=2.0, within=1e-8), "contradicted"),
        (Computed(text="x", value=math.nan, within=1e-8), "contradicted"),
    ],
)
def test_claims_against_a_number(claim: Claim, word: str) -> None:
    verdict = decide_claims([claim], {claim.metric: numbers(0.8)}, {"f": ["a"]})[0]
    assert verdict.verdict == word


def test_a_computation_costs_the_other_claims_nothing() -> None:
    claim = Exceeds(text="x", metric="test/accuracy", value=0.7)
    alone = decide_claims([claim], {claim.metric: numbers(0.8)}, {"f": ["a"]})[0].result
    both = decide_claims([claim, Computed(text="y", value=1.0, within=2.0)], {claim.metric: numbers(0.8)}, {"f": ["a"]})
    assert both[0].result == alone


def test_a_name_that_is_not_derived_is_refused() -> None:
    names: dict[str, object] = {}
    exec(compile(FILE, "readings.py", "exec"), names)
    made = names["ablation"]
    assert isinstance(made, Ablation)
    import dataclasses

    with pytest.raises(BadInputError, match=r"derived/lefd is not derived here; did you mean derived/left\?"):
        dataclasses.replace(made, shown="derived/lefd")
    assert isinstance(made.claims[0], Beats)
    assert made.claims[0].direction == "minimize"


def read_nothing(config: RunConfig, run: RecordedValues) -> float:
    del config
    return run.values["parameters"]


def test_a_derived_number_is_named_by_its_prefix() -> None:
    derived = Derived(name="size", text="Parameters.", of=read_nothing)
    assert derived.metric == "derived/size"
    assert Factor.of("model.width", [1, 2]).positions == (1.0, 2.0)
