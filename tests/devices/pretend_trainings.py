"""Trainings on a device that is not the CPU: `pretend`, an accelerator in Python. It shows what no CPU can show."""

from __future__ import annotations

import dataclasses
import gc
import itertools
from collections.abc import Iterator
from pathlib import Path

import pretend
import pytest
import torch
from pretend_tensor import NAME, PretendTensor, card
from support import ROOT
from trainings import Listener, lasting, of_seeds, together, toy_config

from knobs import Ablation, OptimizerConfig, RunConfig, Study, Value, discover
from knobs.config import usual_objective
from knobs.devices import KINDS, device_kind
from knobs.devices.cuda import CudaKind
from knobs.devices.mps import MpsKind
from knobs.training import Outcome, TrainJob
from knobs.training.checkpoint import load_checkpoint
from knobs.training.graphed_steps import WARM_UP
from knobs.training.run import run_job
from schedules.cosine import Cosine

discover.activate(ROOT)

SHIPPED = [*discover.files("studies"), *discover.files("experiments")]
QUICK = {"mnist1d_mlp", "credit_mlp", "linear_regression"}
"""Shipped runs of the quick part: one per task."""


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the pretend device known for one test, and restore torch's flags."""
    monkeypatch.setattr("knobs.devices.slots.KINDS", list(KINDS))
    monkeypatch.setattr("knobs.training.snapshots.CHECKPOINT_SECONDS", 1e9)  # a checkpoint makes the host wait
    pretend.install()
    card.reset()
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)
    card.reset()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


class Counting(Listener):
    """A listener that notes, before each step, how often the host has waited for the device so far."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(stop_at=stop_at)
        self.waits: list[int] = []

    @property
    def stopping(self) -> bool:
        self.waits.append(card.synchronisations.total())
        return super().stopping

    def between_validations(self, every: int) -> int:
        """Return the waits in all steps, without those between an interval's last step and the next interval."""
        pairs = itertools.pairwise(self.waits)
        return sum(after - before for step, (before, after) in enumerate(pairs, start=1) if step % every)

    def at_validations(self, every: int) -> list[int]:
        """Return the waits from each interval's start to the next one's."""
        starts = self.waits[::every]
        return [after - before for before, after in itertools.pairwise(starts)]


def train(
    config: RunConfig,
    folder: Path,
    listener: Listener | None = None,
    device: str = NAME,
    cache: Path | None = None,
    resume: tuple[Path, ...] = (),
) -> Outcome:
    """Train in this process, as a worker does."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = cache or folder.parent / "cache"
    job = TrainJob(run="r", config=config.to_json(), folder=folder, cache=prepared, read_test=True, resume=resume)
    outcome = run_job(job, listener or Listener(), torch.device(device))
    gc.collect()
    return outcome


def shipped(name: str) -> RunConfig:
    """Return a study's baseline, or the first cell of an ablation."""
    folder, module = discover.find(name)
    if folder == "studies":
        return discover.the_one(module, Study).baseline
    return discover.the_one(module, Ablation).cells()[0].config


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SHIPPED])
def test_what_is_shipped_trains_as_on_the_cpu_and_resumes(name: str, cache: Path, tmp_path: Path) -> None:
    config = shipped(name).with_knobs({"training.max_steps": 70, "training.val_every": 35})
    card.draws_like_cpu = True
    card.has_float64 = config.training.precision == "64"
    there, here = Counting(), Listener()
    outcome = train(config, tmp_path / "there", there, cache=cache)
    assert outcome.state == "finished", f"{outcome.message}\n{outcome.log}"
    assert card.counted.total() > 1000, "the run was not on the device"
    expected = train(config, tmp_path / "here", here, "cpu", cache=cache)
    # torch adds a recurrent cell's biases in another order on devices, so sums round differently
    tolerance = 1e-4 if config.model.kind == "rnn" else 0.0
    for (step, values), (same, others) in zip(there.curves(), here.curves(), strict=True):
        assert step == same
        assert values == pytest.approx(others, rel=tolerance, abs=tolerance, nan_ok=True)
    assert lasting(outcome) == pytest.approx(lasting(expected), rel=tolerance, abs=tolerance)
    assert there.between_validations(35) == 0, f"the host waits for the device in steps: {card.synchronisations}"
    first, second = train(config, tmp_path / "first", Listener(stop_at=40), cache=cache), Listener()
    assert first.checkpoint is not None
    again = train(config, tmp_path / "second", second, cache=cache, resume=(first.checkpoint,))
    assert second.curves() == there.curves()
    assert lasting(again) == lasting(outcome)


