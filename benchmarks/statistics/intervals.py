"""Coverage of the intervals of `knobs/stats` on simulated runs whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from knobs.stats.compare import crossed_effects, paired_difference, trend, unpaired_difference
from knobs.stats.intervals import mean_interval, skewness, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

RUNS = (5, 10, 20)
NAMED: dict[str, tuple[Draw, float, float]] = {  # draw, mean, sd
    "normal": (lambda g, s: g.normal(size=s), 0.0, 1.0),
    "gamma(2)": (lambda g, s: g.gamma(2, size=s), 2.0, 2**0.5),
    "lognormal(1)": (lambda g, s: g.lognormal(size=s), np.exp(0.5), float(np.sqrt((np.e - 1) * np.e))),
    "Beta(20, 0.5)": (lambda g, s: g.beta(20, 0.5, size=s), 20 / 20.5, float(stats.beta(20, 0.5).std())),
}
OTHERS: dict[str, tuple[Draw, float, float]] = {
    "uniform": (lambda g, s: g.random(s), 0.5, 12**-0.5),
    "exponential": (lambda g, s: g.exponential(size=s), 1.0, 1.0),
    "t, 3 dof": (lambda g, s: g.standard_t(3, size=s), 0.0, 3**0.5),
    "share right of 360, p = .97": (lambda g, s: g.binomial(360, 0.97, s) / 360, 0.97, 0.009),
    "one run in 10 fails, 10 sd lower": (lambda g, s: g.normal(size=s) - 10 * (g.random(s) < 0.1), -1.0, 3.16),
}


def noise(name: str, g: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw values of mean 0 and sd 1."""
    draw, mean, sd = NAMED[name]
    return (draw(g, shape) - mean) / sd


