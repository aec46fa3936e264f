"""Checkpoint files. They are written to a temporary file, fsynced and renamed, and read without unpickling any code."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from knobs.errors import BadInputError, StoreError

if TYPE_CHECKING:
    from knobs.devices import DeviceKind

FORMAT = 1


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write primitives and tensors, on any device, to `path`; see `write_checkpoint`."""
    write_checkpoint(_with_tensors(state, lambda tensor: tensor.detach().cpu()), path)


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write primitives and tensors of the CPU to `path`. The file is whole or absent, even if the process is killed.

    Raise `StoreError` if it cannot be written. No error of a device can arise here.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, "hash": _state_hash(state), **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()  # free the space: the disk may be full
        if isinstance(error, OSError | RuntimeError):  # torch raises RuntimeError if the disk is full
            reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
            raise StoreError(f"{path} cannot be written: {reason}") from None
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def copy_to_host(state: dict[str, Any], kind: DeviceKind) -> dict[str, Any]:
    """Return a copy of a state that shares no memory with it. Its tensors are on a device of this kind or on the CPU.

    The device is waited for once.
    """
    found: dict[int, torch.Tensor] = {}
    _with_tensors(state, lambda tensor: found.setdefault(id(tensor), tensor))
    copies = dict(zip(found, kind.to_host(list(found.values())), strict=True))
    copied: dict[str, Any] = _with_tensors(state, lambda tensor: copies[id(tensor)])
    return copied


def tensor_bytes(state: dict[str, Any]) -> int:
    """Return the bytes of all tensors in a state."""
    sizes: list[int] = []
    _with_tensors(state, lambda tensor: sizes.append(tensor.nbytes))
    return sum(sizes)


def _with_tensors(state: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Return a copy of nested dicts, lists and tuples in which every tensor is changed."""
    if isinstance(state, torch.Tensor):
        return change(state)
    if isinstance(state, dict):
        return {key: _with_tensors(value, change) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_with_tensors(value, change) for value in state)
    return state


def load_checkpoint(path: str | Path, *, config: str | None = None) -> dict[str, Any]:
    """Read a file of `save_checkpoint` to the CPU. If `config` is given, it must be the JSON of the checkpoint's run.

    Raise `BadInputError`, one line, if the file is missing, is damaged (its hash is checked), belongs to another
    config, or holds anything but primitives and tensors.
    """
    name = str(path)
    if "://" in name:
        raise BadInputError(f"{name}: checkpoints are read from local files only")
    try:
        with zipfile.ZipFile(name) as archive:
            damaged = archive.testzip()
    except Exception as error:  # a flipped byte makes zipfile raise many kinds of errors
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(f"{name}: not a readable checkpoint: {reason}") from None
    if damaged:
        raise BadInputError(f"{name}: damaged checkpoint: {damaged} has a wrong checksum")
    try:  # an explicit weights_only overrides TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD
        state = torch.load(name, map_location="cpu", weights_only=True)
    except Exception as error:  # a file can make the restricted unpickler raise anything
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(f"{name}: refused checkpoint, it holds more than tensors and numbers: {reason}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise BadInputError(f"{name}: not a checkpoint of this version of knobs")
    if state.pop("hash", None) != _state_hash({key: value for key, value in state.items() if key != "format"}):
        raise BadInputError(f"{name}: damaged checkpoint: its content differs from what was saved")
    if config is not None and state.get("config") != config:
        raise BadInputError(f"{name}: a checkpoint of another config; it does not belong to this run")
    return state


def _state_hash(state: Any) -> str:
    """Return a hash of everything in a state. An archive's own checksums do not cover its directory."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            digest.update(f"{len(value)} names ".encode())
            for key, inner in value.items():
                digest.update(f"{key!r} ".encode())
                add(inner)
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)} values ".encode())
            for inner in value:
                add(inner)
        else:
            digest.update(f"{value!r} ".encode())

    add(state)
    return digest.hexdigest()
