"""The schema of the record: its names, its states, and that every value fits into every store."""

import ast
import contextlib
import dataclasses
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import postgres
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_pool import ENVIRONMENT
from support import ROOT, quick
from written_records import BASELINE, a_study, an_ablation, new_tracker, record_ablation, record_study

from knobs import BadInputError, Reference, RunConfig, Training, discover
from knobs.config import KINDED, metric_names, text_of
from knobs.config.run import kind_class
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.run_recorder import RunRecorder
from knobs.launch.plans import PlannedRun
from knobs.record import schema
from knobs.record.queries import counted_trials, parent_of, runs_under
from knobs.record.reader import read_recorded
from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import recorded_config
from knobs.record.schema import MOST_TAG_CHARACTERS, Artifact, Kind, MlflowTag, Tag, bounded
from knobs.record.states import STATES, StateName
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_internals import MOST_VIEW_CHARACTERS
from knobs.record.stores.mlflow_store import Tracker
from knobs.training.messages import State

# Names


def names_of(cls: type) -> dict[str, str]:
    return {name: value for name, value in vars(cls).items() if name.isupper()}


def test_tags_have_the_names_under_which_people_look_for_them() -> None:
    """These are frozen: a store that exists has them."""
    pinned = {
        *("knobs.schema", "knobs.kind", "knobs.state", "knobs.study", "knobs.trial", "knobs.ablation", "knobs.cell"),
        *("knobs.level.", "knobs.config", "knobs.seed", "knobs.digest", "knobs.identity", "knobs.execution"),
        *("knobs.code", "knobs.data_fingerprint", "knobs.winner", "knobs.reused_from", "knobs.git_commit"),
    }
    assert pinned <= set(names_of(Tag).values())
    assert names_of(MlflowTag)["PARENT"] == "mlflow.parentRunId"
    assert names_of(MlflowTag)["NOTE"] == "mlflow.note.content"
    assert set(names_of(Kind).values()) == {
        *("study", "trial", "ablation", "cell", "seed", "run", "reference", "reproduction", "replicate"),
    }
    assert schema.VERSION == "1"


def test_no_two_tags_have_one_name() -> None:
    every = [*names_of(Tag).values(), *names_of(MlflowTag).values()]
    assert len(set(every)) == len(every)
    assert not [name for name in every if name.startswith("knobs.mlflow")]


def literals(path: Path) -> Iterator[str]:
    """Yield every string of a file that is not a docstring, also those within f-strings."""
    tree = ast.parse(path.read_text())
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def is_module(name: str) -> bool:
    path = ROOT / name.rstrip(".").replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_only_the_schema_spells_tags_and_artifacts() -> None:
    tags = {*names_of(Tag).values(), *names_of(MlflowTag).values()}
    artifacts = {name for name in names_of(Artifact).values() if "." in name}
    spelled = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in sorted((ROOT / "knobs").rglob("*.py"))
        if path != ROOT / "knobs" / "record" / "schema.py"
        for text in literals(path)
        for word in re.findall(r"\bknobs\.[\w.]+|\bmlflow\.[\w.]+|^[\w/.]+$", text)
        if (word.startswith("knobs.") or word in tags | artifacts) and not is_module(word)
    }
    assert spelled == set()


# States

DESIGN = """
finished       FINISHED  COMPLETE
reused         FINISHED  COMPLETE
pruned         KILLED    PRUNED
diverged       FAILED    PRUNED + constraint
out_of_memory  FAILED    PRUNED + constraint
interrupted    KILLED    WAITING
lost           FAILED    FAIL
failed         FAILED    FAIL
"""
"""The table of states in the design: what happened, MLflow's status, Optuna's state."""