def _t(x: np.ndarray, grow: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    half = grow * special.stdtrit(len(x) - 1, 0.975) * spread(x) / len(x) ** 0.5
    return x.mean(axis=0) - half, x.mean(axis=0) + half


def _johnson(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = _t(x)
    shift = skewness(x) * spread(x) / (6 * len(x))
    return low + shift, high + shift


def _hall(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, g = len(x), skewness(x)
    g = np.where(np.abs(g) < 1e-6, 1e-6, g)
    ends = [
        x.mean(axis=0) - spread(x) * 3 / g * (np.cbrt(1 + g * (z / n**0.5 - g / (6 * n))) - 1)
        for z in special.stdtrit(n - 1, [0.975, 0.025])
    ]
    return ends[0], ends[1]


def _bca(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    made = stats.bootstrap((x,), np.mean, axis=0, n_resamples=999, method="BCa", rng=np.random.default_rng(0))
    return made.confidence_interval.low, made.confidence_interval.high


def _anderson(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Anderson's interval (1969), guaranteed for values in [0, 1], from the Dvoretzky-Kiefer-Wolfowitz band."""
    n = len(x)
    band = np.sqrt(np.log(2 / 0.05) / (2 * n))
    steps = np.diff(
        np.concatenate([np.zeros((1, *x.shape[1:])), np.sort(x, axis=0), np.ones((1, *x.shape[1:]))]), axis=0
    )
    below = (np.arange(n + 1) / n)[:, None]
    return (steps * (1 - np.minimum(below + band, 1))).sum(axis=0), (steps * (1 - np.maximum(below - band, 0))).sum(
        axis=0
    )


def _printed(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    made = mean_interval(x)
    return made.low, made.high


INTERVALS = {
    "t": _t,
    "t x 2": lambda x: _t(x, 2.0),
    "Johnson": _johnson,
    "Hall": _hall,
    "BCa": _bca,
    "Anderson": _anderson,
    "**printed**": _printed,
}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table. Floats have three decimals."""
    shown = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *shown])


def covered(low: np.ndarray, high: np.ndarray, true: float) -> float:
    return float(((low <= true) & (true <= high)).mean())


def means(g: np.random.Generator, samples: int) -> str:
    """Coverage of each interval of a mean, with its median width in units of Student's."""
    rows = []
    for name, (draw, true, _) in {**NAMED, **OTHERS}.items():
        for n in (3, 4, *RUNS) if name in NAMED else RUNS:
            x = draw(g, (n, samples))
            usual = np.median(np.subtract(*_t(x)[::-1]))
            row: list[object] = [name, n]
            for method, interval in INTERVALS.items():
                bounded = name.startswith(("Beta", "share", "uniform"))
                if (method == "Anderson" and not bounded) or (method == "BCa" and (name in OTHERS or n < RUNS[0])):
                    row.append("")
                    continue
                low, high = interval(x[:, :3000] if method == "BCa" else x)
                row.append(f"{covered(low, high, true):.3f} ({np.median(high - low) / usual:.2f})")
            rows.append(row)
    return table(["runs from", "n", *INTERVALS], rows)


def differences(g: np.random.Generator, samples: int) -> str:
    """Coverage of paired and unpaired differences. B spreads a tenth to as much as A."""
    rows = []
    for name in NAMED:
        for n in (3, *RUNS):
            row: list[object] = [name, n]
            for ratio in (1.0, 0.5, 0.33, 0.1):
                a, b = noise(name, g, (n, samples)), ratio * noise(name, g, (n, samples))
                shared = g.normal(size=(n, samples)) * ratio
                for made in (paired_difference(a + shared, b + shared), unpaired_difference(a, b)):
                    row.append(covered(made.low, made.high, 0.0))
            rows.append(row)
    heads = [f"{kind}, sd {ratio}" for ratio in ("1:1", "1:2", "1:3", "1:10") for kind in ("paired", "unpaired")]
    return table(["runs from", "n", *heads], rows)


def effects(g: np.random.Generator, samples: int) -> str:
    """Coverage of main effects, interactions and slopes in a null ablation of L levels."""
    rows = []
    for name in NAMED:
        for n in RUNS:
            row: list[object] = [name, n]
            for levels in (2, 3, 4, 6):
                x = noise(name, g, (n, levels, samples)) + g.normal(size=(n, 1, samples))
                slope = trend(x)
                row.append(covered(slope.low, slope.high, 0.0))
            for levels in (2, 3, 4, 6):
                hits: dict[tuple[str, ...], list[float]] = {}
                for _ in range(max(1, samples // 20)):
                    for key, made in crossed_effects(noise(name, g, (n, levels, 2)), ("F", "G")).items():
                        hits.setdefault(key, []).append(covered(made.low, made.high, 0.0))
                row += [float(np.mean(hits["F",])), float(np.mean(hits["F", "G"]))]
            rows.append(row)
    heads = [f"slope, {k}" for k in (2, 3, 4, 6)]
    heads += [f"{kind}, {k}" for k in (2, 3, 4, 6) for kind in ("main", "F x G")]
    return table(["runs from", "n", *heads], rows)


def trend_choices(g: np.random.Generator, samples: int) -> str:
    """Power of three trend scores per seed, under t over 5 seeds; the shapes rise by 1.5 sd of a cell in all."""
    rows = []
    for levels in (3, 4, 6):
        at = np.arange(levels) / (levels - 1)
        i = np.arange(1, levels + 1)
        maximin = np.sqrt((i - 1) * (1 - (i - 1) / levels)) - np.sqrt(i * (1 - i / levels))
        shapes = {"none": 0 * at, "even": at, "first step": 1.0 * (at > 0), "last step": 1.0 * (at == 1)}
        for shape, rise in shapes.items():
            x = g.normal(size=(5, samples, levels)) + 1.5 * rise
            ranks = x.argsort(axis=-1).argsort(axis=-1) * 1.0
            row: list[object] = [levels, shape]
            for alpha in (0.05, 0.0125):
                row.append(float((trend(np.moveaxis(x, -1, 1)).p <= alpha).mean()))
                for scores in (x @ maximin, ranks @ (i - i.mean())):
                    row.append(float((mean_interval(scores, shape="symmetric").p <= alpha).mean()))
            rows.append(row)
    heads = [
        f"{kind}, at {alpha}" for alpha in (0.05, 0.0125) for kind in ("**slope**", "Abelson-Tukey", "Page's ranks")
    ]
    return table(["levels", "shape", *heads], rows)
