"""`knobs check` finds every planted fault, and names the user's file and line; in a sound project it finds none."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from checks.small_project import FILES, write_project
from support import ROOT

from knobs import BadInputError, discover
from knobs.checks.project import project_checks


@dataclass(frozen=True)
class Fault:
    """A text in a file of the sound project, and what replaces it; then what the message must match."""

    old: str
    new: str
    said: str
    line: bool = True
    """Whether the message must hold the user's file and line."""


DATA, MODEL, OBJECTIVE, OPTIMIZER, SCHEDULE, STUDY, ABLATION = FILES
RETURN = "return baseline.with_knobs(changes)"
FIRST = '"model.dropout": trial.suggest_float("model.dropout", 0.0, 0.5)'

FAULTS: dict[str, dict[str, Fault]] = {
    DATA: {
        "load raises": Fault("random = np", "{}['x']; random = np", "KeyError: 'x'"),
        "load draws without a seed": Fault("default_rng(0)", "default_rng()", "two loads differ"),
        "features differ from the spec": Fault("shape=(4,)", "shape=(5,)", r"shape \(80, 4\)"),
        "labels from 1": Fault("> 0).astype(np.int64) +", "> 0).astype(np.int64) + 1 +", "0 to 2; number them from 0"),
        "NaN": Fault("        y =", "        x[5, 2] = np.nan\n        y =", r"train x holds NaN \(row 5, feature 2\)"),
        "an empty split": Fault("Split(x[80:100], y[80:100])", "Split(x[:0], y[:0])", "val holds no rows"),
        "a metric of another task": Fault('metric="accuracy"', 'metric="acuracy"', "'acuracy'"),
        "no full batch": Fault("batch_size: int = 20", "batch_size: int = 90", "less than one batch of 90"),
        "lengths differ": Fault("Split(x[100:], y[100:])", "Split(x[100:], y[99:])", "x has 20 rows, y has 21"),
        "no @part": Fault("@part\n", "", "class Table needs @part above it"),
    },
    MODEL: {
        "forward raises": Fault("self.hidden(x)", "self.hiden(x)", "hiden"),
        "a layer is not used": Fault("self.head =", "self.more = nn.Linear(2, 2)\n        self.head =", "more.weight"),
        "outputs are detached": Fault("self.head(hidden)", "self.head(hidden).detach()", "do not depend on its param"),
        "a LightningModule": Fault(
            "class Network(nn.Module)", "import pytorch_lightning\nclass Network(pytorch_lightning.LightningModule)",
            "returns a LightningModule",
        ),
        "no return": Fault("return Network(self, spec)", "Network(self, spec)", "a `return` is missing"),
        "no @part": Fault("@part\n", "", "class Net needs @part above it"),
        "too few outputs": Fault("spec.outputs)", "spec.outputs - 1)", r"returns \(8, 2\) .* \(8, 3\)"),
        "samples are mixed": Fault("self.head(hidden)", "self.head(hidden).softmax(0)", "mixes the samples"),
        "the input is ignored": Fault("self.head(hidden)", "self.head(hidden * 0)", "gradient|learn"),
        "dropout stays on": Fault("self.dropout(", "nn.functional.dropout(", "some dropout stays on"),
        "not finite": Fault("self.head(hidden)", "self.head(hidden) / 0", "finite: False"),
        "a misspelt import": Fault("Fraction, ModelConfig", "Fraction, ModelConfg", "did you mean ModelConfig"),
        "weights that cannot learn": Fault("self.head(hidden)", "self.head(hidden) * 1e-7", "does not learn 8 rows"),
    },
    OBJECTIVE: {
        "a vector of a wrong length": Fault(
            "return each * (1 - torch.exp(-each)) ** self.gamma", "return each[1:]",
            r"loss\(\) of objective mine returns a tensor of shape \(47,\) for a batch of 48; return the mean, or one",
        ),
        "no return": Fault("return each *", "each *", r"returns NoneType; return a tensor; a `return` is missing"),
        "no tensor": Fault("return each *", "return float(each.sum()) #", "returns float; return a tensor"),
        "NaN": Fault("return each *", "return (-each) ** 0.5 *", "is nan for outputs from a normal"),
        "outputs are detached": Fault("entropy(outputs", "entropy(outputs.detach()", "something detaches them"),
        "samples have places": Fault("return each *", "return torch.arange(len(each)) * each *", "samples' order"),
        "it draws": Fault("return each *", "return torch.rand(len(each)) * each *", "or on chance"),
        "a misspelt function": Fault("F.cross_entropy", "F.cros_entropy", "did you mean cross_entropy"),
        "no @part": Fault("@part\n", "", "class Mine needs @part above it"),
        "a metric without direction": Fault('direction="maximize", ', "", "metric sure: it has no direction; write"),
        "a metric of two numbers": Fault("amax(1).mean()", "amax(1)", r"metric sure returns a tensor of shape \(48,\)"),
        "a metric that is NaN": Fault("amax(1).mean()", "amax(1)[:0].mean()", "metric sure is nan; its bounds are 0"),
        "a metric beyond its bounds": Fault("(0.0, 1.0)", "(0.0, 0.1)", r"metric sure is 0\.\d+; its bounds are 0"),
        "a metric that raises": Fault("amax(1)", "amx(1)", "did you mean amax"),
        "metrics that are none": Fault("spec), sure]", "spec), 'sure']", "returns str; return Metric objects"),
        "metrics without the spec": Fault("def metrics(self, spec)", "def metrics(self)", r"metrics\(\)"),
        "two metrics of a name": Fault('name="sure"', 'name="accuracy"', "returns two metrics named accuracy"),
    },
    OPTIMIZER: {
        "it climbs": Fault("momentum=0.5", "momentum=0.5, maximize=True", "bring the loss"),
        "a parameter is left out": Fault("in named_parameters]", "in named_parameters[1:]]", "leaves out"),
        "a misspelt argument": Fault("momentum=0.5", "momentun=0.5", "momentun"),
    },
    SCHEDULE: {
        "above 1": Fault("1 - step", "2 - step", "expected 0 to 1"),
        "it draws": Fault("return 1 - step / total", "import random; return random.random()", "a second call"),
    },
    STUDY: {
        "a space wider than its knob": Fault("0.0, 0.5", "0.0, 1.5", "model.dropout = .*less than 1"),
        "a float for a whole number": Fault("suggest_int(", "suggest_float(", "model.width = .*valid integer"),
        "a space that raises for some draws": Fault(
            RETURN, "if changes['model.width'] > 60: raise ValueError('too wide')\n    " + RETURN, "Error: too wide"
        ),
        "an objective of another task": Fault(
            "from objectives.mine import Mine", "from objectives.huber import Huber as Mine",
            "objective.kind = 'huber' is for regression tasks; the data set's task is multiclass",
        ),
        "a metric that nobody records": Fault("val/sure", "val/f1", "not recorded; add it to objective.extra_metr"),
        "a draw without the metric": Fault(
            FIRST, FIRST + ', "objective.kind": trial.suggest_categorical("objective.kind", ["mine", "focal"])',
            "metric = 'val/sure': not recorded by objective focal",
        ),
        "a maximised loss": Fault("val/sure", "val/loss", "val/loss is better if it is lower"),
        "a space that draws itself": Fault(
            RETURN, 'if trial.params["model.width"] != 16: import random; changes["seed"] = random.getrandbits(9)\n    '
            + RETURN, "gives two configs",
        ),
        "a misspelt knob": Fault(FIRST, FIRST.replace("model.dropout", "model.droput"), "did you mean model.dropout"),
        "nothing is returned": Fault(RETURN, RETURN.removeprefix("return "), "must return a RunConfig, not NoneType"),
        "choices that change": Fault(
            RETURN, 'trial.suggest_categorical("model.width", [4] if changes["model.dropout"] > 0.2 else [16])\n    '
            + RETURN, "model.width",
        ),
        "an attribute that is not there": Fault("suggest_int", "sugest_int", "did you mean suggest_int"),
    },
    ABLATION: {
        "a misspelt claim metric": Fault('"wide", metric="test/acc', '"wide", metric="test/ac', "mean test/accuracy"),
        "a misspelt shown": Fault('shown="test/accuracy"', 'shown="test/acuracy"', "did you mean test/accuracy"),
        "a name that MLflow refuses": Fault('name="error"', 'name="error %"', "such as 'error percent'"),
        "a factor that MLflow refuses": Fault(
            'Factor.of("model.width", [8, 32])', 'Factor("w & d", {"8": {"model.width": 8}, "9": {}})',
            "such as 'w and d'",
        ),
        "levels that are numbers": Fault(
            'Factor.of("model.width", [8, 32])', 'Factor("model.width", {8: {"model.width": 8}})', "write '8'"
        ),
        "a derived number that raises": Fault('test/accuracy"]', 'test/acc"]', "derived/error raises: KeyError"),
        "a derived number that is none": Fault("return 1 - recorded", "1 - recorded", "derived/error is NoneType"),
        "too few seeds": Fault("seeds=5", "seeds=3", "from 4 seeds on", False),
        "a claim about no pair of cells": Fault('worse={"model.width": "8"}', "worse={}", "cannot be decided", False),
        "an extra split that is not there": Fault(
            '"learns", metric="test/accuracy"', '"learns", metric="test/far/accuracy"', "no test split 'far'", False
        ),
        "a cell that does not build": Fault("[8, 32]", "[8, 0]", "model.width = 0"),
        "a nuisance space wider than its knob": Fault("1e-3, 0.1, log=True", "-0.1, 0.1", "optimizer.lr = -0.1"),
    },
}  # fmt: skip
CASES = [
    pytest.param(file, fault, id=f"{Path(file).stem}: {name}")
    for file, faults in FAULTS.items()
    for name, fault in faults.items()
]