def test_apples_kind_makes_doubles_of_scalars_on_the_cpu() -> None:
    card.has_float64 = False
    values = [torch.tensor(value, device=NAME) for value in (0.5, 2.0)]
    assert MpsKind().numbers([*values, torch.tensor(3, device=NAME)]) == [0.5, 2.0, 3.0]
    with pytest.raises(TypeError, match="has no float64"):
        CudaKind().numbers(values)


def test_a_target_at_every_step_needs_no_operator_without_a_deterministic_version() -> None:
    spec = shipped("autocomplete").data.spec()
    outputs, targets = torch.ones(2, spec.outputs, 5, requires_grad=True), torch.tensor([[0, 1, 2, 3, 4]] * 2)
    device_kind(NAME).make_deterministic()
    mean_loss = usual_objective(spec.task).loss
    loss = mean_loss(outputs.to(NAME), targets.to(NAME))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(mean_loss(outputs, targets).item(), rel=1e-5)
    with pytest.raises(RuntimeError, match="nll_loss2d_forward does not have a deterministic implementation"):
        torch.nn.functional.cross_entropy(outputs.to(NAME), targets.to(NAME))


EXTRAS = {
    "model.dropout": 0.5,
    "model.norm": "batch",
    "training.clip_norm": 1.0,
    "training.averaging": True,
    "training.layer_norms": True,
}
"""What a step can do besides: each must work without waiting for the device."""


def with_optimizer(name: str, *, extras: bool) -> RunConfig:
    """Return a toy config with this shipped optimizer."""
    config = toy_config(**(EXTRAS if extras else {}))
    return dataclasses.replace(config, optimizer=discover.config_class("optimizers", name, OptimizerConfig)())


@pytest.mark.parametrize("extras", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimizer", discover.files("optimizers"))
def test_the_host_waits_at_validations_only(optimizer: str, extras: bool, tmp_path: Path) -> None:
    config = with_optimizer(optimizer, extras=extras)
    found = []
    for every in (5, 10):
        listener = Counting()
        outcome = train(config.with_knobs({"training.val_every": every}), tmp_path / str(every), listener)
        assert outcome.state == "finished", f"{outcome.message}\n{outcome.log}"
        assert listener.between_validations(every) == 0
        found.append(set(listener.at_validations(every)))
    assert found[0] == found[1], "more steps in an interval make the host wait more often"
    assert len(found[0]) == 1


@pytest.mark.parametrize("optimizer", discover.files("optimizers"))
def test_an_interrupted_run_resumes_to_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    config = with_optimizer(optimizer, extras=True)
    whole = Listener()
    expected = train(config, tmp_path / "whole", whole)
    assert expected.state == "finished", f"{expected.message}\n{expected.log}"
    first = train(config, tmp_path / "first", Listener(stop_at=13))
    assert first.state == "interrupted"
    assert first.checkpoint is not None
    torch.manual_seed(123)
    second = Counting()
    outcome = train(config, tmp_path / "second", second, resume=(first.checkpoint,))
    assert second.curves() == whole.curves()
    assert lasting(outcome) == lasting(expected)
    later = Counting()
    later.waits = second.waits[2:]  # from the first whole interval
    assert later.between_validations(5) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"model.norm": "batch", "training.clip_norm": 1.0},  # a device draws dropout in an order of its own
        {"model.kind": "resnet", "model.width": 6, "data.layout": "image"},
        {"model.kind": "rnn", "model.width": 6, "data.layout": "sequence"},
    ],
    ids=lambda changes: changes.get("model.kind", "mlp"),
)
def test_a_batch_of_runs_trains_as_on_the_cpu(changes: dict[str, Value], tmp_path: Path) -> None:
    config = toy_config().with_knobs(changes)
    members = [config, config.with_knobs({"seed": 3, "optimizer.lr": 0.05, "optimizer.momentum": 0.5})]
    card.draws_like_cpu = True
    card.counted.clear()
    there = together(members, tmp_path / "there", device=NAME)
    assert card.counted.total() > 1000, "the batch was not on the device"
    here = together(members, tmp_path / "here")
    for (outcome, curves), (expected, others) in zip(there, here, strict=True):
        assert outcome.state == "finished", outcome.log
        assert lasting(outcome) == pytest.approx(lasting(expected), rel=1e-5, abs=1e-5)
        assert len(curves.curves()) == len(others.curves()) == 6


