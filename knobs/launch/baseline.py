"""The baseline of a study or an ablation, knobs from the command line, and a check of the result."""

from __future__ import annotations

from collections.abc import Iterable

from knobs import discover
from knobs.config import RunConfig, knob_order
from knobs.errors import BadInputError


def with_typed_knobs(config: RunConfig, typed: dict[str, str]) -> RunConfig:
    """Return the config with knobs as typed on the command line. Kinds come first: they decide what knobs exist."""
    for name, text in sorted(typed.items(), key=lambda item: knob_order(item[0])):
        config = config.with_knobs({name: config.parse_knob(name, text)})
    return config


def check_buildable(config: RunConfig) -> None:
    """Raise `BadInputError` if a part of the run cannot be built, or does not fit another one.

    That is: a network that cannot take the data, a loss that is no mean and not one value per sample, an optimizer
    that leaves out weights, a factor of the learning rate that is not from 0 to 1, a metric that is not recorded.
    """
    from knobs.checks.check import FailedCheckError
    from knobs.checks.objectives import check_loss_fits
    from knobs.checks.optimizers import build_optimizer_of
    from knobs.checks.schedules import check_schedule
    from knobs.training.network import build_network_of  # imports torch
    from knobs.training.one_sample_batch import check_one_sample_batch

    network = build_network_of(config.model, config.network_spec)
    check_loss_fits(config.objective, config.data.spec())
    build_optimizer_of(config.optimizer, [(name, p) for name, p in network.named_parameters() if p.requires_grad])
    try:
        check_schedule(config.schedule)
    except FailedCheckError as error:
        raise BadInputError(str(error)) from error
    check_one_sample_batch(config)
    _ = config.monitored


def one_of_each_kind(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """Return the first config of every combination of kinds: model, data set, objective, optimizer, schedule."""
    found: dict[tuple[str, ...], RunConfig] = {}
    for config in configs:
        found.setdefault(tuple(config.content()), config)
    return list(found.values())


def baseline_of(name: str) -> RunConfig:
    """Return the baseline of the study or ablation of this name. Raise `BadInputError` if there is none."""
    folder, module = discover.find(name)
    if folder == "studies":
        from knobs.search import Study

        return discover.the_one(module, Study).baseline
    from knobs.ablation import Ablation  # imports SciPy

    return discover.the_one(module, Ablation).baseline
