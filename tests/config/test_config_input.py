"""Which values the configuration tree refuses, with which message, and how typed text is parsed."""

import dataclasses
import json
from typing import Any

import pytest

from datamodules.toy import Toy
from knobs import BadInputError, RunConfig, Value
from knobs.config import text_of
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.cosine import Cosine

BASE = RunConfig(model=MLP(), data=Toy(), optimizer=AdamW(), schedule=Cosine())

BAD: list[tuple[str, Any]] = [
    *[("model.width", value) for value in ("7", True, 7.0, 0, -1, None, [7], float("nan"))],
    *[("optimizer.lr", value) for value in ("0.1", True, 0, -0.1, float("inf"), float("nan"), None, {})],
    *[("optimizer.beta1", value) for value in (1, 1.0, -0.1, "0")],
    *[("model.activation", value) for value in ("rleu", 1, None, "ReLU")],
    *[("training.max_steps", value) for value in (0, -1, 1e3, "1e3", False)],
    *[("training.precision", value) for value in (32, "16", None)],
    *[("training.clip_norm", value) for value in (0, "none", True)],
    *[("data.samples", value) for value in (7, "256")],
    *[("seed", value) for value in (-1, 2**63, 1.0, "1", True, None)],
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_in_one_line_that_names_the_knob(name: str, value: Any) -> None:
    tree = json.loads(BASE.to_json())
    place, _, leaf = name.partition(".")
    if leaf:
        tree[place][leaf] = value
    else:
        tree[place] = value
    for attempt in (lambda: BASE.with_knobs({name: value}), lambda: RunConfig.from_json(json.dumps(tree))):
        with pytest.raises(BadInputError) as caught:
            attempt()
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 200
        assert name in message or "NaN" in message or "Infinity" in message


NAMES = [
    ("model.wdith", "did you mean model.width?"),
    ("width", "did you mean model.width?"),
    ("optimizer.learning_rate", "adamw has no such knob"),
    ("optimizer.momentum", "adamw has no such knob"),
    ("trainig.max_steps", "did you mean training.max_steps?"),
    ("sead", "did you mean seed?"),
    ("model", "no knob"),
    ("seed.kind", "no knob"),
    ("training.kind", "no such knob"),
]


@pytest.mark.parametrize(("name", "hint"), NAMES)
def test_an_unknown_knob_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(BadInputError, match=name.replace(".", r"\.")) as caught:
        BASE.with_knobs({name: 1})
    assert hint in str(caught.value)
    with pytest.raises(BadInputError, match=name.replace(".", r"\.")):
        BASE.parse_knob(name, "1")


TEXT = BASE.to_json()
BROKEN = {
    "a knob twice": (TEXT.replace('"width": 100', '"width": 100, "width": 100'), "twice"),
    "a place twice": (TEXT.replace('"seed": 0, "training"', '"seed": 0, "seed": 0, "training"'), "twice"),
    "infinity by exponent": (TEXT.replace('"lr": 0.001', '"lr": 1e999'), r"optimizer\.lr"),
    "NaN": (TEXT.replace('"lr": 0.001', '"lr": NaN'), "NaN is not allowed"),
    "an unknown knob": (TEXT.replace('"width"', '"widht"'), r"model\.widht.*did you mean width"),
    "an unknown place": (TEXT.replace('"seed": 0, "training"', '"sed": 0, "training"'), "sed: RunConfig has no such"),
    "an unknown kind": (TEXT.replace('"cosine"', '"cosin"'), "no schedule named 'cosin'; did you mean cosine"),
    "a kind by path": (TEXT.replace('"mlp"', '"../models/mlp"'), "no model named"),
    "no kind": (TEXT.replace('"kind": "mlp", ', ""), "model: expected an object with its kind"),
    "another place's part": (TEXT.replace('"kind": "mlp"', '"kind": "toy"'), "no model named 'toy'"),
    "a missing place": ('{"model": {"kind": "mlp"}}', "data is missing"),
    "no object": ("[]", "expected a JSON object"),
    "no JSON": ("{", "not a run's config"),
    "a deep nest": ("[" * 100_000, "not a run's config"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_json_is_refused_in_one_line(text: str, message: str) -> None:
    assert text != TEXT
    with pytest.raises(BadInputError, match=message) as caught:
        RunConfig.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


TYPED: list[tuple[str, str, Value]] = [
    ("model.width", "256", 256),
    ("optimizer.lr", "3e-4", 3e-4),
    ("optimizer.lr", "1", 1.0),
    ("model.norm", "none", "none"),
    ("training.early_stop", "none", None),
    ("training.early_stop", "3", 3),
    ("training.precision", "64", "64"),
    ("model.kind", "rnn", "rnn"),
    ("seed", "0", 0),
]


@pytest.mark.parametrize(("name", "text", "value"), TYPED)
def test_typed_text_becomes_the_knobs_own_type(name: str, text: str, value: Value) -> None:
    parsed = BASE.parse_knob(name, text)
    assert parsed == value
    assert type(parsed) is type(value)
    BASE.with_knobs({name: parsed})


def test_lists_are_typed_as_json() -> None:
    config = BASE.with_knobs({"data.kind": "mnist1d"})
    assert config.parse_knob("data.padding", "[30, 50]") == (30, 50)
    for text in ("[30]", "[30, x]", "[30, 1.5]", "30"):
        with pytest.raises(BadInputError, match=r"data\.padding"):
            config.parse_knob("data.padding", text)


def test_every_value_is_shown_as_it_is_typed() -> None:
    config = BASE.with_knobs({"data.kind": "mnist1d"})
    shown = {name: text_of(value) for name, value in config.knobs().items()}
    assert shown["data.padding"] == "[36, 60]"
    assert config.with_knobs({name: config.parse_knob(name, text) for name, text in shown.items()}) == config


@pytest.mark.parametrize(
    ("name", "text"), [("model.width", "wide"), ("model.width", "1.5"), ("seed", "none"), ("model.depth", "")]
)
def test_typed_nonsense_is_refused(name: str, text: str) -> None:
    with pytest.raises(BadInputError, match=name.replace(".", r"\.")) as caught:
        BASE.parse_knob(name, text)
    assert "\n" not in str(caught.value)


def test_a_misspelt_choice_names_the_nearest_however_it_is_given() -> None:
    for attempt in (lambda: MLP(activation="rleu"), lambda: BASE.parse_knob("model.activation", "rleu")):
        with pytest.raises(BadInputError, match=r"model\.activation = 'rleu'.*did you mean relu\?"):
            attempt()


def test_parts_are_frozen_keyword_only_and_checked_for_their_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.seed = 1
    with pytest.raises(BadInputError):
        MLP(3)
    with pytest.raises(BadInputError, match="model = "):
        dataclasses.replace(BASE, model=Toy())