def test_more_members_and_steps_make_the_host_wait_no_more_often(tmp_path: Path) -> None:
    found = set()
    for name, members, every in (("a", 2, 5), ("b", 2, 10), ("c", 4, 5)):
        config = toy_config(training__val_every=every, training__max_steps=6 * every)
        card.synchronisations.clear()
        trained = together(of_seeds(config, range(members)), tmp_path / name, device=NAME, wanted=[0])
        assert trained[0][0].state == "finished"
        found.add(card.synchronisations.total())
    assert len(found) == 1, f"the host waits for every member or step: {found}"


GRAPHS = [name for name in discover.files("optimizers") if name != "adagrad"]


@pytest.mark.parametrize("optimizer", GRAPHS)
def test_a_replayed_step_is_the_step(optimizer: str, tmp_path: Path) -> None:
    config = dataclasses.replace(with_optimizer(optimizer, extras=True), schedule=Cosine(warmup_steps=7))
    plain, replayed = Listener(), Counting()
    expected = train(config, tmp_path / "plain", plain)
    graphs = config.with_knobs({"training.cuda_graph": True})
    card.counted.clear()
    outcome = train(graphs, tmp_path / "graph", replayed)
    assert outcome.state == "finished", f"{outcome.message}\n{outcome.log}"
    assert card.counted["replay"] == 30 - WARM_UP
    assert replayed.between_validations(5) == 0
    for (step, values), (same, others) in zip(replayed.curves(), plain.curves(), strict=True):
        assert step == same
        assert values == pytest.approx(others, rel=1e-5, abs=1e-6)  # the rate is a float32 there
    assert lasting(outcome) == pytest.approx(lasting(expected), rel=1e-5, abs=1e-6)


def test_replayed_steps_continue_to_the_same_bits(tmp_path: Path) -> None:
    config = toy_config(**EXTRAS, training__cuda_graph=True)
    whole, second = Listener(), Listener()
    expected = train(config, tmp_path / "whole", whole)
    first = train(config, tmp_path / "first", Listener(stop_at=13))
    assert first.checkpoint is not None
    outcome = train(config, tmp_path / "second", second, resume=(first.checkpoint,))
    assert second.curves() == whole.curves()
    assert lasting(outcome) == lasting(expected)


def test_an_optimizer_whose_rate_is_a_number_cannot_be_replayed(tmp_path: Path) -> None:
    config = with_optimizer("adagrad", extras=False).with_knobs({"training.cuda_graph": True})
    outcome = train(config, tmp_path / "run")
    assert (outcome.state, outcome.message) == (
        "failed",
        "training.cuda_graph: optimizer adagrad takes no learning rate from the device",
    )


def test_the_cpu_replays_nothing(tmp_path: Path) -> None:
    outcome = train(toy_config(training__cuda_graph=True), tmp_path / "run", device="cpu")
    assert outcome.message == "training.cuda_graph = True: cpu devices have no CUDA graphs"


def test_a_checkpoint_written_there_continues_on_the_cpu(tmp_path: Path) -> None:
    config = toy_config(model__dropout=0.5)
    first = train(config, tmp_path / "first", Listener(stop_at=13))
    assert first.checkpoint is not None
    assert not any(isinstance(t, PretendTensor) for t in load_checkpoint(first.checkpoint)["network"].values())
    listener = Listener()
    outcome = train(config, tmp_path / "second", listener, "cpu", resume=(first.checkpoint,))
    assert outcome.state == "finished"
    assert "continued from step 13" in outcome.log
    assert [step for step, _ in listener.curves()] == [5, 10, 15, 20, 25, 30]
    best = train(config, tmp_path / "there")
    assert best.checkpoint is not None
    assert load_checkpoint(best.checkpoint)["step"] == best.best_step