def content() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in discover.FOLDERS}


@pytest.fixture(autouse=True)
def back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the imported content back: other tests compare its classes."""
    before = content()
    yield
    monkeypatch.undo()
    discover.activate(ROOT)
    for name in content():
        del sys.modules[name]
    sys.modules.update(before)


def failures(root: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Return the lines that `knobs check` prints behind FAIL in this project."""
    monkeypatch.chdir(root)
    discover.activate(root)
    outcomes = [(check, *check.outcome()) for check in project_checks(names, root)]
    assert all(text for _, _, text in outcomes)
    return [f"{check}: {text}" for check, passed, text in outcomes if not passed]


def test_at_least_thirty_faults_are_planted() -> None:
    assert len(CASES) >= 30


def test_a_sound_project_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not failures(write_project(tmp_path), monkeypatch)


@pytest.mark.parametrize(("file", "fault"), CASES)
def test_a_planted_fault_is_found(file: str, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = failures(write_project(tmp_path, file, fault.old, fault.new), monkeypatch, Path(file).stem)
    assert found
    assert any(re.search(fault.said, text) for text in found), found
    for text in found:
        assert len(text.splitlines()) <= 4
        assert "internal error" not in text
    if fault.line:
        assert any(re.search(rf"{Path(file).name}:\d+", text) for text in found), found


def test_an_unknown_name_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing is named 'nett'; did you mean net"):
        project_checks(("nett",), write_project(tmp_path))
