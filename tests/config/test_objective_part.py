"""The objective of a run: unset it is the usual one of the data set's task, and then no digest knows of it."""

import dataclasses

import pytest
from trainings import toy_config

from knobs import BadInputError, RunConfig
from knobs.launch.baseline import with_typed_knobs
from knobs.search import check_goal
from objectives.binary_cross_entropy import BinaryCrossEntropy
from objectives.cross_entropy import CrossEntropy
from objectives.focal import Focal
from objectives.squared_error import SquaredError

USUAL = {"multiclass": CrossEntropy(), "binary": BinaryCrossEntropy(), "regression": SquaredError()}


@pytest.mark.parametrize("task", USUAL)
def test_an_unset_objective_is_the_usual_one_of_the_task(task: str) -> None:
    config = toy_config(data__task=task)
    assert config.objective == USUAL[task]
    assert config.knobs()["objective.kind"] == USUAL[task].kind
    assert RunConfig.from_json(config.to_json()) == config
    again = RunConfig.from_texts({name: str(value) for name, value in config.knobs().items() if value != ()})
    assert again == config


def test_the_usual_objective_at_its_defaults_is_not_in_the_digest() -> None:
    config = toy_config()
    assert config.digest("f") == dataclasses.replace(config, objective=CrossEntropy()).digest("f")
    digests = {
        config.digest("f"),
        toy_config(objective__label_smoothing=0.1).digest("f"),
        toy_config(objective__kind="focal").digest("f"),
        toy_config(objective__kind="focal", objective__gamma=1.0).digest("f"),
        toy_config(objective__extra_metrics=("f1",)).digest("f"),
    }
    assert len(digests) == 5


def test_a_digest_of_before_there_were_objectives() -> None:
    assert toy_config().digest("f") == "fd3bc49401c37220536239ebdcfe59fac3f52c5a7e15e51c9ddbaddfdaaea758"


def test_other_data_bring_their_usual_objective() -> None:
    config = toy_config()
    for task, usual in USUAL.items():
        config = config.with_knobs({"data.task": task})
        assert config.objective == usual
    changed = toy_config(data__task="binary", objective__label_smoothing=0.1)
    assert changed.objective == BinaryCrossEntropy(label_smoothing=0.1)
    typed = with_typed_knobs(toy_config(), {"objective.label_smoothing": "0.1", "data.task": "binary"})
    assert typed == changed


def test_an_objective_that_was_chosen_stays_and_must_fit() -> None:
    focal = toy_config(objective__kind="focal", objective__gamma=1.0)
    assert focal.with_knobs({"data.task": "binary"}).objective == Focal(gamma=1.0)
    with pytest.raises(BadInputError, match=r"'focal' is for binary and multiclass tasks; the data set's task is reg"):
        focal.with_knobs({"data.task": "regression"})
    smoothed = toy_config(objective__label_smoothing=0.1)
    with pytest.raises(BadInputError, match="'cross_entropy' is for multiclass tasks; the data set's task is binary"):
        smoothed.with_knobs({"data.task": "binary"})


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"objective__kind": "focl"}, "no objective named 'focl'; did you mean focal"),
        ({"objective__gama": 1.0, "objective__kind": "focal"}, "did you mean objective.gamma"),
        ({"objective__kind": "focal", "objective__gamma": -1.0}, "objective.gamma = -1.0"),
        ({"objective__extra_metrics": ("f2",)}, "objective.extra_metrics: .* did you mean f1"),
        ({"training__label_smoothing": 0.1}, "training has no such knob"),
    ],
)
def test_what_is_misspelt_is_refused(knobs: dict[str, float], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        toy_config(**knobs)


def test_the_monitored_metric_is_one_that_the_run_records() -> None:
    assert toy_config().monitored.name == "accuracy"
    assert toy_config(training__monitor="f1", objective__extra_metrics=("f1",)).monitored.direction == "maximize"
    with pytest.raises(BadInputError, match=r"training.monitor = 'f1': not recorded; add it to objective.extra_met"):
        _ = toy_config(training__monitor="f1").monitored


@pytest.mark.parametrize(
    ("metric", "direction", "said"),
    [
        ("val/f1", "maximize", None),
        ("val/mae", "minimize", "not recorded by objective cross_entropy"),
        ("val/mcc", "maximize", "not recorded; add it to objective.extra_metrics"),
        ("val/perplexity", "maximize", "val/perplexity is better if it is lower; use minimize"),
    ],
)
def test_a_study_aims_at_a_metric_in_its_own_direction(metric: str, direction: str, said: str | None) -> None:
    config = toy_config(objective__extra_metrics=("f1", "perplexity"))
    if said is None:
        check_goal(metric, direction, config)
        return
    with pytest.raises(BadInputError, match=said):
        check_goal(metric, direction, config)


def test_the_network_gets_the_outputs_that_the_loss_needs() -> None:
    config = toy_config(data__task="regression", objective__kind="gaussian")
    assert (config.data.spec().outputs, config.network_spec.outputs) == (2, 4)
    assert toy_config().network_spec == toy_config().data.spec()
