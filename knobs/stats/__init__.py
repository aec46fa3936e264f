"""Statistics over arrays of runs: pure functions on NumPy arrays, seeds along axis 0."""

from knobs.stats.claims import (
    ClaimTest,
    Verdict,
    beats,
    exceeds,
    falls,
    holm,
    matches,
    no_difference,
    rises,
)
from knobs.stats.compare import (
    contrasts,
    crossed_effects,
    factor_effect,
    paired_difference,
    sign_flip_p,
    trend,
    unpaired_difference,
)
from knobs.stats.decisions import ClaimResult, decide, decide_after_looks
from knobs.stats.describe import expected_best, interquartile_mean, mean, probability_of_improvement
from knobs.stats.intervals import Estimate, bca_interval, mean_interval
from knobs.stats.new_samples import new_samples_interval, sampling_sd
from knobs.stats.planning import largest_sd, rows_to_find, seeds_to_decide
from knobs.stats.sequential import look_levels, sequential_p
from knobs.stats.tuning_curves import median_best

__all__ = [
    "ClaimResult",
    "ClaimTest",
    "Estimate",
    "Verdict",
    "bca_interval",
    "beats",
    "contrasts",
    "crossed_effects",
    "decide",
    "decide_after_looks",
    "exceeds",
    "expected_best",
    "factor_effect",
    "falls",
    "holm",
    "interquartile_mean",
    "largest_sd",
    "look_levels",
    "matches",
    "mean",
    "mean_interval",
    "median_best",
    "new_samples_interval",
    "no_difference",
    "paired_difference",
    "probability_of_improvement",
    "rises",
    "rows_to_find",
    "sampling_sd",
    "seeds_to_decide",
    "sequential_p",
    "sign_flip_p",
    "trend",
    "unpaired_difference",
]
