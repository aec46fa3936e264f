"""`--init-from RUN`: a run starts from the weights of another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import Done, quick
from trainings import toy_config

from knobs.errors import BadInputError
from knobs.record.queries import runs_of_kind
from knobs.record.schema import Artifact, Kind, Tag
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.training.batch.rule import batch_key
from knobs.training.checkpoint import save_checkpoint
from knobs.training.initial_weights import load_initial_weights


def saved(network: torch.nn.Module, folder: Path) -> Path:
    path = folder / "best.ckpt"
    save_checkpoint({"config": "", "step": 1, "network": network.state_dict()}, path)
    return path


def test_weights_are_taken_where_name_and_shape_fit(tmp_path: Path) -> None:
    spec = toy_config().data.spec()
    small, deep = (toy_config(model__depth=depth).model.build(spec) for depth in (1, 2))
    before = {name: tensor.clone() for name, tensor in deep.state_dict().items()}
    line = load_initial_weights(deep, saved(small, tmp_path))
    assert (
        line == "initial weights: 2 of 6 tensors from another run; the model's own: 2.weight, 2.bias, 4.weight, 4.bias"
    )
    for name, tensor in deep.state_dict().items():
        wanted = small.state_dict()[name] if name in ("0.weight", "0.bias") else before[name]
        assert torch.equal(tensor, wanted)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no weight of that run"):
        load_initial_weights(torch.nn.Linear(2, 2), saved(torch.nn.Linear(3, 3), tmp_path))


def test_such_runs_train_alone() -> None:
    assert batch_key(toy_config(), "cpu")
    assert not batch_key(toy_config().with_knobs({"training.init_from": "x"}), "cpu")


STUDY = '''"""Toys."""

from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

study = Study(
    baseline=RunConfig(model=MLP(depth=1, width=8), data=Toy(), optimizer=SGD(lr=0.1), schedule=Constant(),
                       training=Training(max_steps=60, val_every=20)),
    space=lambda trial, baseline: baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 0.01, 1.0)}),
    metric="val/loss",
    direction="minimize",
)
'''


@pytest.mark.slow
def test_a_run_goes_on_where_another_ended(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "toys.py").write_text(STUDY)
    store = tmp_path / "store"

    def run(*arguments: str) -> Done:
        return quick("run", "toys", "--devices", "cpu:1", *arguments, store=store, cwd=tmp_path)

    assert run().code == 0
    tracker = Tracker(StoreLocations(tmp_path, store))
    (first,) = runs_of_kind(tracker, Kind.RUN)
    done = run("--init-from", first.id)
    assert done.code == 0, done
    second = runs_of_kind(tracker, Kind.RUN)[0]
    assert second.params["training.init_from"] == first.id
    assert Tag.REUSED_FROM not in second.tags
    assert "initial weights: 4 of 4 tensors" in (tracker.text(second, Artifact.LOG) or "")
    losses = [tracker.curve(row.id, "val/loss") for row in (first, second)]
    assert losses[1][0][1] < losses[0][-1][1] < losses[0][0][1]
    again = quick("reproduce", second.id, store=store, cwd=tmp_path)
    assert again.code == 0, again
    refused = run("--init-from", "nothing")
    assert (refused.code, refused.err) == (
        2, "knobs: training.init_from: no run 'nothing' in this store; `knobs status` lists what there is\n",
    )  # fmt: skip
