"""Read the tables in `data/` and check each against its checksum."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from pathlib import Path

from knobs import BadInputError

FOLDER = Path(__file__).resolve().parent / "data"

SHA256 = {
    "nyse": "79adf3649c3a69d4a194f631953d28885183580ce60d09f306c07c5fe99ce7a1",
    "credit_default": "31492042b2dc057abe36b7795c190e985b6d91d11253c8154a0866c7aedd7a54",
}
"""Checksums of the uncompressed CSV, which do not depend on the compressor."""


def read_table(name: str, folder: Path = FOLDER) -> dict[str, list[str]]:
    """Return each column of `<name>.csv.gz` as text, by header. Raise `BadInputError` if it is missing or altered."""
    path = folder / f"{name}.csv.gz"
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise BadInputError(
            f"{path} is not the file that this project ships: sha256 {found[:12]}..., not {SHA256[name][:12]}..."
        )
    header, *rows = csv.reader(io.StringIO(content.decode()))
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
