"""Facts about single shipped models and data sets."""

import gzip
import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import _files
from datamodules._splits import stratified
from datamodules.credit_default import CreditDefault
from datamodules.mnist1d import MNIST1D
from datamodules.nyse import NYSE
from knobs import BadInputError, DataSpec, Split
from models._layers import ACTIVATIONS, GAINS
from models.mlp import MLP, MLPNetwork
from models.resnet import Block, ResNet
from models.rnn import RNN, RNNNetwork

VECTOR = DataSpec(task="multiclass", layout="vector", shape=(6,), outputs=3, metric="accuracy")
SEQUENCE = DataSpec(task="multiclass", layout="sequence", shape=(9, 2), outputs=3, metric="accuracy")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_gain_keeps_the_mean_square_of_a_standard_normal(name: str) -> None:
    z = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2) / (2 * torch.pi) ** 0.5
    mean_square = torch.trapezoid(ACTIVATIONS[name]()(z) ** 2 * density, z)
    assert GAINS[name] ** 2 * mean_square.item() == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("init", ["kaiming", "orthogonal"])
def test_a_deep_relu_network_keeps_its_signal(init: str) -> None:
    torch.manual_seed(0)
    net = MLP(depth=30, width=400, init=init).build(VECTOR)  # type: ignore[arg-type]
    assert isinstance(net, MLPNetwork)
    squares, states = [], torch.randn(200, 6)
    for layer in net:
        states = layer(states)
        squares.append(states.pow(2).mean().item())
    assert 0.2 < squares[-2] / squares[1] < 5.0  # after the last nonlinearity, after the first


def test_depth_zero_is_one_affine_map() -> None:
    assert [type(layer) for layer in MLP(depth=0).build(VECTOR).modules()][1:] == [torch.nn.Linear]


def test_a_block_that_starts_at_zero_is_the_identity() -> None:
    net = ResNet(zero_init=True).build(SEQUENCE)
    blocks = [module for module in net.modules() if isinstance(module, Block)]
    x = torch.randn(4, 32, 1, 9)
    assert len(blocks) == 3
    assert all(torch.equal(block(x), x) for block in blocks)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"^model\.kernel = 4"):
        ResNet(kernel=4)


def recurrent(config: RNN) -> RNNNetwork:
    net = config.build(SEQUENCE)
    assert isinstance(net, RNNNetwork)
    return net


def test_irnn_starts_from_the_identity() -> None:
    state = recurrent(RNN(cell="relu", width=5, init="orthogonal")).recurrent.state_dict()
    assert torch.equal(state["0.weight_hh_l0"], torch.eye(5))
    assert not state["0.bias_ih_l0"].any()


def test_an_lstm_starts_by_remembering() -> None:
    state = recurrent(RNN(cell="lstm", width=5, depth=2, forget_bias=2.0)).recurrent.state_dict()
    for layer in range(2):
        total = state[f"{layer}.bias_ih_l0"] + state[f"{layer}.bias_hh_l0"]
        assert torch.equal(total[5:10], torch.full((5,), 2.0))


def test_last_is_where_each_direction_ends() -> None:
    net = recurrent(RNN(cell="gru", width=4, bidirectional=True, depth=2))
    x = torch.randn(3, *SEQUENCE.shape)
    first, second = net.recurrent
    final = second(first(x)[0])[1]  # (directions, batch, width)
    assert torch.equal(net(x), net.head(torch.cat([final[0], final[1]], 1)))


def test_mnist1d_is_the_frozen_set_of_the_paper() -> None:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    made = MNIST1D().load()
    assert random.getstate() == python_state
    assert str(np.random.get_state()) == str(numpy_state)
    labels = np.concatenate([made.train.y, made.val.y, made.test.y])
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == "6feec4a017698c7f"
    assert made.test.x[0, :4, 0] == pytest.approx([-0.078771, -0.210732, -0.091751, 0.282671], abs=1e-6)


def test_mnist1d_refuses_to_hold_out_everything() -> None:
    with pytest.raises(BadInputError, match=r"^data\.validation = 4000"):
        MNIST1D(validation=4000).load()


def r2_of_least_squares(known: list[Split], unknown: Split) -> float:
    def design(x: np.ndarray) -> np.ndarray:
        return np.hstack([x.reshape(len(x), -1), np.ones((len(x), 1))]).astype(np.float64)

    x, y = np.concatenate([split.x for split in known]), np.concatenate([split.y for split in known])
    weights = np.linalg.lstsq(design(x), y, rcond=None)[0]
    residual = unknown.y - design(unknown.x) @ weights
    return 1.0 - float((residual**2).sum() / ((unknown.y - unknown.y.mean()) ** 2).sum())


def test_nyse_gives_the_books_autoregression() -> None:
    """ISLP section 10.9.6: an AR(5) model reaches a test R2 of 0.41, and 0.46 with the day of the week."""
    made, with_day = NYSE().load(), NYSE(day_of_week=True).load()
    assert r2_of_least_squares([made.train, made.val], made.test) == pytest.approx(0.4129, abs=5e-5)
    assert r2_of_least_squares([with_day.train, with_day.val], with_day.test) == pytest.approx(0.46, abs=5e-3)


def test_nyse_is_scaled_by_its_training_days_and_keeps_time() -> None:
    made = NYSE(lags=1).load()
    seen = np.concatenate([made.train.x[:, 0, :], made.val.x[:1, 0, :]])  # each training day once
    assert seen.mean(0) == pytest.approx(0.0, abs=1e-5)
    assert seen.std(0) == pytest.approx(1.0, abs=1e-5)
    assert made.train.x[1:, 0, 1] == pytest.approx(made.train.y[:-1, 0])
    assert made.val.x[0, 0, 1] == pytest.approx(made.train.y[-1, 0])
    assert made.test.x[0, 0, 1] == pytest.approx(made.val.y[-1, 0])


def test_credit_default_keeps_every_client_and_each_split_the_share_of_defaults() -> None:
    made = CreditDefault(scaling="quantile").load()
    assert sum(len(split.x) for _, split in made.items()) == 30_000
    assert all(split.y.mean() == pytest.approx(6_636 / 30_000, abs=0.003) for _, split in made.items())
    assert CreditDefault(split_seed=1).load().test.x.tobytes() != CreditDefault().load().test.x.tobytes()


def test_rows_that_are_alike_stay_together() -> None:
    x = np.repeat(np.arange(40.0), 5)[:, None]
    y = np.repeat(np.arange(40) % 2, 5)
    parts = stratified(x, y, 0.25, 0.25, 0)
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert [len(rows) for rows in parts] == [100, 50, 50]
    assert [set(np.bincount(rows // 5)) for rows in parts] == [{0, 5}] * 3
    assert [y[rows].mean() for rows in parts] == [0.5] * 3


def test_an_altered_or_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        _files.read_table("nyse", tmp_path)
    (tmp_path / "nyse.csv.gz").write_bytes(gzip.compress(b"date,train\n1962-12-03,True\n"))
    with pytest.raises(BadInputError, match="is not the file"):
        _files.read_table("nyse", tmp_path)
    (tmp_path / "nyse.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(BadInputError, match="cannot be read"):
        _files.read_table("nyse", tmp_path)
