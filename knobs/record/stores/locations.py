"""Paths and addresses of a project's stores."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from knobs.errors import BadInputError, StoreError


@dataclass(frozen=True)
class StoreLocations:
    """Paths and addresses of one project's stores."""

    root: Path
    """The project root."""
    folder: Path
    """`mlruns/`, or the folder that `KNOBS_MLRUNS` names."""
    tracking_uri: str | None = None
    """A team's MLflow server or database. None: SQLite in `folder`."""
    storage: str | None = None
    """A team's Optuna database. None: SQLite in `folder`."""

    @classmethod
    def of(cls, root: Path, storage: str | None = None) -> StoreLocations:
        """Return the locations that `KNOBS_MLRUNS` and `MLFLOW_TRACKING_URI` name, or the defaults below `root`."""
        folder = Path(os.environ.get("KNOBS_MLRUNS") or root / "mlruns").expanduser().resolve()
        tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or None
        if found := next((mark for mark in "?%" if mark in str(folder)), ""):
            raise BadInputError(
                f"{folder} holds a {found}, which MLflow cannot have in a database's address: "
                "rename the folder, or set KNOBS_MLRUNS to another one"
            )
        return cls(root, folder, tracking_uri and _with_driver(tracking_uri), storage and _with_driver(storage))

    @property
    def database(self) -> Path:
        """MLflow's SQLite file."""
        return self.folder / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Files of the runs."""
        return self.folder / "artifacts"

    @property
    def optuna_url(self) -> str:
        """Optuna's store; its own tools open it."""
        return self.storage or f"sqlite:///{self.folder / 'optuna.db'}"

    @property
    def scratch(self) -> Path:
        """Checkpoints of runs that have not ended."""
        return self.folder / "scratch"

    @property
    def cache(self) -> Path:
        """Prepared data sets."""
        return self.folder / "data"

    @property
    def locks(self) -> Path:
        """One file per study. The driver that runs the study holds it."""
        return self.folder / "locks"

    def make(self) -> None:
        """Make the folders. Raise `StoreError` if they cannot be written."""
        try:
            for folder in (self.folder, self.artifacts, self.scratch, self.cache, self.locks):
                folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe-{os.getpid()}"
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}") from None


def _with_driver(address: str) -> str:
    """Name the installed driver: SQLAlchemy 2.1 takes `postgresql://` for psycopg 3, earlier versions for psycopg2."""
    scheme = "postgresql://"
    if address.startswith(scheme) and find_spec("psycopg2") and not find_spec("psycopg"):
        return f"postgresql+psycopg2://{address.removeprefix(scheme)}"
    return address


def without_password(text: str) -> str:
    """Return the text with the password of every address in it replaced by `***`."""
    text = re.sub(r"(\w[\w+.-]*://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s]+", r"\1***", text)
