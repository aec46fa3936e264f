"""Ablations: which input is refused, which cells there are, how claims are decided."""

from dataclasses import replace

import optuna
import pytest

from datamodules.toy import Toy
from knobs import Ablation, BadInputError, Beats, Factor, Match, Matches, NoDifference, RunConfig, Training, Trend
from knobs.ablation import decide_claims, match_config, network_size
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=1, width=8),
    data=Toy(),
    optimizer=SGD(lr=0.1),
    schedule=Constant(),
    training=Training(max_steps=16, val_every=8),
)


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """The rate."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)})


def three_widths(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """One of three widths."""
    return baseline.with_knobs({"model.width": trial.suggest_categorical("model.width", [4, 8, 16])})


def make(**changes: object) -> Ablation:
    factors = (Factor.of("model.depth", [1, 2]), Factor.of("model.activation", ["relu", "tanh"]))
    given = {"question": "?", "claim": "!", "baseline": BASELINE, "factors": factors, "nuisance": nuisance}
    return Ablation(**{**given, "metric": "val/accuracy", "direction": "maximize", **changes})  # type: ignore[arg-type]


BEATS = Beats(text="deep beats flat", metric="test/accuracy", better={"model.depth": "2"}, worse={"model.depth": "1"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": (Factor.of("model.dept", [1, 2]),)}, "model.dept is no knob of this run|model.depth"),
        ({"factors": (Factor.of("model.depth", [1, -2]),)}, r"cell -2: model.depth = -2: .* greater than or equal"),
        ({"factors": (Factor.of("optimizer.lr", [0.1, 0.2]),)}, "optimizer.lr is a factor and a nuisance knob"),
        ({"factors": (Factor.of("model.depth", [1]),)}, "needs at least 2"),
        ({"claims": (BEATS,), "repetitions": 1, "seeds": 1}, "1 seed cannot decide a claim"),
        ({"repetitions": 0}, "at least 1 repetition"),
        ({"sampler": "grid", "nuisance": three_widths, "trials": 8}, "the grid of cell depth 1, relu has 3 points"),
        ({"seeds": 101}, "a repetition has at most 100"),
        ({"looks": (5, 15)}, "one after every 5 repetitions"),
        ({"looks": (5, 10, 15)}, "the last must be after all 10 repetitions"),
        ({"metric": "val/acuracy"}, "did you mean val/accuracy"),
        ({"where": lambda levels: False}, "no cell is left"),
        (
            {"claims": (Beats(text="x", metric="val/loss", better={"model.dept": "2"}, worse={"model.depth": "1"}),)},
            "model.dept is no factor; did you mean model.depth",
        ),
        (
            {
                "claims": (
                    Trend(
                        text="x", metric="test/accuracy", factor="model.depth", way="falls", where={"model.depth": "3"}
                    ),
                )
            },
            "3 is no level of model.depth",
        ),
        (
            {
                "nuisance": lambda trial, base: base.with_knobs(
                    {"training.max_steps": trial.suggest_int("training.max_steps", 8, 64)}
                )
            },
            "every cell's budget must be equal",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        make(**changes)
    assert "\n" not in str(refused.value)


def test_cells_are_crossed_or_one_at_a_time_and_some_are_left_out() -> None:
    assert [cell.name for cell in make().cells()] == [
        "depth 1, relu",
        "depth 1, tanh",
        "depth 2, relu",
        "depth 2, tanh",
    ]
    assert [cell.name for cell in make(design="one_at_a_time").cells()] == [
        "depth 1, relu",
        "depth 1, tanh",
        "depth 2, relu",
    ]
    assert len(make(where=lambda levels: levels["model.depth"] == "2").cells()) == 2
    assert make().cells()[3].config == BASELINE.with_knobs({"model.depth": 2, "model.activation": "tanh"})


def test_what_is_not_a_factor_or_tuned_is_fixed() -> None:
    fixed = make().fixed()
    assert "model.width" in fixed
    assert not {"model.depth", "model.activation", "optimizer.lr", "seed"} & set(fixed)


@pytest.mark.parametrize("what", ["parameters", "compute"])
def test_cells_of_equal_size(what: str) -> None:
    match = Match(knob="model.width", target=3000, what=what)  # type: ignore[arg-type]
    for cell in make(match=match).cells():
        assert abs(network_size(cell.config, match.what) / 3000 - 1) < 0.05
    with pytest.raises(BadInputError, match=r"no model.width from 1 to 4 gives 3000"):
        match_config(BASELINE, Match(knob="model.width", target=3000, high=4))


def values(table: dict[tuple[str, str], list[float]]) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
    return {
        (("model.activation", act), ("model.depth", depth)): dict(enumerate(runs))
        for (depth, act), runs in table.items()
    }


FACTORS = {"model.depth": ["1", "2"], "model.activation": ["relu", "tanh"]}
CLEAR = values(
    {
        ("1", "relu"): [0.80, 0.81, 0.79, 0.80, 0.82],
        ("1", "tanh"): [0.80, 0.80, 0.80, 0.81, 0.81],
        ("2", "relu"): [0.90, 0.92, 0.89, 0.91, 0.92],
        ("2", "tanh"): [0.91, 0.90, 0.90, 0.91, 0.91],
    }
)


def test_claims_are_decided_paired_and_in_the_claimed_direction() -> None:
    claims = (
        BEATS,
        Beats(text="flat beats deep", metric="m", better={"model.depth": "1"}, worse={"model.depth": "2"}),
        Trend(text="rises", metric="m", factor="model.depth", way="rises"),
        NoDifference(
            text="same", metric="m", a={"model.activation": "relu"}, b={"model.activation": "tanh"}, within=0.05
        ),
        NoDifference(text="not the same", metric="m", a={"model.depth": "2"}, b={"model.depth": "1"}, within=0.05),
        Matches(text="0.9", metric="m", value=0.5, within=0.02, where={"model.depth": "2"}),
    )
    verdicts = decide_claims(claims, {"m": CLEAR, "test/accuracy": CLEAR}, FACTORS)
    words = ["supported", "contradicted", "supported", "supported", "contradicted", "contradicted"]
    assert [verdict.verdict for verdict in verdicts] == words
    assert verdicts[0].result is not None
    assert verdicts[0].result.effect == pytest.approx(0.103)
    assert verdicts[0].result.n == 5


def test_a_cell_without_finished_runs_is_named_and_leaves_the_claim_undecided() -> None:
    gone = {**CLEAR, (("model.activation", "relu"), ("model.depth", "2")): {}}
    (verdict,) = decide_claims((BEATS,), {"test/accuracy": gone}, FACTORS)
    assert (verdict.verdict, verdict.result) == ("undecided", None)
    assert "no run of cell relu 2 finished" in verdict.note


def test_seeds_that_did_not_finish_everywhere_are_left_out_and_counted() -> None:
    key = (("model.activation", "relu"), ("model.depth", "2"))
    fewer = {**CLEAR, key: {seed: value for seed, value in CLEAR[key].items() if seed != 1}}
    (verdict,) = decide_claims((BEATS,), {"test/accuracy": fewer}, FACTORS)
    assert verdict.result is not None
    assert verdict.result.n == 4
    assert "1 of 5 seeds left out" in verdict.note


def test_a_trend_needs_two_levels_of_its_factor() -> None:
    levels = {"model.depth": ["1", "16"]}
    trend = Trend(text="rises", metric="m", factor="model.depth", way="rises")
    assert trend.can_be_tested(levels)
    assert not replace(trend, where={"model.depth": "16"}).can_be_tested(levels)
