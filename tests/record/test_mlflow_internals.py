"""Every private name of MLflow in `knobs/record/stores/mlflow_internals.py`: a new version that changes one fails by
name. No other file of knobs reads a private name of MLflow, Optuna or SQLAlchemy, or listens to engines of others."""

from __future__ import annotations

import ast
import inspect
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import sqlalchemy
from private_names import is_private, private_names, resolve
from support import ROOT
from written_records import a_study, new_tracker, record_study

from knobs.record.curves import read_curves
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.training import CurvePoint

FILE = ROOT / "knobs" / "record" / "stores" / "mlflow_internals.py"
OPTUNA = ROOT / "knobs" / "search" / "optuna_internals.py"

SIGNATURES = {
    "mlflow.store.db.utils._get_schema_version": ["engine"],
    "mlflow.store.db.utils._get_latest_schema_revision": [],
    "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore._get_or_create_engine": ["db_uri"],
}
"""Private functions, and the parameters that we pass."""


def changed(name: str) -> str:
    return f"{name} is private to MLflow and has changed in {mlflow.__version__}; see {FILE.relative_to(ROOT)}"


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("internals"))


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_private_function_takes_what_we_pass(name: str) -> None:
    found = resolve(name)
    assert found is not None, changed(name)
    assert list(inspect.signature(found).parameters) == SIGNATURES[name], changed(name)


def test_every_private_name_of_the_file_has_a_test() -> None:
    assert private_names(FILE) <= {name.rpartition(".")[2] for name in SIGNATURES}


def test_there_is_one_engine_per_address_and_it_is_the_one_that_mlflow_uses(tracker: Tracker) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    from knobs.record.stores.mlflow_internals import sqlite_uri

    name = "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore._get_or_create_engine"
    engine = SqlAlchemyStore._get_or_create_engine(sqlite_uri(tracker.places.database))
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    tracker.experiments()
    sqlalchemy.event.remove(engine, "before_cursor_execute", note)
    assert statements, changed(name)
    waits = [statement for statement in statements if "busy_timeout" in statement]
    assert waits, changed("the statement PRAGMA busy_timeout of mlflow.store.db.utils")
    assert all(statement == "PRAGMA busy_timeout = 1000" for statement in waits), waits