def test_a_checkpoint_is_evaluated_there(tmp_path: Path) -> None:
    config = toy_config(model__dropout=0.5)
    trained = train(config, tmp_path / "run")
    job = TrainJob(
        run="r",
        config=config.to_json(),
        folder=tmp_path / "again",
        cache=tmp_path / "cache",
        evaluate_checkpoint=trained.checkpoint,
    )
    outcome = run_job(job, Listener(), torch.device(NAME))
    assert outcome.state == "finished", outcome.message
    assert outcome.summary == {name: value for name, value in trained.summary.items() if name.startswith("test/")}


def test_out_of_memory_ends_the_run_and_leaves_the_device_usable(tmp_path: Path) -> None:
    before = card.bytes
    whole = train(toy_config(), tmp_path / "whole")
    assert whole.summary["system/peak_memory_bytes"] == card.peak > before
    card.limit = (before + card.peak) // 2
    outcome = train(toy_config(), tmp_path / "small")
    assert outcome.state == "out_of_memory"
    assert outcome.lasting_failure == ""
    assert "out of memory. Tried to allocate" in outcome.message
    gc.collect()
    assert card.bytes == before, "the failed run still holds memory"
    card.limit = None
    assert lasting(train(toy_config(), tmp_path / "again")) == lasting(whole)


@pytest.mark.parametrize("operator", ["addmm", "threshold_backward", "_fused_sgd_", "_to_copy"])
@pytest.mark.parametrize(
    ("message", "blamed"),
    [("error: device-side assert triggered", "config"), ("error: uncorrectable ECC error", "device")],
)
def test_an_error_that_stays_says_who_caused_it(message: str, blamed: str, operator: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def fail(name: str) -> None:
        seen.append(name)
        if name == operator and len(seen) > 200:
            card.poison = message

    card.before = fail
    outcome = train(toy_config(), tmp_path / "run")
    assert (outcome.state, outcome.lasting_failure) == ("failed", blamed)
    assert message in outcome.message
    assert outcome.environment == {}


def test_an_error_of_the_device_while_a_checkpoint_is_written_is_no_error_of_the_disk(tmp_path: Path) -> None:
    listener = Listener(stop_at=8)

    def fail(name: str) -> None:
        if name == "_to_copy" and listener.steps > 8:
            card.poison = "error: device-side assert triggered"

    card.before = fail
    outcome = train(toy_config(), tmp_path / "run", listener)
    assert (outcome.state, outcome.lasting_failure) == ("failed", "config")


def test_an_error_of_the_run_does_not_stay(tmp_path: Path) -> None:
    def fail(name: str) -> None:
        if name == "addmm":
            raise RuntimeError("no kernel")

    card.before = fail
    outcome = train(toy_config(), tmp_path / "run")
    assert (outcome.state, outcome.lasting_failure) == ("failed", "")
    assert outcome.environment["device_name"] == NAME


def test_double_precision_is_refused_before_the_device_is_used(tmp_path: Path) -> None:
    card.has_float64 = False
    outcome = train(toy_config(training__precision="64"), tmp_path / "run")
    assert (outcome.state, card.counted.total()) == ("failed", 0)
    assert f"{NAME} devices have no float64" in outcome.message


def test_what_the_driver_computes_does_not_touch_the_device() -> None:
    from knobs.ablation.matching import network_size
    from knobs.launch.dry_run import cost_here
    from knobs.training.one_sample_batch import check_one_sample_batch

    ablation = discover.the_one(discover.load("experiments", "activations_depth"), Ablation)
    network_size(toy_config(), "parameters")
    cost_here(ablation.cells()[0])
    check_one_sample_batch(toy_config(data__batch_size=1))
    assert card.counted.total() == 0
