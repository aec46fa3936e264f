"""From recorded seeds to the printed verdict and the report: paired by seed, and corrected for the other claims."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from faults import reading
from scipy import stats as scipy_stats
from support import Done, quick

pytestmark = pytest.mark.slow

FILE = '''"""What a seed adds is large, what a level adds is small."""

from datamodules.toy import Toy
from knobs import Ablation, Beats, Derived, Factor, NoDifference, RunConfig, Training, Trend
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

SEEDS = [-3.0, 1.5, 4.0, -0.5, -2.0]
GAPS = [0.0, 1.0, 1.4, 1.8, 2.8]
LEVELS = {2: 0.1, 3: 0.2, 4: 0.3}


def nuisance(trial, baseline):
    """Nothing is tuned."""
    return baseline


def slight(config, run):
    """The levels differ by a tenth."""
    number = config.seed - 1000
    return SEEDS[number] + LEVELS[config.model.width] + 0.001 * (number * config.model.width % 3)


def gap(config, run):
    """Widths 3 and 4 differ from width 2 by an amount that is just enough for one claim alone."""
    number = config.seed - 1000
    return SEEDS[number] + (GAPS[number] if config.model.width > 2 else 0.0)


def beats(text, metric, better, worse):
    return Beats(
        text=text, metric=metric, better={"model.width": better}, worse={"model.width": worse}, direction="maximize"
    )


ablation = Ablation(
    question="Does it matter?",
    claim="It does.",
    baseline=RunConfig(
        model=MLP(depth=1, width=2), data=Toy(samples=64), optimizer=SGD(lr=0.1), schedule=Constant(),
        training=Training(max_steps=4, val_every=4),
    ),
    factors=(Factor.of("model.width", [2, 3, 4]),),
    nuisance=nuisance,
    metric="val/loss",
    direction="minimize",
    derived=(Derived(name="slight", text="A tenth a level.", of=slight), Derived(name="gap", text="A gap.", of=gap)),
    trials=1,
    repetitions=1,
    seeds=5,
    claims=(
        beats("4 beats 2 slightly", "derived/slight", "4", "2"),
        beats("2 beats 3 slightly", "derived/slight", "2", "3"),
        Trend(text="it rises with the width", metric="derived/slight", factor="model.width", way="rises"),
        NoDifference(text="3 does as well as 4", metric="derived/slight", a={"model.width": "3"},
                     b={"model.width": "4"}, within=0.2),
        beats("3 beats 2 by a gap", "derived/gap", "3", "2"),
        beats("4 beats 2 by a gap", "derived/gap", "4", "2"),
    ),
)
'''  # fmt: skip

GAPS = np.array([0.0, 1.0, 1.4, 1.8, 2.8])
WORDS = {
    "4 beats 2 slightly": "supported",
    "2 beats 3 slightly": "contradicted",
    "it rises with the width": "supported",
    "3 does as well as 4": "supported",
    "3 beats 2 by a gap": "undecided",
    "4 beats 2 by a gap": "undecided",
}


def knobs(folder: Path, *arguments: str) -> Done:
    done = quick(*arguments, store=folder / "mlruns", cwd=folder)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project, and what its ablation printed."""
    folder = tmp_path_factory.mktemp("paired")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "paired.py").write_text(FILE)
    return folder, knobs(folder, "ablate", "paired", "--devices", "cpu:1").out


def test_the_printed_verdicts_are_of_the_same_seeds_compared_and_of_all_claims_together(
    ablated: tuple[Path, str],
) -> None:
    for text, word in WORDS.items():
        assert re.search(rf"{word}: {text}", ablated[1]), ablated[1]


def test_the_recorded_verdicts_hold_the_paired_interval_the_corrected_p_and_the_seeds_to_add(
    ablated: tuple[Path, str],
) -> None:
    (parent,) = (run for run in reading.runs(ablated[0] / "mlruns") if run.tags["knobs.kind"] == "ablation")
    found = json.loads(Path(parent.artifacts.removeprefix("file://"), "verdicts.json").read_text())
    assert {entry["claim"]: entry["verdict"] for entry in found} == WORDS
    by_claim = {entry["claim"]: entry for entry in found}
    alone = scipy_stats.ttest_1samp(GAPS, 0)
    for width in (3, 4):
        entry = by_claim[f"{width} beats 2 by a gap"]
        assert entry["effect"] == pytest.approx(GAPS.mean())
        assert entry["interval"] == pytest.approx(list(alone.confidence_interval(0.95)))
        assert (entry["p_uncorrected"], entry["p"]) == pytest.approx((alone.pvalue, 2 * alone.pvalue))
        more = entry["needed_more_seeds"]
        assert _power(5 + more, 0.05 / 2) >= 0.8 > _power(5 + more - 1, 0.05 / 2)  # two claims are open
    assert {entry["needed_more_seeds"] for entry in found if entry["verdict"] != "undecided"} == {0}


def _power(seeds: int, alpha: float) -> float:
    size = GAPS.mean() / GAPS.std(ddof=1) * np.sqrt(seeds)
    return float(scipy_stats.nct.sf(scipy_stats.t.isf(alpha / 2, seeds - 1), seeds - 1, size))


def test_the_report_and_the_status_say_the_same(ablated: tuple[Path, str]) -> None:
    folder, _ = ablated
    knobs(folder, "report", "paired")
    text = (folder / "mlruns" / "reports" / "paired" / "report.md").read_text()
    for claim, word in WORDS.items():
        assert f"- **{word}**: {claim}" in text
    knobs(folder, "report", "paired", "--check")
    shown = knobs(folder, "status", "paired").out
    for claim, word in WORDS.items():
        assert re.search(rf"{word}: {claim}", shown), shown
