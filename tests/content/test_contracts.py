"""Contracts of every model, data set and study. They are found by file name, so a new file is tested too."""

import ast
import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import numpy as np
import pytest
import torch
from support import ROOT

from datamodules.toy import Toy
from knobs import (
    BadInputError,
    DataConfig,
    DataSpec,
    ModelConfig,
    ObjectiveConfig,
    RunConfig,
    Split,
    Splits,
    Study,
    Training,
    discover,
)
from knobs.config import describe, kind_class
from knobs.search import SpaceProbe, check_space
from knobs.testing import check_fits_one_batch, check_gradients, check_loads_twice, check_spec, loaded_splits

T = TypeVar("T")

torch.set_num_threads(1)

FILES = {f"{folder}/{name}": path for folder in discover.FOLDERS for name, path in discover.files(folder, ROOT).items()}
MODELS = {name: discover.config_class("models", name, ModelConfig) for name in discover.files("models", ROOT)}
DATA = {name: discover.config_class("datamodules", name, DataConfig) for name in discover.files("datamodules", ROOT)}
STUDIES = {name: discover.the_one(discover.load("studies", name), Study) for name in discover.files("studies", ROOT)}
PARTS: dict[str, type[Any]] = {
    **{f"model={name}": cls for name, cls in MODELS.items()},
    **{f"data={name}": cls for name, cls in DATA.items()},
    **{f"objective={name}": kind_class("objective", name) for name in discover.files("objectives")},
    **{f"optimizer={name}": kind_class("optimizer", name) for name in discover.files("optimizers")},
    **{f"schedule={name}": kind_class("schedule", name) for name in discover.files("schedules")},
    "training": Training,
}
LAYOUTS: tuple[Literal["vector", "sequence", "image"], ...] = ("vector", "sequence", "image")
TASKS: tuple[Literal["regression", "binary", "multiclass"], ...] = ("regression", "binary", "multiclass")


def variants(config: T, *, numbers: bool = True) -> dict[str, T]:
    """Return the config, and each config that differs from it in one knob: every choice, every switch, another number.

    Numbers that the config refuses are left out.
    """
    found = {"default": config}
    for name, field in type(config).__pydantic_fields__.items():  # type: ignore[attr-defined]
        value = getattr(config, name)
        others: list[Any] = []
        if isinstance(value, bool):
            others = [not value]
        elif get_origin(field.annotation) is Literal:
            others = [other for other in get_args(field.annotation) if other != value]
        elif isinstance(value, int | float) and numbers:
            others = [value + 2 if isinstance(value, int) else value + 0.25]
        for other in others:
            try:
                found[f"{name}={other}"] = dataclasses.replace(config, **{name: other})  # type: ignore[type-var]
            except BadInputError:
                assert not isinstance(other, str | bool)
    return found


