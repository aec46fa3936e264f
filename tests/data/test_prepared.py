"""Prepared arrays: what a fingerprint depends on, and that the cache gives back what was loaded."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from support import ROOT

from datamodules.toy import Toy
from knobs import Split, Splits
from knobs.data import begin_launch, hash_splits, open_prepared, prepare
from knobs.data.stored import fingerprint_of


def test_a_fingerprint_is_of_names_shapes_types_and_bytes() -> None:
    splits = Toy(samples=16).load()
    train = splits.train
    others = [
        replace(splits, train=Split(train.x.astype(np.float64), train.y)),
        replace(splits, train=Split(train.x.reshape(8, 16), train.y)),
        replace(splits, train=Split(np.nextafter(train.x, np.float32(9)), train.y)),
        replace(splits, train=Split(train.x, train.y[::-1])),
        replace(splits, train=Split(train.x[:-1], train.y[:-1])),
        Splits(train=train, val=splits.test, test=splits.val),
    ]
    assert len({hash_splits(made) for made in [splits, *others]}) == 7
    assert hash_splits(replace(splits, train=Split(np.asfortranarray(train.x), train.y))) == hash_splits(splits)


def test_prepared_data_is_what_was_loaded(tmp_path: Path) -> None:
    config = Toy(samples=16)
    fingerprint = prepare(config, tmp_path)
    assert fingerprint == fingerprint_of(config.spec(), config.load()) == prepare(config, tmp_path)
    arrays = hash_splits(config.load())
    assert hash_splits(open_prepared(config, tmp_path)) == arrays
    assert prepare(replace(config, batch_size=3), tmp_path) == fingerprint  # not a property of the arrays
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == [fingerprint[:16]]
    assert prepare(replace(config, seed=1), tmp_path) != fingerprint
    opened = open_prepared(config, tmp_path)
    opened.train.x[:] = 0.0  # changes only this process's memory
    begin_launch()
    assert hash_splits(open_prepared(config, tmp_path, fingerprint)) == arrays


def test_several_may_prepare_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from knobs import discover; discover.activate(Path.cwd())\n"
        "from knobs import data; data.begin_launch(); from datamodules.toy import Toy\n"
        "print(data.prepare(Toy(samples=20000), Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate(timeout=120)[0] for process in started}
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == 64
    assert [path.name[:4] for path in (tmp_path / "cache" / "index").iterdir()] == ["toy-"]
    assert len(list((tmp_path / "cache" / "arrays").iterdir())) == 1
