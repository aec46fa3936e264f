"""Ablations: what is refused, and a whole one, interrupted and extended, through the installed command."""

import signal
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from mlflow import MlflowClient
from support import KNOBS, Done, command, environment

from datamodules.toy import Toy
from knobs.ablation import Ablation, Beats, Factor, Match, Matches, NoDifference, Trend
from knobs.config import RunConfig, Training
from knobs.design import matched, measure
from knobs.errors import BadInputError
from knobs.optimizers import SGD
from knobs.rulings import rule
from knobs.schedules import Constant
from models.mlp import MLP

BASELINE = RunConfig(
    model=MLP(depth=1, width=8),
    data=Toy(),
    optimizer=SGD(lr=0.1),
    schedule=Constant(),
    training=Training(max_steps=16, val_every=8),
)

FILE = '''"""Does depth help on a toy?"""
from datamodules.toy import Toy
from knobs.ablation import Ablation, Beats, Factor, NoDifference, Quick, Reference, Trend
from knobs.config import RunConfig, Training
from knobs.optimizers import SGD
from knobs.schedules import Constant
from models.mlp import MLP


def nuisance(trial, baseline):
    """The rate."""
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-2, 0.5, log=True)}})


def exact():
    """Computed, not trained."""
    return 1 / 3


ablation = Ablation(
    question="Does depth help on a toy?",
    claim="It does not.",
    baseline=RunConfig(model=MLP(depth=1, width=8), data=Toy(), optimizer=SGD(lr=0.1), schedule=Constant(),
                       training=Training(max_steps=48, val_every=8)),
    factors=(Factor.of("model.depth", {levels}), Factor.of("model.activation", ["tanh", "relu"])),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    trials=3,
    seeds=3,
    claims=(Beats(text="tanh beats relu", metric="test/accuracy", better={{"model.activation": "tanh"}},
                  worse={{"model.activation": "relu"}}),
            Trend(text="falls with depth", metric="train/accuracy", factor="model.depth", way="falls")),
    references=(Reference(name="chance", metric="test/accuracy", value=exact, source="one of three classes"),),
    quick=Quick(trials=1, seeds=2),
)
'''


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """The rate."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)})


def make(**changes: object) -> Ablation:
    factors = (Factor.of("model.depth", [1, 2]), Factor.of("model.activation", ["relu", "tanh"]))
    given = {"question": "?", "claim": "!", "baseline": BASELINE, "factors": factors, "nuisance": nuisance}
    return Ablation(**{**given, "metric": "val/accuracy", "direction": "maximize", **changes})  # type: ignore[arg-type]


BEATS = Beats(text="deep beats flat", metric="test/accuracy", better={"model.depth": "2"}, worse={"model.depth": "1"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"factors": (Factor.of("model.dept", [1, 2]),)}, "model.dept is no knob of this run|model.depth"),
        ({"factors": (Factor.of("model.depth", [1, -2]),)}, r"cell -2: model.depth = -2: .* greater than or equal"),
        ({"factors": (Factor.of("optimizer.lr", [0.1, 0.2]),)}, "optimizer.lr is a factor and a nuisance knob"),
        ({"factors": (Factor.of("model.depth", [1]),)}, "needs at least 2"),
        ({"claims": (BEATS,), "seeds": 1}, "1 seed cannot decide a claim"),
        ({"metric": "val/acuracy"}, "did you mean val/accuracy"),
        ({"where": lambda levels: False}, "no cell is left"),
        (
            {"claims": (Beats(text="x", metric="m", better={"model.dept": "2"}, worse={"model.depth": "1"}),)},
            "model.dept is no factor; did you mean model.depth",
        ),
        (
            {"claims": (Trend(text="x", metric="m", factor="model.depth", way="falls", where={"model.depth": "3"}),)},
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
def test_bad_input_is_one_line_that_names_it(changes: dict[str, object], says: str) -> None:
    with pytest.raises(BadInputError, match=says) as refused:
        make(**changes)
    assert "\n" not in str(refused.value)


def test_cells_are_crossed_or_one_at_a_time_and_some_are_left_out() -> None:
    assert [cell.name for cell in make().cells()] == ["1 relu", "1 tanh", "2 relu", "2 tanh"]
    assert [cell.name for cell in make(design="one_at_a_time").cells()] == ["1 relu", "1 tanh", "2 relu"]
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
        assert abs(measure(cell.config, match.what) / 3000 - 1) < 0.05
    with pytest.raises(BadInputError, match=r"no model.width from 1 to 4 gives 3000"):
        matched(BASELINE, Match(knob="model.width", target=3000, high=4))


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
    rulings = rule(claims, {"m": CLEAR, "test/accuracy": CLEAR}, FACTORS)
    words = ["supported", "contradicted", "supported", "supported", "contradicted", "contradicted"]
    assert [ruling.word for ruling in rulings] == words
    assert rulings[0].verdict is not None
    assert rulings[0].verdict.effect == pytest.approx(0.103)
    assert rulings[0].verdict.n == 5


def test_a_cell_without_finished_runs_is_said_and_leaves_the_claim_undecided() -> None:
    gone = {**CLEAR, (("model.activation", "relu"), ("model.depth", "2")): {}}
    (ruling,) = rule((BEATS,), {"test/accuracy": gone}, FACTORS)
    assert (ruling.word, ruling.verdict) == ("undecided", None)
    assert "no run of cell relu 2 finished" in ruling.note


def test_seeds_that_did_not_finish_everywhere_are_left_out_aloud() -> None:
    key = (("model.activation", "relu"), ("model.depth", "2"))
    fewer = {**CLEAR, key: {seed: value for seed, value in CLEAR[key].items() if seed != 1}}
    (ruling,) = rule((BEATS,), {"test/accuracy": fewer}, FACTORS)
    assert ruling.verdict is not None
    assert ruling.verdict.n == 4
    assert "1 of 5 seeds left out" in ruling.note


def project(folder: Path, levels: list[int]) -> Path:
    (folder / "experiments").mkdir(parents=True, exist_ok=True)
    (folder / "experiments" / "depth.py").write_text(FILE.format(levels=levels))
    return folder


def verdicts(done: Done) -> str:
    return done.out[done.out.index("depth: test/accuracy") :]


def runs(store: Path, name: str = "depth") -> list[SimpleNamespace]:
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return [
        SimpleNamespace(id=r.info.run_id, status=r.info.status, tags=r.data.tags, metrics=r.data.metrics) for r in found
    ]


@pytest.mark.slow
def test_a_whole_ablation_interrupted_extended_and_quick(tmp_path: Path) -> None:
    here, store, other = project(tmp_path / "p", [1, 2]), tmp_path / "s", tmp_path / "other"
    dry = command("ablate", "depth", "--dry-run", "--devices", "cpu:2", store=store, cwd=here)
    assert dry.code == 0, dry.err
    assert "4 cells, 24 runs" in dry.out
    assert not store.exists()

    plain = command("ablate", "depth", "--devices", "cpu:2", store=other, cwd=here)
    assert plain.code == 0, plain.err
    launched = [str(KNOBS), "ablate", "depth", "--devices", "cpu:2"]
    with subprocess.Popen(launched, cwd=here, env=environment(store), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"finished" in line and b"s100" in line:  # the first seed: some cells are tuned, others are not
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(20) == 130
    assert not [run for run in runs(store) if run.status == "RUNNING"]
    before = {run.id for run in runs(store)}
    again = command("ablate", "depth", "--devices", "cpu:2", store=store, cwd=here)
    assert again.code == 0, again.err
    assert verdicts(again) == verdicts(plain)
    everything = runs(store)
    assert before <= {run.id for run in everything}
    kinds = Counter(run.tags["knobs.kind"] for run in everything)
    assert kinds == {"ablation": 1, "cell": 4, "trial": 12, "seed": 12, "reference": 1}
    assert {run.status for run in everything} == {"FINISHED"}
    digests = Counter(run.tags["knobs.digest"] for run in everything if run.tags.get("knobs.state") == "finished"
                      and "knobs.digest" in run.tags)  # fmt: skip
    assert set(digests.values()) == {1}, "a config was trained twice"
    for run in everything:
        tested = any(name.startswith("test/") for name in run.metrics)
        assert tested == (run.tags["knobs.kind"] in ("seed", "reference"))
    cells = [run for run in everything if run.tags["knobs.kind"] == "cell"]
    assert {(run.metrics["budget/trials"], run.metrics["budget/steps_a_trial"]) for run in cells} == {(3.0, 48.0)}
    seeds = {run.tags["knobs.cell"]: set() for run in cells}
    for run in everything:
        if run.tags["knobs.kind"] == "seed":
            seeds[run.tags["knobs.cell"]].add(run.tags["knobs.seed"])
    assert set(map(frozenset, seeds.values())) == {frozenset({"1000", "1001", "1002"})}
    how = {run.tags["knobs.execution"] for run in everything if run.tags["knobs.kind"] == "seed"}
    assert how == {"population of seeds 1000,1001,1002"}
    seed = next(run for run in everything if run.tags.get("knobs.seed") == "1001")
    done = command("reproduce", seed.id, store=store, cwd=here)
    assert (done.code, "identical: all" in done.out) == (0, True), done.err  # among its population, as it was trained

    project(here, [1, 2, 3])
    more = command("ablate", "depth", "--devices", "cpu:2", store=store, cwd=here)
    assert more.code == 0, more.err
    grown = Counter(run.tags["knobs.kind"] for run in runs(store))
    assert grown == {"ablation": 1, "cell": 6, "trial": 18, "seed": 18, "reference": 1, "reproduction": 1}
    assert more.out.count(" finished ") + more.out.count(" reused ") == 12

    quick = command("ablate", "depth", "--quick", "--devices", "cpu:1", store=store, cwd=here)
    assert quick.code == 0, quick.err
    assert "not for conclusions" in quick.out
    assert Counter(run.tags["knobs.kind"] for run in runs(store, "depth-quick"))["seed"] == 12


@pytest.mark.slow
def test_a_cell_whose_every_run_diverges_is_reported(tmp_path: Path) -> None:
    here = project(tmp_path / "p", [1, 2])
    path = here / "experiments" / "depth.py"
    changes = {
        'Factor.of("model.depth", [1, 2])': 'Factor("rate", {"sane": {"training.clip_norm": 1.0}, "mad": MAD})',
        "def exact": 'MAD = {"optimizer.kind": "sgd", "optimizer.momentum": 0.999}\n\n\ndef exact',
        "data=Toy()": 'data=Toy(task="regression")',
        "/accuracy": "/r2",
        'factor="model.depth"': 'factor="rate"',
        "1e-2, 0.5": "1e5, 1e6",
        "lr=0.1": "lr=2e5",
    }
    text = path.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    store = tmp_path / "s"
    done = command("ablate", "depth", "--devices", "cpu:2", store=store, cwd=here)
    assert done.code in (0, 1), done.err
    mad = [run for run in runs(store) if run.tags.get("knobs.level.rate") == "mad"]
    cells = [run for run in mad if run.tags["knobs.kind"] == "cell"]
    assert {run.tags["knobs.state"] for run in cells} == {"no run finished"}
    assert {run.tags["knobs.state"] for run in mad if run.tags["knobs.kind"] == "trial"} == {"diverged"}
    assert "no run finished" in done.out
