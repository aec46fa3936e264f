"""Choices that are tuples: kept in our record as they are, in Optuna's database as text."""

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from written_records import a_study, new_tracker

from knobs.record.knob_range import KnobRange, joint_range
from knobs.record.spaces import space_from_json, space_to_json
from knobs.record.stores.optuna_mirror import OptunaMirror

pytestmark = pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
CHOICES = ((8, 8), (16,), ((4, 4), 4), "none", 3, None)


def test_a_space_comes_back_as_it_was() -> None:
    space = {"model.widths": CategoricalDistribution(CHOICES), "optimizer.lr": FloatDistribution(0.1, 1.0)}
    assert space_from_json(space_to_json(space)) == space


def test_a_range_parses_the_recorded_text_of_each_choice() -> None:
    knob = KnobRange.of("model.widths", CategoricalDistribution(CHOICES))
    assert [knob.parse(text) for text in ("[8, 8]", "[16]", "[[4, 4], 4]", "none", "3", "None")] == list(CHOICES)
    assert joint_range([knob, KnobRange("model.widths", choices=[[8, 8], [9]])]).choices == (*CHOICES, (9,))  # type: ignore[arg-type]


def test_the_mirror_holds_text_and_agrees_with_itself_at_the_next_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=1.0,
        params={"model.widths": (16,)},
        distributions={"model.widths": CategoricalDistribution(CHOICES)},
    )
    places = new_tracker(tmp_path).places
    deleted: list[int] = []
    for _ in range(2):
        mirror = OptunaMirror(places, "s", a_study())
        monkeypatch.setattr(mirror.storage, "delete_study", deleted.append)
        mirror.sync({0: trial}, {}, {0: {}})
        stored = mirror.storage.get_all_trials(mirror.study_id)
        assert [found.params for found in stored] == [{"model.widths": "[16]"}]
    assert not deleted  # the second launch found nothing to rewrite
    mirror._create(trial)  # as a trial that starts is written
    assert mirror.storage.get_all_trials(mirror.study_id)[1].params == {"model.widths": "[16]"}
    assert trial.params == {"model.widths": (16,)}