def network(config: ModelConfig, spec: DataSpec, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return config.build(spec)


def refusal(config: ModelConfig, spec: DataSpec) -> str | None:
    """Return the sentence with which a model refuses this data, or None if it accepts."""
    try:
        config.build(spec)
    except BadInputError as error:
        return str(error)
    return None


@functools.cache
def splits(config: DataConfig) -> Splits:
    return loaded_splits(config)


def one_batch(task: str, layout: str) -> tuple[DataSpec, torch.Tensor, torch.Tensor]:
    config = Toy(task=task, layout=layout, samples=32)  # type: ignore[arg-type]
    made = splits(config).train
    return config.spec(), torch.from_numpy(made.x), torch.from_numpy(made.y)


def subprocess_output(code: str, given: str = "", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import knobs, sys\n{code}"],
        cwd=ROOT,
        input=given,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Files


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_the_first_line_of_every_file_says_what_it_is(path: Path) -> None:
    summary = discover.summary(path)
    assert summary.endswith((".", "?"))
    assert 20 < len(summary) <= 118


def test_names_are_unique_across_studies_and_experiments() -> None:
    assert not set(discover.files("studies", ROOT)) & set(discover.files("experiments", ROOT))


def test_data_sets_import_nothing_heavy() -> None:
    heavy = {"torch", "sklearn", "scipy", "matplotlib", "pandas", "mnist1d", "optuna", "mlflow", "pytorch_lightning"}
    code = "".join(f"import datamodules.{name}\n" for name in DATA)
    loaded = subprocess_output(code + "print(*sys.modules)").split()
    assert not heavy & set(loaded)


# Configs


@pytest.mark.parametrize("cls", PARTS.values(), ids=PARTS)
def test_every_knob_is_described(cls: type[Any]) -> None:
    assert cls.__doc__
    for knob, text in describe(cls).items():
        assert text.endswith("."), f"{knob} has no description"
        assert knob != "kind"  # the name by which a part's class is chosen


@pytest.mark.parametrize("cls", PARTS.values(), ids=PARTS)
def test_a_choice_refuses_an_unknown_word_by_the_knobs_name(cls: type[Any]) -> None:
    part_name = cls.part_name
    for name, field in cls.__pydantic_fields__.items():
        if get_origin(field.annotation) is Literal:
            with pytest.raises(BadInputError, match=rf"^{part_name}\.{name} = 'no such thing'"):
                cls(**{name: "no such thing"})


def every_config() -> list[RunConfig]:
    """Return one run for the default and each variant of every part."""
    base = STUDIES[min(STUDIES)].baseline
    configs = [base]
    for cls in PARTS.values():
        fits = base
        if issubclass(cls, ObjectiveConfig):
            fits = dataclasses.replace(base, data=Toy(task=cls.tasks[-1]))
        configs += [dataclasses.replace(fits, **{cls.part_name: other}) for other in variants(cls()).values()]
    return configs + [study.baseline for study in STUDIES.values()]


def test_every_config_round_trips_through_json() -> None:
    for config in every_config():
        again = RunConfig.from_json(config.to_json())
        assert again == config
        assert again.to_json() == config.to_json()
        assert config.with_knobs(config.knobs()) == config


def test_digests_are_the_same_in_another_process_and_tell_configs_apart() -> None:
    texts = sorted({config.to_json() for config in every_config()})
    here = [RunConfig.from_json(text).digest("fingerprint") for text in texts]
    code = (
        "import json\nfrom knobs.config import RunConfig\n"
        "texts = json.load(sys.stdin)\n"
        "print(json.dumps([RunConfig.from_json(text).digest('fingerprint') for text in texts]))"
    )
    reordered = [json.dumps(dict(reversed(json.loads(text).items()))) for text in texts]
    assert json.loads(subprocess_output(code, json.dumps(reordered), PYTHONHASHSEED="7")) == here
    assert len(set(here)) == len(here)


# Models


@pytest.mark.parametrize("name", MODELS)
def test_a_model_takes_some_layout(name: str) -> None:
    assert any(refusal(MODELS[name](), Toy(layout=layout).spec()) is None for layout in LAYOUTS)


@pytest.mark.parametrize(("name", "task", "layout"), list(product(MODELS, TASKS, LAYOUTS)))
def test_a_model_overfits_one_batch(name: str, task: str, layout: str) -> None:
    spec, x, y = one_batch(task, layout)
    if sentence := refusal(MODELS[name](), spec):
        assert layout in sentence
        return
    check_fits_one_batch(MODELS[name](), spec, Split(x.numpy(), y.numpy()), share=0.02, rows=32, steps=400)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    for layout in LAYOUTS:
        spec, x, y = one_batch("multiclass", layout)
        for variant, config in variants(MODELS[name]()).items():
            if refusal(config, spec):
                continue
            assert check_gradients(config, spec, Split(x.numpy(), y.numpy())), variant


@pytest.mark.parametrize(("name", "data"), list(product(MODELS, DATA)))
def test_a_model_meets_any_data_set_or_says_why_not(name: str, data: str) -> None:
    for model, config in product(variants(MODELS[name]()).values(), variants(DATA[data](), numbers=False).values()):
        spec = config.spec()
        if sentence := refusal(model, spec):
            assert name in sentence
            assert spec.layout in sentence or (spec.per_step and "target at every step" in sentence)
            assert "\n" not in sentence
            assert len(sentence) < 160
            continue
        net = network(model, spec).eval()
        for batch in (1, 3):
            tokens = torch.randint(max(1, spec.tokens), (batch, *spec.shape)).float()
            outputs = net(tokens if spec.tokens else torch.randn(batch, *spec.shape))
            assert outputs.shape == (batch, spec.outputs, *spec.shape[: int(spec.per_step)])
            assert outputs.dtype == torch.float32
            assert outputs.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_fixes_the_network(name: str) -> None:
    for layout in LAYOUTS:
        spec, x, _ = one_batch("multiclass", layout)
        for config in variants(MODELS[name]()).values():
            if refusal(config, spec):
                continue
            one, two = (network(config, spec, seed=3).eval() for _ in range(2))
            assert torch.equal(one(x), two(x))
            assert not torch.equal(one(x), network(config, spec, seed=4).eval()(x))


WITH_SKIP = [name for name, cls in MODELS.items() if "residual" in describe(cls)]


@pytest.mark.parametrize(("name", "layout"), list(product(WITH_SKIP, LAYOUTS)))
def test_the_plain_twin_has_the_same_parameters(name: str, layout: str) -> None:
    spec, x, _ = one_batch("multiclass", layout)
    for config in variants(MODELS[name]()).values():
        if getattr(config, "zero_init", False) or getattr(config, "head", "") == "zero":
            continue  # a plain network does not start at zero; with a head of zeros, all outputs are zero
        residual, plain = (
            network(dataclasses.replace(config, residual=skip), spec)  # type: ignore[call-arg]
            for skip in (True, False)
        )
        ours, theirs = residual.state_dict(), plain.state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert not torch.equal(residual(x), plain(x))


# Data sets


TAKES_SECONDS = {"letters", "mnist_subset"}
"""Data sets that take seconds to load. The quick part loads each of them once."""


def case(data: str, variant: str, value: object) -> Any:
    """Return a test's case for a data set. One worker process runs all cases of a data set, so it loads each once."""
    slow = [pytest.mark.slow] if data in TAKES_SECONDS and variant != "default" else []
    return pytest.param(value, id=f"{data}-{variant}", marks=[pytest.mark.xdist_group(f"data {data}"), *slow])


LOADED = [
    case(name, variant, config)
    for name, cls in DATA.items()
    for variant, config in variants(cls(), numbers=False).items()
]


@pytest.mark.parametrize("config", LOADED)
def test_a_data_set_is_what_its_spec_says(config: DataConfig) -> None:
    assert check_spec(config, splits(config))
    spec = config.spec()
    for name, split in splits(config).items():
        assert split.x.dtype == np.float32
        assert split.x.flags.c_contiguous
        if spec.task == "multiclass":
            assert split.y.dtype == np.int64
            if not spec.tokens:  # a rare letter may be missing in a part of the text
                assert len(np.unique(split.y)) == spec.outputs, f"a class is missing from {name}"
        else:
            assert split.y.dtype in ([np.float32, np.float64] if spec.task == "regression" else [np.float32])
        if spec.task == "binary":
            assert set(np.unique(split.y)) == {0.0, 1.0}


@pytest.mark.parametrize("config", LOADED)
def test_splits_share_no_sample(config: DataConfig) -> None:
    rows = [{row.tobytes() for row in split.x} for _, split in splits(config).items()]
    assert all(not one & other for one, other in [*pairwise(rows), (rows[0], rows[2])])


@pytest.mark.parametrize("name", [case(name, "again", name) for name in DATA])
def test_a_data_set_is_the_same_when_it_is_loaded_again(name: str) -> None:
    config = DATA[name]()
    before = np.random.get_state()[1].tobytes()  # type: ignore[index]
    assert check_loads_twice(config, splits(config))
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[index]


@pytest.mark.parametrize("name", [case(name, "default", name) for name in DATA])
def test_inputs_have_a_scale_that_networks_like(name: str) -> None:
    x = splits(DATA[name]()).train.x
    if DATA[name]().spec().tokens:
        return  # token numbers are names, not quantities
    assert abs(float(x.mean())) < 0.5
    assert math.isclose(float(x.std()), 1.0, rel_tol=0.5)


# Studies


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_optimises_a_metric_that_its_runs_record(name: str) -> None:
    study = STUDIES[name]
    metric = study.baseline.metrics[study.metric.removeprefix("val/")]
    assert study.direction == metric.direction


@pytest.mark.parametrize("name", STUDIES)
def test_the_baseline_lies_in_its_space(name: str) -> None:
    baseline = STUDIES[name].baseline
    trial = SpaceProbe(baseline.knobs())
    assert STUDIES[name].space(trial, baseline) == baseline
    assert len(trial.params) >= 4


@pytest.mark.parametrize("name", STUDIES)
def test_fifty_samples_of_a_space_build(name: str) -> None:
    study = STUDIES[name]
    configs = check_space(name, study)
    for config in configs:
        knobs = config.knobs()
        trial = SpaceProbe(knobs)
        assert study.space(trial, study.baseline) == config
        changed = {knob for knob, value in knobs.items() if study.baseline.knobs().get(knob, ...) != value}
        kinds = {knob.partition(".")[0] for knob in trial.params if knob.endswith(".kind")}
        assert all(knob in trial.params or knob.partition(".")[0] in kinds for knob in changed)
        spec = config.data.spec()
        assert network(config.model, spec).eval()(torch.zeros(2, *spec.shape)).shape == (2, spec.outputs)
    assert len({config.to_json() for config in configs}) > 45


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_file_is_short(name: str) -> None:
    lines = discover.files("studies", ROOT)[name].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 50
    assert ast.get_docstring(ast.parse("\n".join(lines)))
