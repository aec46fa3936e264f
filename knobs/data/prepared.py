"""Prepared data sets: loaded once in a launch, checked, fingerprinted, and mapped by every worker. NumPy only.

Loaded arrays are never answered from an earlier launch, with one exception: a data set whose `files` promises what it
depends on. Its key then holds the contents of these files, beside knobs, spec, code and versions of packages, and the
promise is checked against the files that Python was seen to open.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from knobs import discover
from knobs.code import code_hash
from knobs.data.checks import check_splits
from knobs.data.data_warnings import warnings_about
from knobs.data.loading import draws_without_seed, load_checked, timed_load
from knobs.data.opened_files import is_listening, listen, opened_by
from knobs.data.stored import About, ArrayStore, Indexed, fingerprint_of
from knobs.errors import BadInputError, KnobsError
from knobs.provenance import packages, short_hash

if TYPE_CHECKING:
    from knobs.config import DataConfig, Splits

PERTURB, LOADING = "knobs.data.perturb", "knobs.data.loading"
"""The engine's modules that change the arrays; their code counts like the data set's own."""

KEPT_BYTES = 1 << 28
"""Bytes of arrays that are kept in memory between the check and the writing. Others are loaded again."""


@dataclass
class _Loaded:
    """A data set as this launch has loaded it."""

    about: About
    key: str
    indexed: Indexed
    splits: Splits | None = None
    """Until they are written; None if they are on disk or too many for memory."""
    remarks: list[str] = field(default_factory=list)
    """Warnings about how it loads, beside those about the arrays."""


@dataclass
class _Launch:
    """The data sets that this process has loaded, and whether it may believe an earlier one."""

    fresh: bool = False
    loaded: dict[tuple[str, Path], _Loaded] = field(default_factory=dict)


_launch = _Launch()


def begin_launch(*, fresh: bool = False) -> None:
    """Forget which data sets were loaded. Call this before content is imported. `fresh`: load each again."""
    global _launch  # noqa: PLW0603  one launch a process; tests have several
    _launch = _Launch(fresh)
    listen()


def check_loads(config: DataConfig, cache: Path) -> None:
    """Raise `BadInputError` if the data set does not load or does not fit its spec. Write nothing."""
    _loaded(config, cache)


def prepare(config: DataConfig, cache: Path) -> str:
    """Load the data set unless this launch has, put its arrays into `cache`, and return their fingerprint.

    Raise `BadInputError` as `check_loads` does, and `StoreError` if the cache cannot be written.
    """
    found, store = _loaded(config, cache), ArrayStore(cache)
    if store.about(found.about.fingerprint) is None:
        splits = found.splits
        if splits is None:
            splits = load_checked(config)
            fingerprint = fingerprint_of(config.spec(), splits)
            if fingerprint != found.about.fingerprint:
                raise BadInputError(f"data.{config.kind}: {_UNSEEDED}")
        store.write(splits, found.about)
    found.splits = None
    if is_listening():
        store.note(found.key, found.indexed)
    return found.about.fingerprint


def about_prepared(config: DataConfig, cache: Path) -> About | None:
    """Return what is known of a data set that this launch has loaded; None if it has not."""
    found = _launch.loaded.get((_identity(config), cache))
    return replace(found.about, warnings=[*found.remarks, *found.about.warnings]) if found else None


def known_fingerprint(config: DataConfig, cache: Path) -> str:
    """Return the fingerprint of a data set's current arrays if it is known without loading them; otherwise empty."""
    if found := _launch.loaded.get((_identity(config), cache)):
        return found.about.fingerprint
    found = _answered(config, _promised(config), ArrayStore(cache))
    return found.about.fingerprint if found else ""


def open_prepared(config: DataConfig, cache: Path, fingerprint: str = "") -> Splits:
    """Return the prepared arrays, mapped into memory (copy on write: no process changes another's arrays).

    With a fingerprint, return exactly those arrays, even if the files have changed since. Raise `BadInputError` if they
    are gone and cannot be made again, or if the data set's spec is no longer theirs.
    """
    store = ArrayStore(cache)
    about = store.about(fingerprint) if fingerprint else None
    if about is None:
        now = prepare(config, cache)
        if fingerprint not in ("", now):
            raise BadInputError(f"the arrays of data set {config.kind} changed from {fingerprint[:12]} to {now[:12]}")
        about = store.about(now)
        assert about is not None
    spec = config.spec()
    if about.spec != str(spec):
        raise BadInputError(f"the spec of data set {config.kind} changed from {about.spec} to {spec}")
    splits = store.open(about.fingerprint, train_on_disk=spec.shard > 0)
    return check_splits(config.kind, spec, splits, finite=not spec.shard)


