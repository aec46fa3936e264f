"""How a run can end, what its checkpoint and summary hold, and what it never reads."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import Listener, lasting, toy_config, train

from datamodules.toy import Toy
from knobs import Split, Splits
from knobs.training.checkpoint import load_checkpoint
from models.mlp import MLP


def test_a_batch_of_one_under_batch_normalisation_fails_in_our_words(tmp_path: Path) -> None:
    outcome = train(toy_config(model__norm="batch", data__batch_size=1), tmp_path)
    said = "data.batch_size = 1: the batch normalisation of model mlp cannot be trained on a batch of one sample"
    assert (outcome.state, outcome.message.partition(";")[0]) == ("failed", said)
    assert train(toy_config(model__norm="layer", data__batch_size=1), tmp_path / "layer").state == "finished"


def test_the_checkpoint_is_the_best_on_validation(tmp_path: Path) -> None:
    config = toy_config(optimizer__lr=3.0, training__max_steps=60)  # too large: the last step is not the best
    listener = Listener()
    ended = train(config, tmp_path / "run", listener, read_test=True)
    best_step, best = max(listener.curves(), key=lambda point: (point[1]["val/accuracy"], -point[0]))
    assert best_step < 60
    assert (ended.state, ended.best_step, ended.summary["best/step"]) == ("finished", best_step, best_step)
    for name in ("val/accuracy", "val/loss"):
        assert ended.summary[f"best/{name}"] == best[name]
    assert ended.checkpoint is not None
    state = load_checkpoint(ended.checkpoint, config=config.to_json())
    network = config.model.build(config.data.spec())
    network.load_state_dict(state["network"])
    splits = config.data.load()
    with torch.no_grad():
        for split, name in ((splits.val, "best/val/accuracy"), (splits.test, "test/accuracy")):
            chosen = network.eval()(torch.from_numpy(split.x)).argmax(1)
            assert (chosen == torch.from_numpy(split.y)).double().mean().item() == pytest.approx(ended.summary[name])
    assert ended.summary["parameters"] == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("monitor", "task", "lower"),
    [("loss", "multiclass", True), ("rmse", "regression", True), ("r2", "regression", False)],
)
def test_the_monitored_metric_chooses_in_its_own_direction(
    monitor: str, task: str, lower: bool, tmp_path: Path
) -> None:
    listener = Listener()
    config = toy_config(training__monitor=monitor, data__task=task, optimizer__lr=1.0, training__max_steps=60)
    ended = train(config, tmp_path / "run", listener)
    values = {step: values[f"val/{monitor}"] for step, values in listener.curves()}
    assert ended.best_step == min(values, key=lambda step: (values[step] if lower else -values[step], step))


def test_an_unknown_monitor_fails_in_one_line(tmp_path: Path) -> None:
    ended = train(toy_config(training__monitor="acuracy"), tmp_path / "run")
    assert ended.state == "failed"
    assert ended.message == "training.monitor = 'acuracy': no metric of objective cross_entropy; did you mean accuracy?"


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_divergence_ends_the_run_with_a_reason(task: str, tmp_path: Path) -> None:
    listener = Listener()
    config = toy_config(data__task=task, optimizer__lr=1e30, model__activation="identity")
    ended = train(config, tmp_path / "run", listener)
    assert ended.state == "diverged"
    assert "became" in ended.message
    assert "by step 5" in ended.message
    assert listener.records == []  # NaN and infinity are never recorded
    assert ended.checkpoint is None


def test_the_pruners_answer_ends_the_run(tmp_path: Path) -> None:
    listener = Listener(answer=lambda step, _: step < 10)
    ended = train(toy_config(), tmp_path / "run", listener, pruning_metric="val/accuracy")
    assert (ended.state, ended.checkpoint) == ("pruned", None)
    assert listener.asked == [(step, values["val/accuracy"]) for step, values in listener.curves()]
    assert [step for step, _ in listener.asked] == [5, 10]
    config = toy_config()
    stubborn = Listener(answer=lambda step, _: step < config.training.max_steps)
    whole = train(config, tmp_path / "whole", stubborn, pruning_metric="val/accuracy")
    assert whole.state == "finished"  # nobody is asked at the last step
    assert [step for step, _ in stubborn.asked] == [step for step, _ in stubborn.curves()][:-1]
    early = toy_config(training__early_stop=1, optimizer__lr=1e-12)
    stopped = Listener(answer=lambda step, _: step < 10)
    assert train(early, tmp_path / "early", stopped, pruning_metric="val/accuracy").state == "finished"
    assert [step for step, _ in stopped.asked] == [5]
    silent = Listener(answer=lambda step, _: False)
    assert train(toy_config(), tmp_path / "other", silent).state == "finished"  # there is no pruner
    assert silent.asked == []


def test_the_test_split_is_read_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = train(toy_config(), tmp_path / "asked", read_test=True)
    kept = train(toy_config(), tmp_path / "kept")
    assert {name for name in asked.summary if name.startswith("test/")} == {"test/loss", "test/accuracy"}
    assert not any("test" in name for name in kept.summary)
    assert lasting(kept) == {name: v for name, v in lasting(asked).items() if not name.startswith("test/")}

    honest = Toy.load

    def poisoned(self: Toy) -> Splits:
        splits = honest(self)
        return Splits(train=splits.train, val=splits.val, test=Split(splits.test.x * 1e30, splits.test.y[::-1]))

    monkeypatch.setattr(Toy, "load", poisoned)
    blind = train(toy_config(), tmp_path / "another cache" / "blind")
    assert lasting(blind) == lasting(kept)


def test_the_test_split_can_be_read_later_with_the_checkpoint(tmp_path: Path) -> None:
    config = toy_config(model__norm="batch", model__dropout=0.3)
    ended = train(config, tmp_path / "whole", read_test=True)
    kept = train(config, tmp_path / "run")
    later = train(config, tmp_path / "later", evaluate_checkpoint=kept.checkpoint)
    assert later.summary == {n: v for n, v in ended.summary.items() if n.startswith("test/")}
    assert later.best_step == kept.best_step
    other = train(config.with_knobs({"seed": 1}), tmp_path / "other", evaluate_checkpoint=kept.checkpoint)
    assert other.state == "failed"
    assert "another config" in other.message


def test_precision(tmp_path: Path) -> None:
    heard: dict[str, Listener] = {}
    for precision in ("32", "64", "bf16-mixed"):
        heard[precision] = Listener()
        config = toy_config(training__precision=precision)
        ended = train(config, tmp_path / precision, heard[precision], read_test=True)
        assert ended.state == "finished", ended.message
        assert ended.checkpoint is not None
        weights = load_checkpoint(ended.checkpoint)["network"]
        assert {w.dtype for w in weights.values()} == {torch.float64 if precision == "64" else torch.float32}
    single, double, mixed = (
        [values["val/loss"] for _, values in heard[precision].curves()] for precision in ("32", "64", "bf16-mixed")
    )
    assert single == pytest.approx(double, rel=1e-4)
    assert single != double
    assert mixed == pytest.approx(double, rel=0.05)
    assert mixed != pytest.approx(double, rel=1e-6)
    for value in mixed:  # the mean is taken in float32, with more digits than bfloat16
        assert torch.tensor(value).bfloat16().item() != value


def test_a_models_own_exception_is_one_line_and_its_traceback_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(self: MLP, spec: Any) -> torch.nn.Module:
        warnings.warn("look out", UserWarning, stacklevel=1)
        raise ValueError("of mine\nand more")

    monkeypatch.setattr(MLP, "build", build)
    ended = train(toy_config(), tmp_path / "run")
    assert ended.state == "failed"
    assert re.fullmatch(r".*test_run\.py:\d+: ValueError: of mine", ended.message)
    assert "Traceback" in ended.log
    assert "UserWarning: look out" in ended.log


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce] DefaultCPUAllocator:")],
)
def test_out_of_memory_is_its_own_end(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(self: MLP, spec: Any) -> torch.nn.Module:
        raise error

    monkeypatch.setattr(MLP, "build", build)
    assert train(toy_config(), tmp_path / "run").state == "out_of_memory"
