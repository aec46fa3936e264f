"""Checkpoints that survive: written to a temporary file, fsynced, renamed; read without ever unpickling code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from knobs.errors import BadInputError

FORMAT = 1


def save(state: dict[str, Any], path: Path) -> None:
    """Write primitives and tensors to `path`: whole or not at all, whatever kills the process."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        torch.save({"format": FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: str | Path, *, config: str | None = None, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; `config` is the JSON of the run that it must belong to.

    Raises `BadInputError`, one line, where the file is missing, damaged (each record's checksum is verified), from
    another config, or holds anything but primitives and tensors.
    """
    name = str(path)
    if "://" in name:
        raise BadInputError(f"{name}: checkpoints are read from local files only")
    try:
        with zipfile.ZipFile(name) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInputError(f"{name}: not a readable checkpoint: {error}") from None
    if damaged:
        raise BadInputError(f"{name}: damaged checkpoint: {damaged} has a wrong checksum")
    try:  # weights_only given outright is above TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD
        state = torch.load(name, map_location=device, weights_only=True)
    except Exception as error:  # whatever a file can make the restricted unpickler raise
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(f"{name}: refused checkpoint, it holds more than tensors and numbers: {reason}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise BadInputError(f"{name}: not a checkpoint of this version of knobs")
    if config is not None and state.get("config") != config:
        raise BadInputError(f"{name}: a checkpoint of another config; it does not belong to this run")
    return state