_UNSEEDED = "two loads gave different arrays; load() draws without a seed"


def _loaded(config: DataConfig, cache: Path) -> _Loaded:
    """Return the data set as this launch has loaded it; load it now if it has not."""
    identity = (_identity(config), cache)
    if identity not in _launch.loaded:
        _launch.loaded[identity] = _load(config, ArrayStore(cache))
    return _launch.loaded[identity]


def _load(config: DataConfig, store: ArrayStore) -> _Loaded:
    files = _promised(config)
    if found := _answered(config, files, store):
        return found
    splits, seconds = timed_load(config)
    spec, key = config.spec(), _key(config, files)
    fingerprint, earlier = fingerprint_of(spec, splits), store.indexed(key)
    remarks = []
    if draws_without_seed(config, fingerprint, earlier.fingerprint if earlier else "", seconds):
        remarks.append(f"{_UNSEEDED}, so no run can be reproduced")
    if others := _unpromised(config, files) if files is not None else []:
        remarks.append(f"files() does not name {others[0]}, which it reads; so it is loaded in each launch")
    indexed = Indexed(fingerprint, current=files is not None and not remarks)
    if about := store.about(fingerprint):
        return _Loaded(about, key, indexed, remarks=remarks)
    rows = {name: len(split.x) for name, split in splits.items()}
    about = About(fingerprint, str(spec), rows, warnings_about(spec, splits))
    kept = _bytes(splits) + sum(_bytes(found.splits) for found in _launch.loaded.values())
    return _Loaded(about, key, indexed, splits if kept <= KEPT_BYTES else None, remarks)


def _answered(config: DataConfig, files: list[Path] | None, store: ArrayStore) -> _Loaded | None:
    """Return arrays of an earlier launch if the data set promises its files and nothing has changed; otherwise None."""
    if files is None or _launch.fresh or _unpromised(config, files):
        return None
    key = _key(config, files)
    earlier = store.indexed(key)
    about = store.about(earlier.fingerprint) if earlier and earlier.current else None
    return _Loaded(about, key, earlier) if about and earlier else None


def _bytes(splits: Splits | None) -> int:
    return sum(split.x.nbytes + split.y.nbytes for _, split in splits.items()) if splits else 0


def _identity(config: DataConfig) -> str:
    """Return a text that is equal for configs of one class with equal data knobs. The batch size changes no array."""
    knobs = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "batch_size"}
    return json.dumps([type(config).__module__, type(config).__qualname__, knobs], sort_keys=True)


def _key(config: DataConfig, files: list[Path] | None) -> str:
    """Return a name that is equal as long as nothing changes that the arrays may depend on, if the promise holds."""
    root = discover.current_root()
    contents = [[_shown(path, root), file_hash(path)] for path in files or []]
    code = code_hash([type(config).__module__, PERTURB, LOADING])
    try:
        spec = str(config.spec())
    except KnobsError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(f"the spec of data set {config.kind} raises {type(error).__name__}: {reason}") from error
    facts = [_identity(config), spec, code, short_hash(packages()), contents]
    return f"{config.kind}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"


def _promised(config: DataConfig) -> list[Path] | None:
    """Return the files that a data set says it depends on; None if it says nothing. A missing one is bad input."""
    try:
        named = config.files()
        files = None if named is None else sorted({discover.current_root() / Path(path) for path in named})
    except KnobsError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(f"files() of data set {config.kind} raises {type(error).__name__}: {reason}") from error
    for path in files or []:
        if not path.is_file():
            raise BadInputError(f"data.{config.kind}: files() names {path}, which is no file")
    return files


def _unpromised(config: DataConfig, files: list[Path]) -> list[str]:
    """Return the files that the data set's code has opened in this process although it does not name them."""
    root = discover.current_root()
    named = {path.resolve() for path in files}
    return sorted(_shown(path, root) for path in opened_by(config.kind) if path.resolve() not in named)


def _shown(path: Path, root: Path) -> str:
    """Return a path relative to the project if it is within: a copy of the project has files of its own."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def file_hash(path: Path) -> str:
    """Return a hash of a file's bytes. Raise `BadInputError` if it cannot be read."""
    try:
        stat = path.stat()
        return _hash_once(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from None


@functools.cache
def _hash_once(path: Path, *_unchanged: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
