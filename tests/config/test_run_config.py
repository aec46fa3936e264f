"""The configuration tree is strict and lossless. Only a change that determines a run changes its digest."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ROOT

from datamodules.mnist1d import MNIST1D
from datamodules.toy import Toy
from knobs import (
    DataConfig,
    ModelConfig,
    NonNegative,
    OptimizerConfig,
    Positive,
    RunConfig,
    ScheduleConfig,
    Training,
    Value,
    discover,
    part,
)
from knobs.config import kind_class
from models.mlp import MLP
from models.resnet import ResNet
from models.rnn import RNN
from optimizers.adam import Adam
from optimizers.adamw import AdamW
from optimizers.sgd import SGD
from schedules.cosine import Cosine
from schedules.step import Step

counts = st.integers(1, 10**6)
fractions = st.floats(0, 1, exclude_max=True)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
not_negative = st.one_of(st.just(-0.0), st.floats(0, allow_infinity=False))
models: st.SearchStrategy[ModelConfig] = st.one_of(
    st.builds(MLP, depth=st.integers(0, 50), width=counts, norm=st.sampled_from(["none", "batch"]), dropout=fractions),
    st.builds(RNN, cell=st.sampled_from(["tanh", "lstm"]), bidirectional=st.booleans(), forget_bias=st.floats(-10, 10)),
    st.builds(ResNet, residual=st.booleans()),
)
sets: st.SearchStrategy[DataConfig] = st.one_of(
    st.builds(Toy, task=st.sampled_from(["regression", "binary"]), noise=not_negative, seed=st.integers(0, 2**70)),
    st.builds(MNIST1D, padding=st.tuples(st.integers(0, 99), st.integers(0, 99)), shuffle_seq=st.booleans()),
)
ways: st.SearchStrategy[OptimizerConfig] = st.one_of(
    st.builds(SGD, lr=positive, momentum=fractions, nesterov=st.booleans(), weight_decay=not_negative),
    st.builds(Adam, lr=positive, beta2=fractions),
    st.builds(AdamW, lr=positive, beta2=fractions),
)
rates: st.SearchStrategy[ScheduleConfig] = st.one_of(
    st.sampled_from([kind_class("schedule", kind)() for kind in discover.files("schedules", ROOT)]),
    st.builds(Step, gamma=positive, drops=counts, warmup_steps=st.integers(0, 10**9)),
)
trainings = st.builds(
    Training,
    max_steps=counts,
    val_every=st.none() | counts,
    clip_norm=st.none() | positive,
    precision=st.sampled_from(["32", "64"]),
    monitor=st.none() | st.text(max_size=8),
)
seeds = st.integers(0, 2**63 - 1)
configs = st.builds(RunConfig, model=models, data=sets, optimizer=ways, schedule=rates, training=trainings, seed=seeds)
calm = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
BASE = RunConfig(model=MLP(), data=Toy(), optimizer=AdamW(), schedule=Cosine())


@calm
@given(configs)
def test_json_brings_everything_back(config: RunConfig) -> None:
    again = RunConfig.from_json(config.to_json())
    assert again == config
    assert again.to_json() == config.to_json()
    assert [type(getattr(again, f.name)) for f in dataclasses.fields(again)] == [
        type(getattr(config, f.name)) for f in dataclasses.fields(config)
    ]
    assert pickle.loads(pickle.dumps(config)) == config


@calm
@given(configs, configs, st.data())
def test_configs_are_equal_exactly_when_their_json_is(first: RunConfig, other: RunConfig, data: st.DataObject) -> None:
    mixed = dataclasses.replace(
        first,
        **{f.name: getattr(data.draw(st.sampled_from([first, other])), f.name) for f in dataclasses.fields(first)},
    )
    assert (first == mixed) == (first.to_json() == mixed.to_json())
    assert (first == mixed) == (first.digest("d") == mixed.digest("d"))
    assert (first == mixed) == (first.knobs() == mixed.knobs() and first.model.kind == mixed.model.kind)


@calm
@given(configs)
def test_knobs_name_every_leaf_and_with_knobs_takes_them_all_back(config: RunConfig) -> None:
    tree = json.loads(config.to_json())
    leaves = {f"{place}.{leaf}" for place, node in tree.items() if isinstance(node, dict) for leaf in node}
    assert set(config.knobs()) == leaves | {"seed"}
    assert BASE.with_knobs(config.knobs()) == config
    for name, value in config.knobs().items():
        if not isinstance(value, tuple) and name != "training.monitor":
            assert config.parse_knob(name, str(value)) == value, name  # what MLflow shows can be typed


def test_zero_has_no_sign() -> None:
    signed = BASE.with_knobs({"optimizer.weight_decay": -0.0})
    assert signed == BASE
    assert (signed.to_json(), signed.digest("d")) == (BASE.to_json(), BASE.digest("d"))


def test_a_new_kind_brings_its_own_defaults_and_the_same_kind_keeps_what_is_set() -> None:
    config = BASE.with_knobs({"model.width": 7, "optimizer.lr": 0.5})
    assert config.with_knobs({"model.kind": "mlp"}) == config
    assert config.with_knobs({"model.kind": "rnn"}).model == RNN()
    assert config.with_knobs({"model.kind": "rnn"}).optimizer == config.optimizer
    for order in (["optimizer.momentum", "optimizer.kind"], ["optimizer.kind", "optimizer.momentum"]):
        values: dict[str, Value] = {"optimizer.momentum": 0.9, "optimizer.kind": "sgd"}
        assert config.with_knobs({n: values[n] for n in order}).optimizer == SGD(momentum=0.9)


# The digest


def _custom(order: str) -> OptimizerConfig:
    """Return one optimizer: its fields in either order, or with one more knob that has a default."""
    if order == "ab":

        @part
        class Custom(OptimizerConfig):
            a: Positive = 1.0
            b: NonNegative = 2.0

    elif order == "ba":

        @part
        class Custom(OptimizerConfig):
            b: NonNegative = 2.0
            a: Positive = 1.0

    else:

        @part
        class Custom(OptimizerConfig):
            b: NonNegative = 2.0
            new: NonNegative = 0.0
            a: Positive = 1.0

    return Custom(lr=0.1, a=3.0)


def test_field_order_and_a_new_defaulted_knob_move_no_digest() -> None:
    made = [dataclasses.replace(BASE, optimizer=_custom(order)) for order in ("ab", "ba", "new")]
    assert len({config.digest("d") for config in made}) == 1
    assert made[0].to_json() == made[1].to_json() != made[2].to_json()  # the full text names every knob
    moved = dataclasses.replace(made[2].optimizer, new=0.5)
    assert dataclasses.replace(BASE, optimizer=moved).digest("d") != made[0].digest("d")


def test_a_subclass_never_loses_its_knobs() -> None:
    made = dataclasses.replace(BASE, optimizer=_custom("ab"))
    assert json.loads(made.to_json())["optimizer"] == {
        "kind": "test_run_config",  # the name of the file that defines the class
        "lr": 0.1,
        "weight_decay": 0,
        "a": 3,
        "b": 2,
    }
    assert made.digest("d") != dataclasses.replace(made, optimizer=dataclasses.replace(made.optimizer, a=4.0)).digest(
        "d"
    )


def test_data_and_execution_are_part_of_the_digest() -> None:
    digests = [BASE.digest("d"), BASE.digest("e"), BASE.digest("d", "vmap"), BASE.with_knobs({"seed": 1}).digest("d")]
    assert len(set(digests)) == 4


@settings(calm, max_examples=1)
@given(st.lists(configs, min_size=20, max_size=20))
def test_digests_are_the_same_in_another_process(made: list[RunConfig]) -> None:
    code = (
        "import sys; from pathlib import Path; from knobs import discover; discover.activate(Path.cwd())\n"
        "from knobs.config import RunConfig\n"
        "for line in sys.stdin: print(RunConfig.from_json(line).digest('d'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(config.to_json() for config in made),
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == [config.digest("d") for config in made]