def test_a_database_of_another_version_is_recognised(tracker: Tracker, tmp_path: Path) -> None:
    from knobs.record.stores.mlflow_internals import is_of_other_version, sqlite_uri

    copy = tmp_path / "mlflow.db"
    copy.write_bytes(tracker.places.database.read_bytes())
    assert not is_of_other_version(sqlite_uri(copy)), changed("mlflow.store.db.utils._get_schema_version")
    engine = sqlalchemy.create_engine(f"sqlite:///{copy}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("update alembic_version set version_num = 'f00d'"))
    engine.dispose()
    assert is_of_other_version(sqlite_uri(copy)), changed("mlflow.store.db.utils._get_latest_schema_revision")


def test_curves_of_the_table_are_the_curves_of_the_client(tracker: Tracker) -> None:
    study = record_study(tracker, "curves", a_study(), trials=2)
    run = study.trials[0].row.id
    odd = {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 1e300}
    tracker.log(run, [CurvePoint(step=step, values=odd, time_ms=step) for step in (7, 3)])
    row = tracker.get(run)
    wanted = {name: [(step, repr(value)) for step, value in tracker.curve(run, name)] for name in row.metrics}
    found = read_curves(tracker, [row])[run]
    shown = {name: [(step, repr(value)) for step, value in points] for name, points in found.items()}
    assert shown == wanted, changed("the table metrics")


def test_the_tables_and_loggers_are_those_of_mlflow(tracker: Tracker) -> None:
    from knobs.record.stores.mlflow_internals import LOGGERS, TABLES

    engine = sqlalchemy.create_engine(f"sqlite:///{tracker.places.database}")
    assert set(sqlalchemy.inspect(engine).get_table_names()) >= TABLES, changed("the tables of a new database")
    engine.dispose()
    for name in LOGGERS:
        assert name in logging.root.manager.loggerDict, changed(f"the logger {name}")


# The pages


def bundle() -> str:
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.js")))


def test_the_pages_read_the_views_that_we_save() -> None:
    from knobs.pages.views import View, metric, shared_link, shared_tag, tag
    from knobs.record.stores.mlflow_internals import MOST_VIEW_CHARACTERS, SHARED_VIEW, SHARED_VIEW_VERSIONS

    assert mlflow.__version__.startswith(SHARED_VIEW_VERSIONS), changed("the views that pages read")
    assert mlflow.utils.validation.MAX_EXPERIMENT_TAG_VAL_LENGTH == MOST_VIEW_CHARACTERS, changed("the longest tag")
    view = View(
        key="k", title="T", filters="f", order_by=metric("m"), columns=(metric("m"),), group_by=(tag("a"),),
        closed=("x",), curves=("m",), parallel=("p",), objective="m",
    )  # fmt: skip
    (saved,) = shared_tag(view, 0).values()
    state = json.loads(json.loads(saved)["state"])
    names = {SHARED_VIEW, *json.loads(saved), *state, *state["groupBy"], *state["groupBy"]["groupByKeys"][0]}
    names |= {name for key in ("compareRunCharts", "compareRunSections") for item in state[key] for name in item}
    names |= set(re.findall(r"[?&](\w+)=", shared_link("", "1", view, charts=True))) - {"workflowType"}
    pages = bundle()
    for name in sorted(names):
        assert name in pages, changed(f"{name} in saved views")


# Nothing else is private


def foreign(node: ast.AST) -> Iterator[str]:
    """Yield the private names of MLflow, Optuna or SQLAlchemy that this node imports or reads."""
    packages = ("mlflow", "optuna", "sqlalchemy")
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in packages:
        yield from filter(is_private, [*(node.module or "").split("."), *(alias.name for alias in node.names)])
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] in packages:
                yield from filter(is_private, alias.name.split("."))
    if isinstance(node, ast.Attribute) and is_private(node.attr):
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if not (isinstance(root, ast.Name) and root.id in ("self", "cls", "os", "sys", "torch")):
            yield node.attr


def sources() -> list[Path]:
    return [path for path in sorted((ROOT / "knobs").rglob("*.py")) if "training" not in path.parts]


def test_no_other_file_reads_private_names() -> None:
    """Training knows neither of these packages; import-linter holds that."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        if path not in (FILE, OPTUNA)
        for node in ast.walk(ast.parse(path.read_text()))
        for name in foreign(node)
    }
    assert found == set()


def test_events_are_bound_to_engines_of_ours_and_to_no_class() -> None:
    listened = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and re.search(r"event\.listen(s_for)?$", called):
                listened.append((path.name, ast.unparse(node.args[0])))
    assert len(listened) >= 2
    for path_name, target in listened:
        assert target.rpartition(".")[2][:1].islower(), f"{path_name} listens to {target}: all engines of the process"


@pytest.mark.parametrize("made", ["before", "after"])
def test_a_users_own_engine_keeps_its_waits(made: str, tmp_path: Path) -> None:
    def own() -> sqlalchemy.Engine:
        return sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'own.db'}", connect_args={"timeout": 7})

    engine = own() if made == "before" else None
    tracker = new_tracker(tmp_path)
    tracker.experiments()
    engine = engine or own()
    with engine.connect() as connection:

        def wait() -> object:
            return connection.execute(sqlalchemy.text("PRAGMA busy_timeout")).scalar()

        assert wait() == 7000
        connection.execute(sqlalchemy.text("PRAGMA busy_timeout = 30000"))
        assert wait() == 30000
        assert connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar() == 2
    engine.dispose()
    assert Tracker(StoreLocations(tmp_path, tmp_path / "mlruns")).experiments()
