"""Real ablations whose claim is false: the two arms are equal in distribution, not in bits.

One arm sees the features in their own order, the other in a random one. A dense network's initial weights are drawn
alike for every feature, so no order is better. `python -m benchmarks.statistics real_nulls` records two such pairs, 40
repetitions of 8 trials and 10 seeds each (half an hour on two cores), and resamples them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.statistics.intervals import table
from knobs.stats import beats, decide, decide_after_looks

REPETITIONS, SEEDS = 40, 10
LOOKS = [5, 10, 15, 20]
ARMS = ("own order", "shuffled")

PAIRS = {
    "tanh MLP on MNIST-1D": """
    model=MLP(depth=2, width=32, activation="tanh"), data=MNIST1D(flat=True), optimizer=SGD(lr=0.1, momentum=0.9),
    schedule=Cosine(), training=Training(max_steps=300, val_every=60)""",
    "dense residual network on digits": """
    model=ResNet(depth=8, width=32, norm="none", init="kaiming"), data=Digits(flat=True, batch_size=64),
    optimizer=SGD(lr=0.03, momentum=0.9), schedule=Cosine(warmup_steps=20),
    training=Training(max_steps=200, val_every=40, clip_norm=1.0)""",
}

FILE = '''"""Does the order of features matter to a dense network? It does not."""
from datamodules.digits import Digits
from datamodules.mnist1d import MNIST1D
from knobs import Ablation, Factor, RunConfig, Training
from models.mlp import MLP
from models.resnet import ResNet
from optimizers.sgd import SGD
from schedules.cosine import Cosine


def nuisance(trial, baseline):
    """The peak rate, over three orders of magnitude."""
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)}})


ablation = Ablation(
    question="Does the order of features matter to a dense network?",
    claim="It does not.",
    baseline=RunConfig({config}),
    factors=(Factor("order", {{"own order": {{}}, "shuffled": {{"data.shuffle_features": True}}}}),),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    repetitions={repetitions},
    seeds={seeds},
)
'''


def recorded_pool(config: str) -> np.ndarray:
    """Record one pair in a store of its own, and return its test accuracies: (arms, repetitions, seeds)."""
    from knobs.record.reader import read_recorded
    from knobs.record.recorded_ablation import RecordedAblation
    from knobs.record.stores.locations import StoreLocations
    from knobs.record.stores.mlflow_store import Tracker

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "experiments").mkdir()
        text = FILE.format(config=config, repetitions=REPETITIONS, seeds=SEEDS)
        (project / "experiments" / "order.py").write_text(text)
        command = [str(Path(sys.executable).with_name("knobs")), "ablate", "order", "--devices", "cpu:2"]
        environment = {**os.environ, "KNOBS_MLRUNS": str(project / "mlruns")}
        subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
        recorded = read_recorded(Tracker(StoreLocations(project, project / "mlruns")), "order")
        assert isinstance(recorded, RecordedAblation)
        by_arm = {cell.name: cell.seeds_by_repetition("test/accuracy") for cell in recorded.cells}
        return np.array([[by_arm[arm][n] for n in range(REPETITIONS)] for arm in ARMS])


def false_verdicts(pool: np.ndarray, g: np.random.Generator, ablations: int) -> list[float]:
    """Return the share of ablations with a verdict: 5, 10, 20 repetitions, until decided; one tuning, 10 seeds.

    In each repetition of a resampled ablation the arms change places at random, which changes nothing if they are equal
    in distribution. One tuning: every recorded repetition by itself, which is what was done before repetitions.
    """
    repeated = pool[:, :, :2].mean(axis=2)
    counts = dict.fromkeys((5, 10, 20), 0)
    sequential = 0
    for _ in range(ablations):
        chosen = repeated[:, g.choice(REPETITIONS, LOOKS[-1], replace=False)]
        swapped = np.where(g.random(LOOKS[-1]) < 0.5, chosen, chosen[::-1])
        for n in counts:
            counts[n] += decide([beats(swapped[1, :n], swapped[0, :n])])[0].verdict != "undecided"
        tests = [[beats(swapped[1, :n], swapped[0, :n])] for n in LOOKS]
        sequential += decide_after_looks(LOOKS, LOOKS[-1], tests)[0].verdict != "undecided"
    once = [decide([beats(pool[1, n], pool[0, n])])[0].verdict != "undecided" for n in range(REPETITIONS)]
    return [*(count / ablations for count in counts.values()), sequential / ablations, float(np.mean(once))]


def real_nulls(g: np.random.Generator, ablations: int) -> str:
    """Return the table of both pairs."""
    rows = []
    for name, config in PAIRS.items():
        pool = recorded_pool(config)
        means = pool.mean(axis=(1, 2))
        total = float(pool[:, :, :2].mean(axis=2).std(axis=1, ddof=1).mean())
        within = float(np.sqrt(pool.var(axis=2, ddof=1).mean()))
        rows.append([name, *means.tolist(), total, within, *false_verdicts(pool, g, ablations)])
    heads = ["pair", "own order", "shuffled", "sd of repetitions", "sd of seeds", "5 repetitions", "10", "20"]
    return table([*heads, "until decided", f"one tuning, {SEEDS} seeds"], rows)


TEXT = """# Verdicts on real networks whose arms are equal

Written by `python -m benchmarks.statistics real_nulls`; do not edit. The arms differ in the order of a dense network's
input features, so they are equal in distribution and differ in every bit. Each pair was recorded once: 40 repetitions
of 8 quasi-random rates and 10 fresh seeds. Columns with repetitions: share of {ablations} resampled ablations, of two
seeds a repetition, in which "shuffled beats own order" was decided; 5% should be. *One tuning*: share of the 40
repetitions whose 10 seeds by themselves decide it, the protocol before repetitions.

{table}
"""


def report() -> str:
    """Record both pairs and return the page."""
    ablations = 2000
    return TEXT.format(ablations=ablations, table=real_nulls(np.random.default_rng(0), ablations))
