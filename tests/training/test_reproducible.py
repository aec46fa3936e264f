"""Everything that a run draws comes from its seed, and a GPU is asked for algorithms that repeat their bits."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import Listener, lasting, toy_config, train

from knobs import DataSpec
from knobs.training import newest_checkpoints
from knobs.training.environment import make_reproducible
from models.mlp import MLP

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Other tests get their process as it was."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    cudnn, matmul, fill = torch.backends.cudnn, torch.backends.cuda.matmul, torch.utils.deterministic
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32, fill.fill_uninitialized_memory
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32, fill.fill_uninitialized_memory = before


def drawn() -> dict[str, float]:
    """One number of each of the process's generators."""
    return {"python": random.random(), "numpy": float(np.random.rand()), "torch": float(torch.rand(()))}


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 7, 2**60])
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_a_seed_fixes_the_generators_of_python_numpy_and_torch(device: torch.device, seed: int) -> None:
    found = []
    for _ in range(2):
        make_reproducible(toy_config(seed=seed), device)
        found.append(drawn())
        drawn()  # moves them all on
    assert found[0] == found[1]
    make_reproducible(toy_config(seed=seed + 1), device)
    other = drawn()
    assert all(other[name] != value for name, value in found[0].items())


@pytest.mark.parametrize("before", [True, False])
def test_deterministic_algorithms_are_asked_of_a_gpu_and_not_of_a_cpu(before: bool) -> None:
    for device, wanted in ((CUDA, True), (CPU, False), (CUDA, True)):
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = torch.backends.cuda.matmul.allow_tf32 = before
        make_reproducible(toy_config(), device)
        assert torch.are_deterministic_algorithms_enabled() == wanted
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        if device == CUDA:
            assert not torch.backends.cudnn.benchmark  # it times algorithms and takes the fastest
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32


def test_a_run_on_a_cpu_ends_the_same_whatever_was_asked_of_the_process_before(tmp_path: Path) -> None:
    plain = train(toy_config(), tmp_path / "plain")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(torch.get_num_threads() + 1)
    again = train(toy_config(), tmp_path / "again")
    assert lasting(again) == lasting(plain)
    assert again.environment["deterministic_algorithms"] == "False"


class Jitter(torch.nn.Module):
    """Noise on the inputs while training, half of it from Python's generator and half from NumPy's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (1 + random.uniform(-0.2, 0.2)) + float(np.random.normal(0, 0.2))


@pytest.fixture
def jittery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network draws from the generators that are no torch's."""
    build = MLP.build

    def with_jitter(self: MLP, spec: DataSpec) -> torch.nn.Module:
        return torch.nn.Sequential(Jitter(), build(self, spec))

    monkeypatch.setattr(MLP, "build", with_jitter)


@pytest.mark.usefixtures("jittery")
def test_what_a_model_draws_from_python_and_numpy_follows_from_the_runs_seed(tmp_path: Path) -> None:
    curves = []
    for number, seed in enumerate((0, 0, 1)):
        random.seed(100 + number)
        np.random.seed(200 + number)
        listener = Listener()
        assert train(toy_config(seed=seed), tmp_path / str(number), listener).state == "finished"
        curves.append(listener.curves())
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


@pytest.mark.usefixtures("jittery")
def test_a_resumed_run_goes_on_in_the_generators_of_python_and_numpy_where_it_stopped(tmp_path: Path) -> None:
    whole, first, second = Listener(), Listener(stop_at=17), Listener()
    expected = train(toy_config(), tmp_path / "whole", whole)
    assert train(toy_config(), tmp_path / "cut", first).state == "interrupted"
    random.seed(5)
    np.random.seed(5)
    resume = tuple(newest_checkpoints(tmp_path / "cut"))
    outcome = train(toy_config(), tmp_path / "cut" / "more", second, resume=resume)
    assert lasting(outcome) == lasting(expected)
    assert {**dict(first.curves()), **dict(second.curves())} == dict(whole.curves())