def test_states_are_those_of_the_design() -> None:
    table = [re.split(r"\s{2,}", line) for line in DESIGN.strip().splitlines()]
    ours = {
        name: [state.mlflow, state.optuna + ("" if state.trainable else " + constraint")]
        for name, state in STATES.items()
        if name not in (StateName.RUNNING, StateName.NO_RUN_FINISHED)
    }
    assert ours == {name: rest for name, *rest in table}
    assert {name for name, state in STATES.items() if not state.ended} == {StateName.RUNNING, StateName.INTERRUPTED}
    assert {name for name, state in STATES.items() if state.finished} == {StateName.FINISHED, StateName.REUSED}
    assert set(names_of(StateName).values()) == STATES.keys()


def test_every_end_of_a_training_is_a_state() -> None:
    """`unsaved` is the disk's failure: the driver stops, and the run stays interrupted."""
    assert set(typing.get_args(State)) - {"unsaved"} <= STATES.keys()
    assert {state.mlflow for state in STATES.values() if not state.ended} == {"RUNNING", "KILLED"}


# Every run


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return new_tracker(tmp_path_factory.mktemp("schema"))


def test_every_run_has_the_schemas_version_and_its_kind(tracker: Tracker) -> None:
    reference = Reference(name="chance", metric="test/accuracy", value=1 / 3, source="three classes")
    record_study(tracker, "study", a_study(), trials=2)
    record_study(tracker, "equal", a_study(), trials=2)
    record_ablation(tracker, "ablation", an_ablation(references=(reference,)))
    rows = tracker.search("")
    kinds = {Kind.STUDY, Kind.TRIAL, Kind.ABLATION, Kind.CELL, Kind.SEED, Kind.REFERENCE}
    assert {row.kind for row in rows} == kinds
    assert {row.tags.get(Tag.SCHEMA) for row in rows} == {schema.VERSION}
    assert {row.state for row in rows} == {StateName.FINISHED, StateName.REUSED}
    for row in rows:
        assert set(row.tags) <= known_tags(row.tags), row.tags


def known_tags(tags: dict[str, str]) -> set[str]:
    levels = {tag for tag in tags if tag.startswith(Tag.LEVEL)}
    return {*names_of(Tag).values(), *names_of(MlflowTag).values(), *levels, "mlflow.runName", "mlflow.user"}


def test_long_values_are_shortened_visibly() -> None:
    assert bounded("x" * MOST_TAG_CHARACTERS) == "x" * MOST_TAG_CHARACTERS
    assert len(bounded("x" * 100_000)) == MOST_TAG_CHARACTERS
    assert bounded("x" * 100_000).endswith("x ...")


MANY = 45
MODEL = f'''
from torch import nn
from knobs import ModelConfig, NonNegative, part


@part
class Many(ModelConfig):
    """A linear model with {MANY} knobs that do nothing."""

{chr(10).join(f"    a_rather_long_name_of_a_knob_{n:02d}: NonNegative = 0.5" for n in range(MANY))}

    def build(self, spec):
        """Return the network."""
        return nn.Sequential(nn.Flatten(), nn.Linear(spec.features, spec.outputs))
'''
STUDY = f'''"""{{docstring}}"""

from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.many import Many
from optimizers.sgd import SGD
from schedules.constant import Constant

NAMES = [f"model.a_rather_long_name_of_a_knob_{{{{n:02d}}}}" for n in range({MANY})]


def space(trial, baseline):
    return baseline.with_knobs({{{{name: trial.suggest_float(name, 0.0, 1.0) for name in NAMES}}}})


study = Study(
    baseline=RunConfig(model=Many(), data=Toy(), optimizer=SGD(), schedule=Constant(),
                       training=Training(max_steps=16, val_every=8)),
    space=space, metric="val/accuracy", direction="maximize", feedback_lag=2,
)
'''
DOCSTRING = "A study of forty-five knobs.\n\n" + "It says a lot. " * 2500


@pytest.mark.slow
@pytest.mark.parametrize("where", ["SQLite", "PostgreSQL"])
def test_forty_five_knobs_and_a_long_docstring_fit_and_the_study_continues(where: str, tmp_path: Path) -> None:
    for path, text in (("models/many.py", MODEL), ("studies/many.py", STUDY.format(docstring=DOCSTRING))):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text)
    if where == "SQLite":
        check_many(tmp_path, {}, ())
        return
    if postgres.program("initdb") is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres.server("secret") as address:
        check_many(tmp_path, {"MLFLOW_TRACKING_URI": f"{address}/postgres"}, ("--storage", f"{address}/template1"))


