"""Checkpoints are complete or absent. Reading one never runs code inside it."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ROOT

from knobs import BadInputError
from knobs.errors import StoreError
from knobs.training import newest_checkpoints
from knobs.training.checkpoint import FORMAT, load_checkpoint, save_checkpoint

STATE: dict[str, Any] = {
    "config": '{"seed": 0}',
    "step": 7,
    "values": {"val/loss": 0.1 + 0.2, "tiny": 5e-324},
    "none": None,
    "network": {"weight": torch.randn(64, 64), "count": torch.tensor(3), "wide": torch.randn(3, dtype=torch.float64)},
    "rng": torch.get_rng_state(),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(STATE, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def same(mine: Any, other: Any) -> bool:
    if isinstance(mine, dict):
        return mine.keys() == other.keys() and all(same(mine[key], other[key]) for key in mine)
    if isinstance(mine, torch.Tensor):
        return mine.dtype == other.dtype and torch.equal(mine, other)
    return bool(mine == other)


def test_what_is_saved_is_read_back_to_the_bit(saved: Path) -> None:
    read = load_checkpoint(saved, config='{"seed": 0}')
    assert same({key: read[key] for key in STATE}, STATE)
    assert [path.name for path in saved.parent.iterdir()] == ["a.ckpt"]


def test_another_configs_checkpoint_is_refused(saved: Path) -> None:
    with pytest.raises(BadInputError, match="a checkpoint of another config"):
        load_checkpoint(saved, config='{"seed": 1}')


def refused(path: Path | str) -> str:
    with pytest.raises(BadInputError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved: Path, kept: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * kept)])
    refused(saved)


def test_no_flipped_byte_goes_unnoticed(saved: Path) -> None:
    """Either the file is refused or it gives the saved state (if the byte is padding or in a copied name)."""
    whole = saved.read_bytes()
    chosen = random.Random(0).sample(range(len(whole)), 1000)
    refusals = 0
    for place in chosen:
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        saved.write_bytes(damaged)
        try:
            read = load_checkpoint(saved)
        except BadInputError:
            refusals += 1
        else:
            assert same({key: read[key] for key in STATE}, STATE)
    assert refusals > 850


def test_bytes_flipped_within_a_tensor_are_a_wrong_checksum(saved: Path) -> None:
    damaged = bytearray(saved.read_bytes())
    place = damaged.index(STATE["network"]["weight"].numpy().tobytes())
    damaged[place + 100] ^= 1
    saved.write_bytes(damaged)
    assert "wrong checksum" in refused(saved)


class Bomb:
    """An object that creates a file if it is unpickled without restrictions."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.mark}",))


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("where", ["an object", "a plain pickle", "the archive's pickle"])
def test_a_malicious_pickle_is_never_run(
    where: str, forced: bool, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    mark = saved.parent / "mark"
    if where == "an object":
        torch.save({**STATE, "format": FORMAT, "more": Bomb(mark)}, saved)
    elif where == "a plain pickle":
        saved.write_bytes(pickle.dumps(Bomb(mark)))
    else:
        with zipfile.ZipFile(saved) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(saved, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, pickle.dumps(Bomb(mark)) if name.endswith("data.pkl") else content)
    refused(saved)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:1/a.ckpt", "https://x/a.ckpt", "file:///tmp/a.ckpt", "s3://bucket/a.ckpt"]
)
def test_only_local_files_are_opened(name: str) -> None:
    assert "local files only" in refused(name)


def test_what_is_no_checkpoint_of_ours_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.ckpt")
    refused(tmp_path)
    for number, content in enumerate([[1, 2], {"format": 99}, {"step": 1}, torch.zeros(2)]):
        path = tmp_path / f"{number}.ckpt"
        torch.save(content, path)
        assert "not a checkpoint of this version" in refused(path)


def test_a_failed_write_leaves_the_old_one(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save_checkpoint({**STATE, "not": lambda: None}, saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["a.ckpt"]


def test_where_it_cannot_be_written_the_store_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.ckpt", Path("/dev/full/a.ckpt")):
        with pytest.raises(StoreError, match="cannot be written"):
            save_checkpoint(STATE, path)


def test_an_unfinished_file_counts_as_none(tmp_path: Path) -> None:
    for attempt, names in {"attempt-1": [5, 20], "attempt-2": [15, 20], "attempt-10": [20]}.items():
        (tmp_path / attempt).mkdir()
        for step in names:
            save_checkpoint(STATE, tmp_path / attempt / f"step-{step:012d}.ckpt")
        (tmp_path / attempt / f".step-{99:012d}.ckpt.123").write_bytes(b"unfinished")
        save_checkpoint(STATE, tmp_path / attempt / "best.ckpt")
    found = newest_checkpoints(tmp_path)
    assert [int(path.stem.removeprefix("step-")) for path in found] == [20, 20, 20, 15, 5]


WRITER = """
import sys, torch
from pathlib import Path
from knobs.training.checkpoint import save_checkpoint
state = {"config": "c", "tensors": [torch.full((500_000,), float(n)) for n in range(4)]}
print("go", flush=True)
step = 0
while True:
    step += 1
    save_checkpoint({**state, "step": step}, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_killed_at_any_instant_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    steps = set()
    for round_ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "go\n"
        time.sleep(0.3 + 0.0137 * round_)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        read = load_checkpoint(path, config="c")
        assert [tensor[0].item() for tensor in read["tensors"]] == [0.0, 1.0, 2.0, 3.0]
        steps.add(read["step"])
    assert steps
