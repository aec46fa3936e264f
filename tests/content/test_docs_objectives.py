"""The example in docs/objectives.md does what the page says; the page names every objective and metric."""

import re
from pathlib import Path

import pytest
from support import ROOT, quick
from trainings import toy_config

from knobs import discover
from knobs.config import field_names, kind_class, metric_names

PAGE = (ROOT / "docs" / "objectives.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


STUDY = '''"""A small study of the example on the page."""

from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.mlp import MLP
from objectives.cautious import Cautious
from optimizers.adam import Adam
from schedules.constant import Constant


def space(trial, baseline):
    return baseline.with_knobs({"objective.factor": trial.suggest_float("objective.factor", 1.0, 9.0)})


study = Study(
    baseline=RunConfig(
        model=MLP(depth=1, width=8),
        data=Toy(task="regression"),
        objective=Cautious(),
        optimizer=Adam(),
        schedule=Constant(),
        training=Training(max_steps=30),
    ),
    space=space,
    metric="val/share_above",
    direction="minimize",
)
'''


def test_the_page_names_every_objective_with_its_knobs() -> None:
    for name in discover.files("objectives", ROOT):
        (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        for knob in set(field_names(kind_class("objective", name))) - {"extra_metrics"}:
            assert f"`{knob}`" in row


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_the_page_names_every_metric(task: str) -> None:
    named = set(re.findall(r"\w+", PAGE))
    missing = set(metric_names(toy_config(data__task=task).data.spec())) - named
    assert {name for name in missing if not re.fullmatch(r"top\d+_accuracy", name)} == set()


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    for name in ("objectives", "studies"):
        (tmp_path / name).mkdir()
    (tmp_path / "objectives" / "cautious.py").write_text(EXAMPLE)
    (tmp_path / "studies" / "small.py").write_text(STUDY)
    done = quick("check", store=tmp_path / "mlruns", cwd=tmp_path)
    assert done.code == 0, done
    done = quick("run", "small", "--objective.factor", "5", store=tmp_path / "mlruns", cwd=tmp_path)
    assert done.code == 0, done
    assert re.search(r"^test .*share_above 0\.\d+", done.out, re.MULTILINE)
