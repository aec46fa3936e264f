"""The checks of a project: what there is to check in each file, found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from knobs import discover
from knobs.ablation import Ablation
from knobs.checks.ablations import check_ablation, check_cells_build, check_extra_splits
from knobs.checks.check import Check, FailedCheckError
from knobs.checks.data_sets import check_loads_twice, check_spec, loaded_splits
from knobs.checks.models import check_fits_one_batch, check_gradients, check_outputs
from knobs.checks.objectives import check_loss, check_metrics, drawn_spec
from knobs.checks.optimizers import check_optimizer
from knobs.checks.schedules import check_schedule
from knobs.checks.studies import check_draws_build, check_study
from knobs.config import DataConfig, DataSpec, ModelConfig, ObjectiveConfig, RunConfig, kind_class
from knobs.errors import BadInputError, KnobsError, nearest
from knobs.search import Study

ORDER = ("datamodules", "models", "objectives", "optimizers", "schedules", "studies", "experiments")
"""Data sets first: the others are tried on them."""


def project_checks(names: tuple[str, ...] = (), root: Path | None = None) -> list[Check]:
    """Return the checks of these files, `model=mlp` or `mlp`; of the project's own files if no name is given.

    `root` is the project (default: the current one). In the repository of knobs the shipped files are the project's
    own. Nothing is imported before a check is called. Raise `BadInputError` for an unknown name.
    """
    root = root or discover.project_root()
    found = {(folder, name): path for folder in ORDER for name, path in discover.files(folder, root).items()}
    own = [key for key, path in found.items() if path.is_relative_to(root)]
    chosen = [key for name in names for key in _named(name, list(found))] or ([] if names else own)
    return [check for folder, name in chosen for check in _checks_of(folder, name, root)]


def _named(name: str, known: list[tuple[str, str]]) -> list[tuple[str, str]]:
    found = [key for key in known if key[1] == name]
    if not found:
        raise BadInputError(f"nothing is named {name!r}" + nearest(name, {key[1] for key in known}))
    return found


def _checks_of(folder: str, name: str, root: Path) -> Iterator[Check]:
    subject = f"{discover.FOLDERS[folder]} {name}"

    def check(what: str, act: Callable[[], str]) -> Check:
        return Check(subject, what, act)

    match folder:
        case "datamodules":
            yield check("is what its spec says", lambda: check_spec(_configs("data", name, root)[0]))
            yield check("loads again", lambda: check_loads_twice(_configs("data", name, root)[0]))
        case "models":
            yield check("outputs", lambda: check_outputs(*_trained(name, root)))
            yield check("gradients", lambda: check_gradients(*_trained(name, root)))
            yield check("fits one batch", lambda: check_fits_one_batch(*_trained(name, root)))
        case "objectives":
            yield check("loss", lambda: check_loss(*_objective(name, root)))
            yield check("metrics", lambda: check_metrics(*_objective(name, root)))
        case "optimizers":
            yield check("goes downhill", lambda: check_optimizer(_configs("optimizer", name, root)[0]))
        case "schedules":
            yield check("factors", lambda: check_schedule(_configs("schedule", name, root)[0]))
        case "studies":
            yield check("space", lambda: check_study(name, _the_one(folder, name, Study)))
            yield check("draws build", lambda: check_draws_build(name, _the_one(folder, name, Study)))
        case _:
            yield check("cells, claims, metrics", lambda: check_ablation(name, _the_one(folder, name, Ablation)))
            yield check("cells build", lambda: check_cells_build(_the_one(folder, name, Ablation)))
            yield check("extra test splits", lambda: check_extra_splits(_the_one(folder, name, Ablation)))


def _the_one(folder: str, name: str, wanted: type[Any]) -> Any:
    discover.find_file(name)  # no study and ablation of one name
    return discover.the_one(discover.load(folder, name), wanted)


def _baselines(root: Path) -> list[RunConfig]:
    """Return the baselines of the project's studies and ablations that load; the others fail in their own checks."""
    found: list[RunConfig] = []
    for folder, wanted in (("studies", Study), ("experiments", Ablation)):
        for name, path in discover.files(folder, root).items():
            if not path.is_relative_to(root):  # shipped ones take seconds to import
                continue
            try:
                found.append(_the_one(folder, name, wanted).baseline)
            except KnobsError:
                continue
    return found


def _configs(part: str, name: str, root: Path) -> list[Any]:
    """Return the configs of a kind that baselines use, or its default config if none does."""
    cls = kind_class(part, name)
    used = [getattr(config, part) for config in _baselines(root)]
    found = list({repr(config): config for config in used if config.kind == name}.values())
    if found:
        return found
    try:
        return [cls(**({"lr": 0.01} if part == "optimizer" and "lr" in _required(cls) else {}))]
    except BadInputError as error:
        raise FailedCheckError(f"no study uses it, and it cannot be made without values: {error}") from error


def _required(cls: type[Any]) -> list[str]:
    return [name for name, field in cls.__pydantic_fields__.items() if field.is_required()]


def _objective(name: str, root: Path) -> tuple[ObjectiveConfig, DataSpec]:
    """Return an objective with the spec of a data set that a baseline trains with it, or with a drawn one."""
    kind_class("objective", name)
    for config in _baselines(root):
        if config.objective.kind == name:
            return config.objective, config.data.spec()
    objective = _configs("objective", name, root)[0]
    return objective, drawn_spec(objective)


def _trained(name: str, root: Path) -> tuple[ModelConfig, Any, Any]:
    """Return a model with the spec and the training split of a data set that it takes: that of a baseline, or any."""
    kind_class("model", name)
    pairs = [(config.model, config.data) for config in _baselines(root) if config.model.kind == name]
    if not pairs:
        sets = [_configs("data", data, root)[0] for data in discover.files("datamodules", root)]
        pairs = [(_configs("model", name, root)[0], data) for data in sorted(sets, key=lambda data: data.kind != "toy")]
    return _first_that_builds(pairs)


def _first_that_builds(pairs: list[tuple[ModelConfig, DataConfig]]) -> tuple[ModelConfig, Any, Any]:
    refusal: Exception | None = None
    for model, data in pairs:
        try:
            model.build(data.spec())
        except Exception as error:
            refusal = refusal or error
            continue
        return model, data.spec(), loaded_splits(data).train
    assert refusal is not None
    raise refusal
