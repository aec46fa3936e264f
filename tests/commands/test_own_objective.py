"""A project's own objective: in a run, in a study over objectives, in an ablation with its report; and broken ones."""

import json
from pathlib import Path

import pytest
from checks.small_project import write_project
from support import Call, Done, quick, quick_each

from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

pytestmark = pytest.mark.slow

LOSSES = '''"""Which loss?"""

from knobs import Study
from studies.search import BASELINE


def space(trial, baseline):
    kind = trial.suggest_categorical("objective.kind", ["mine", "focal", "cross_entropy"])
    changes = {"objective.kind": kind}
    if kind != "cross_entropy":
        changes["objective.gamma"] = trial.suggest_float("objective.gamma", 0.0, 3.0)
    return baseline.with_knobs(changes)


study = Study(baseline=BASELINE, space=space, metric="val/accuracy", direction="maximize", trials=6)
'''
RETURN = "return each * (1 - torch.exp(-each)) ** self.gamma"
ABLATION = {
    'shown="test/accuracy"': 'shown="test/sure"',
    '"wide", metric="test/accuracy"': '"wide", metric="test/sure"',
    '"learns", metric="test/accuracy", value=0.4': '"unsure", metric="test/unsure", value=0.7',
}
UNSURE = """        unsure = Metric(name="unsure", direction="minimize", bounds=(0.0, 0.7), compute=doubt)
        return [*super().metrics(spec), sure, unsure]


def doubt(outputs, targets):
    return 1 - mean_confidence(outputs, targets)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_project(tmp_path_factory.mktemp("own"))
    (root / "studies" / "losses.py").write_text(LOSSES)
    mine, width = root / "objectives" / "mine.py", root / "experiments" / "width.py"
    mine.write_text(mine.read_text().replace("        return [*super().metrics(spec), sure]\n", UNSURE))
    text = width.read_text()
    for old, new in ABLATION.items():
        assert old in text
        text = text.replace(old, new)
    width.write_text(text)
    return root


def recorded(project: Path, name: str, kind: str) -> list[Row]:
    tracker = Tracker(StoreLocations(project, project / "mlruns"))
    return tracker.search(f"tags.`knobs.kind` = '{kind}'", tracker.experiment(name))


def ran(project: Path, *arguments: str) -> Done:
    return quick(*arguments, "--devices", "cpu:1", store=project / "mlruns", cwd=project)


def test_a_run_records_its_metrics(project: Path) -> None:
    done = ran(project, "run", "search", "--objective.gamma", "2", "--objective.extra_metrics", '["f1"]')
    assert done.code == 0, done
    (row,) = recorded(project, "search", "run")
    assert (row.params["objective.kind"], row.params["objective.gamma"]) == ("mine", "2.0")
    assert {f"{split}/{name}" for split in ("best/val", "test") for name in ("loss", "sure", "unsure", "f1")} <= set(
        row.metrics
    )


def test_a_study_over_objectives(project: Path) -> None:
    done = ran(project, "study", "losses")
    assert done.code == 0, done
    rows = recorded(project, "losses", "trial")
    assert {row.state for row in rows} <= {"finished", "pruned", "reused"}
    assert {row.params["objective.kind"] for row in rows} > {"mine"}
    assert all(("objective.gamma" in row.params) == (row.params["objective.kind"] != "cross_entropy") for row in rows)


def test_a_claim_and_an_interval_know_the_metrics_direction_and_range(project: Path) -> None:
    done = ran(project, "ablate", "width")
    assert done.code == 0, done
    done = quick("report", "width", store=project / "mlruns", cwd=project)
    assert done.code == 0, done
    (parent,) = recorded(project, "width", "ablation")
    tracker = Tracker(StoreLocations(project, project / "mlruns"))
    text = tracker.text(parent, "definition.json")
    assert text is not None
    definition = json.loads(text)
    assert definition["metrics"]["unsure"] == {"direction": "minimize", "low": 0.0, "high": 0.7}
    directions = {claim["text"]: claim["fields"]["direction"] for claim in definition["claims"]}
    assert directions == {"wide": "maximize", "unsure": "minimize"}


def test_the_line_of_a_broken_loss(tmp_path: Path) -> None:
    broken = {
        "vector": ("return each[1:]", "loss() of objective mine returns a tensor of shape (7,) for a batch of 8", 2),
        "number": ("return float(each.sum())", "loss() of objective mine returns float; return a tensor", 2),
        "nan": ("return (-each - 1) ** 0.5", "is not finite in the first step, though the outputs are", 1),
        "misspelt": ("return eech", "NameError: name 'eech' is not defined", 2),
    }
    calls = []
    for name, (line, _, _) in broken.items():
        root = write_project(tmp_path / name, "objectives/mine.py", RETURN, line)
        calls.append(Call(("run", "search", "--devices", "cpu:1"), root / "mlruns", root))
    for done, (_, said, code) in zip(quick_each(calls, tmp_path), broken.values(), strict=True):
        assert done.code == code, done
        assert said in done.err
        assert "objectives/mine.py:" in done.err
        assert "internal error" not in done.err


def test_the_line_of_a_broken_metric(tmp_path: Path) -> None:
    broken = {
        "nan": ("amax(1).mean()", "amax(1)[:0].mean()", "metric sure is nan though the losses are finite", 1),
        "vector": ("amax(1).mean()", "amax(1)", "metric sure returns a tensor of shape (20,); return one number", 1),
        "no direction": ('direction="maximize", ', "", "metric sure: it has no direction; write direction=", 2),
    }
    calls = []
    for name, (old, new, _, _) in broken.items():
        root = write_project(tmp_path / name, "objectives/mine.py", old, new)
        calls.append(Call(("run", "search", "--devices", "cpu:1"), root / "mlruns", root))
    for done, (_, _, said, code) in zip(quick_each(calls, tmp_path), broken.values(), strict=True):
        assert done.code == code, done
        assert said in done.err
        assert "objectives/mine.py:" in done.err


def test_the_threshold_is_chosen_on_validation_and_recorded(tmp_path: Path) -> None:
    names = '["accuracy_at_best_threshold","balanced_accuracy_at_best_threshold"]'
    done = quick(
        *("run", "credit_mlp", "--data.kind", "breast_cancer", "--objective.extra_metrics", names),
        *("--training.max_steps", "20", "--training.val_every", "10", "--devices", "cpu:1"),
        store=tmp_path,
    )
    assert done.code == 0, done
    (row,) = Tracker(StoreLocations(tmp_path, tmp_path)).search("tags.`knobs.kind` = 'run'")
    threshold = row.metrics["best/chosen/accuracy_at_best_threshold"]
    assert 0 < threshold < 1
    name = "accuracy_at_best_threshold"
    assert row.metrics[f"best/val/{name}"] >= row.metrics["best/val/accuracy"]
    assert f"test/{name}" in row.metrics