def check_many(project: Path, shared: dict[str, str], options: tuple[str, ...]) -> None:
    """Run the study, continue it, and check every tag and parameter."""
    store = project / "mlruns"
    for trials, said in (("2", "2 trials"), ("4", "many: continues after 2 trials, 0 interrupted")):
        command = ("study", "many", "--trials", trials, "--devices", "cpu:1", *options)
        done = quick(*command, store=store, cwd=project, **shared)
        assert done.code == 0, done.err
        assert said in done.out
    status = quick("status", "many", store=store, cwd=project, **shared)
    assert (status.code, status.err) == (0, "")
    uri = shared.get("MLFLOW_TRACKING_URI", "").replace("postgresql:", "postgresql+psycopg2:") or None
    tracker = Tracker(StoreLocations(project, store, uri))
    rows = tracker.search("")
    assert [row.kind for row in rows].count(Kind.TRIAL) == 4
    for row in rows:
        assert row.tags[Tag.SCHEMA] == schema.VERSION
        assert max(map(len, [*row.tags.values(), *row.params.values()])) <= MOST_TAG_CHARACTERS
    study = read_recorded(tracker, "many", strict=True)
    assert isinstance(study, RecordedStudy)
    assert study.definition.about == DOCSTRING
    tags = tracker.experiment_tags(study.parent.experiment)
    assert max(map(len, tags.values())) <= MOST_VIEW_CHARACTERS
    views = [json.loads(text) for tag, text in tags.items() if tag.startswith("mlflow.sharedViewState.")]
    assert len(views) == 2  # whole: JSON that is cut does not parse
    parent = parent_of(tracker, "many")
    assert [row.trial for row in counted_trials(runs_under(tracker, parent.id, parent.experiment))] == [0, 1, 2, 3]
    for trial in study.trials:
        assert len(trial.chosen) == MANY
        assert trial.chosen == {name: float(trial.row.params[name]) for name in trial.chosen}
    assert len({json.dumps(trial.chosen) for trial in study.trials}) == 4


# Configs

KINDS = [(place, kind) for place, (folder, _) in KINDED.items() for kind in discover.files(folder)]


