"""The baseline of a study or an ablation, knobs from the command line, and a check of the result."""

from __future__ import annotations

from knobs import discover
from knobs.config import RunConfig, knob_order


def with_typed_knobs(config: RunConfig, typed: dict[str, str]) -> RunConfig:
    """Return the config with knobs as typed on the command line. Kinds come first: they decide what knobs exist."""
    for name, text in sorted(typed.items(), key=lambda item: knob_order(item[0])):
        config = config.with_knobs({name: config.parse_knob(name, text)})
    return config


def check_buildable(config: RunConfig) -> None:
    """Raise `BadInputError` if the network cannot take the data, or if the run does not record its monitored metric."""
    from knobs.training.network import build_network_of  # imports torch
    from knobs.training.one_sample_batch import check_one_sample_batch

    build_network_of(config.model, config.network_spec)
    check_one_sample_batch(config)
    _ = config.monitored


def baseline_of(name: str) -> RunConfig:
    """Return the baseline of the study or ablation of this name. Raise `BadInputError` if there is none."""
    folder, module = discover.find(name)
    if folder == "studies":
        from knobs.search import Study

        return discover.the_one(module, Study).baseline
    from knobs.ablation import Ablation  # imports SciPy

    return discover.the_one(module, Ablation).baseline
