"""A store that was moved or copied is followed; a path that no address can name is refused in a line."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import ROOT, python
from written_records import a_study, new_tracker, record_study

from knobs.errors import BadInputError
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

AGAIN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
from support import ROOT, python
from written_records import a_study, record_study
from knobs.record.reader import read_recorded
from knobs.record.schema import Artifact
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
new = Path(sys.argv[1])
tracker = Tracker(StoreLocations(new, new / "mlruns"))
assert tracker.text(read_recorded(tracker, "a study").parent, Artifact.DEFINITION)
record_study(tracker, "a study", a_study(), trials=3)
"""


def addresses(places: StoreLocations) -> set[str]:
    """Every address of artifacts in the database."""
    with closing(sqlite3.connect(places.database)) as connection:
        rows = connection.execute("select artifact_location from experiments union select artifact_uri from runs")
        return {place for (place,) in rows if "artifacts" in place}


@pytest.mark.slow
@pytest.mark.parametrize(("how", "name"), [("moved", "a#b & é"), ("copied", "with blank")])
def test_records_name_the_files_beside_them(how: str, name: str, tmp_path: Path) -> None:
    old = tmp_path / "old place"
    old.mkdir()
    tracker = new_tracker(old)
    record_study(tracker, "a study", a_study(), trials=2)
    tracker.experiment("of knobs")
    tracker.client.create_experiment("foreign", artifact_location="s3://bucket/artifacts/foreign")
    before = addresses(tracker.places)
    new = tmp_path / name
    (shutil.move if how == "moved" else shutil.copytree)(old, new)
    places = StoreLocations(new, new / "mlruns")
    done = python(AGAIN, str(new), store=places.folder)  # MLflow keeps addresses in memory, so in another process
    assert done.code == 0, done
    after = addresses(places)
    own = places.artifacts.as_uri()
    assert len(after) > len(before)
    assert all(place.startswith(f"{own}/") for place in after if not place.startswith("s3:"))
    assert "s3://bucket/artifacts/foreign" in after
    if how == "moved":
        assert not old.exists()  # nothing was written at the old place
    else:
        assert addresses(tracker.places) == before  # the original is as it was


def test_a_store_that_stays_is_not_written(tmp_path: Path) -> None:
    tracker = new_tracker(tmp_path)
    record_study(tracker, "stays", a_study(), trials=1)
    before = tracker.places.database.read_bytes()
    tracker.places.database.chmod(0o400)
    Tracker(tracker.places)
    assert tracker.places.database.read_bytes() == before


@pytest.mark.parametrize("mark", ["?", "%"])
def test_a_path_that_no_address_can_name_is_refused(mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOBS_MLRUNS", str(tmp_path / f"a{mark}20b"))
    with pytest.raises(BadInputError, match="rename the folder, or set KNOBS_MLRUNS"):
        StoreLocations.of(tmp_path)
    assert list(tmp_path.iterdir()) == []