def values_of(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that a field may hold."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return values_of(inner[0], [limit for field in inner[1:] for limit in getattr(field, "metadata", [field])])
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(values_of(inner[0], []), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(values_of(item, []) for item in inner))
    if type(None) in inner:
        (other,) = [item for item in inner if item is not type(None)]
        return st.none() | values_of(other, metadata)
    if annotation is bool:
        return st.booleans()
    if annotation is str:
        return st.text("abcdefghijklmnopqrstuvwxyz_", min_size=5, max_size=9)
    limits = {name: getattr(m, name) for m in metadata for name in ("gt", "ge", "lt", "le") if hasattr(m, name)}
    if annotation is int:
        step = next((m.multiple_of for m in metadata if hasattr(m, "multiple_of")), 1)
        low = limits.get("ge", limits.get("gt", 0) + ("gt" in limits))
        high = min(limits.get("le", 2**63), limits.get("lt", 2**63) - 1)
        return st.integers(-(-low // step), high // step).map(lambda n: n * step)
    assert annotation is float, annotation
    return st.floats(
        limits.get("ge", limits.get("gt")),
        limits.get("le", limits.get("lt")),
        exclude_min="gt" in limits,
        exclude_max="lt" in limits,
        allow_nan=False,
        allow_infinity=False,
    )


@st.composite
def parts(draw: st.DrawFn, cls: type[Any]) -> Any:
    fields = {name: values_of(f.annotation, f.metadata) for name, f in cls.__pydantic_fields__.items()}
    chosen = draw(st.sets(st.sampled_from(sorted(fields)), max_size=len(fields)))
    try:
        return cls(**{name: draw(fields[name]) for name in sorted(chosen)})
    except BadInputError:  # some values do not go together
        return cls()


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    chosen = {place: draw(st.sampled_from([kind for at, kind in KINDS if at == place])) for place in KINDED}
    made = {place: draw(parts(kind_class(place, kind))) for place, kind in chosen.items()}
    spec = made["data"].spec()
    names = st.sets(st.sampled_from(metric_names(spec)), max_size=3).map(tuple)
    objective = dataclasses.replace(made.pop("objective"), extra_metrics=draw(names))
    with contextlib.suppress(BadInputError):  # another task's stays unset
        objective.check(spec)
        made["objective"] = objective
    return RunConfig(**made, training=draw(parts(Training)), seed=draw(st.integers(0, 2**63 - 1)))


@settings(max_examples=150, deadline=None)
@given(configs())
def test_a_config_is_its_parameters(config: RunConfig) -> None:
    texts = {name: text_of(value) for name, value in config.knobs().items()}
    again = RunConfig.from_texts(texts)
    assert again.to_json() == config.to_json()
    assert RunConfig.from_json(config.to_json()).hash() == again.hash() == config.hash()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        *(("optimizer.lr", rate) for rate in (5e-324, 2.2250738585072014e-308, 1e-5, 0.1 + 0.2, 1e16, 1.7e308)),
        *(("training.clip_norm", norm) for norm in (None, 1.0)),
        *(("training.averaging", yes) for yes in (True, False)),
        *(("seed", seed) for seed in (0, 2**53 + 1, 2**63 - 1)),
    ],
)
def test_a_knob_is_its_parameter(knob: str, value: Any) -> None:
    config = BASELINE.with_knobs({knob: value})
    texts = {name: text_of(known) for name, known in config.knobs().items()}
    assert RunConfig.from_texts(texts).knobs()[knob] == value
    assert RunConfig.from_texts(texts) == config


def test_a_tuple_is_its_parameter() -> None:
    config = BASELINE.with_knobs({"data.kind": "mnist1d", "data.padding": (0, 7)})
    texts = {name: text_of(value) for name, value in config.knobs().items()}
    assert texts["data.padding"] == "[0, 7]"
    assert RunConfig.from_texts(texts) == config


def record_config(tracker: Tracker, config: RunConfig) -> str:
    """Record a run that has this config. Return its id."""
    run = OpenRun(PlannedRun(kind=Kind.RUN, label="r", name="r", config=config))
    RunRecorder(tracker).open(run, "configs", ENVIRONMENT)
    return run.id


def test_a_run_whose_parameters_were_cut_has_its_config_from_the_artifact(tracker: Tracker) -> None:
    config = BASELINE.with_knobs({"training.monitor": "m" * 20_000})
    row = tracker.get(record_config(tracker, config))
    assert row.params["training.monitor"].endswith("m ...")
    assert recorded_config(tracker, row) == config


def test_parameters_suffice_and_a_config_that_is_gone_is_said(tracker: Tracker) -> None:
    row = tracker.get(record_config(tracker, BASELINE))
    assert row.folder is not None
    assert RunConfig.from_json((row.folder / Artifact.CONFIG).read_text()) == BASELINE
    (row.folder / Artifact.CONFIG).rename(row.folder / "moved")
    assert recorded_config(tracker, row) == BASELINE
    for changes in ({"optimizer.lr": "0.1 ..."}, {"optimizer.lr": "0.2"}, {"optimizer.kind": "gone"}):
        with pytest.raises(BadInputError, match=r"the config of run .* is gone: its artifact config.json was removed"):
            recorded_config(tracker, dataclasses.replace(row, params=row.params | changes))
    (row.folder / "moved").rename(row.folder / Artifact.CONFIG)
    for changes in ({"optimizer.lr": "0.1 ..."}, {"optimizer.lr": "0.2"}, {"optimizer.kind": "gone"}):
        assert recorded_config(tracker, dataclasses.replace(row, params=row.params | changes)) == BASELINE
