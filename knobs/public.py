"""The public names of knobs and the modules they come from."""

from __future__ import annotations

HOMES = {
    "knobs.ablation": (
        "Ablation", "Beats", "BeatsAtEveryBudget", "Cell", "Computed", "Derived", "Exceeds", "Factor", "Match",
        "Matches", "NoDifference", "Quick", "RecordedValues", "Reference", "Trend",
    ),
    "knobs.config": (
        "Array", "Count", "DataConfig", "DataSpec", "Fraction", "GroupedOptimizerConfig", "Metric", "ModelConfig",
        "NonNegative", "ObjectiveConfig", "OptimizerConfig", "Part", "Positive", "RunConfig", "ScheduleConfig",
        "Split", "Splits",
        "Training", "Value", "part",
    ),
    "knobs.data": ("on_disk",),
    "knobs.errors": ("BadInputError",),
    "knobs.search": ("Replicates", "Study"),
    "knobs.training.combined_optimizer": ("CombinedOptimizer",),
}  # fmt: skip
"""Public names by module. `knobs/__init__.py` imports them lazily, and `provenance` follows them to the code."""
