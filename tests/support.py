"""Run the installed command in a process of its own. Shared by tests; imports no torch."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from forked_workers import fork_workers

ROOT = Path(__file__).resolve().parent.parent
KNOBS = Path(sys.executable).with_name("knobs")
LIBRARIES = ["torch", "pydantic", "optuna", "mlflow", "sqlalchemy", "alembic", "rich.live", "matplotlib.figure"]
LIBRARIES += ["matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "scipy.stats", "jinja2"]
LIBRARIES += ["pytorch_lightning"]
OURS = ("knobs", "models", "datamodules", "objectives", "optimizers", "schedules", "studies", "experiments")


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def environment(store: Path, **more: str) -> dict[str, str]:
    """Return this process's environment with another store, and without variables of a surrounding project."""
    foreign = ("MLFLOW_TRACKING_URI", "KNOBS_ROOT", "CUDA_VISIBLE_DEVICES", "TERM", "COLUMNS")
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**inherited, "KNOBS_MLRUNS": str(store), "COLUMNS": "200", **more}


def command(*arguments: str, store: Path, cwd: Path = ROOT, timeout: float = 180, **more: str) -> Done:
    """Run the installed `knobs` to its end in a new interpreter."""
    done = subprocess.run(
        [str(KNOBS), *arguments],
        cwd=cwd,
        env=environment(store, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def quick(*arguments: str, store: Path, cwd: Path = ROOT, timeout: float = 180, **more: str) -> Done:
    """Do the same in a process forked from one that has imported torch, MLflow and Optuna: it saves seconds a start.

    Only libraries are preloaded; every line of knobs runs as in `command`, including its import. Its workers
    are forked too.
    """
    return python(COMMAND, *arguments, store=store, cwd=cwd, timeout=timeout, **more)


@dataclass(frozen=True)
class Call:
    """A command for `quick_each`."""

    arguments: tuple[str, ...]
    store: Path
    cwd: Path = ROOT


def quick_each(calls: Iterable[Call], folder: Path) -> list[Done]:
    """Do the same for many commands, one after another, and import knobs once: each runs in a fork of its own.

    Their outputs are kept in `folder`.
    """
    given = [[call.arguments, str(call.store), str(call.cwd), str(folder / str(n))] for n, call in enumerate(calls)]
    (folder / "calls.json").write_text(json.dumps(given))
    done = python(EACH, str(folder / "calls.json"), store=folder / "none")
    assert done.code == 0, done
    codes = json.loads(done.out)
    outputs = [[Path(f"{path}.{name}").read_text() for name in ("out", "err")] for *_, path in given]
    return [Done(code, *texts) for code, texts in zip(codes, outputs, strict=True)]


EACH = """
import json, os, sys
from pathlib import Path
import knobs.commands.study, knobs.commands.run, knobs.commands.status
import knobs.launch.study, knobs.launch.run
from knobs.commands.main import main
codes = []
for arguments, store, cwd, output in json.loads(Path(sys.argv[1]).read_text()):
    if not (child := os.fork()):
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT), number)
        os.chdir(cwd)
        os.environ["KNOBS_MLRUNS"] = store
        sys.argv = [sys.argv[0], *arguments]
        main()
        sys.exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""

COMMAND = """
from knobs.commands.main import main
main()
"""


def python(code: str, *arguments: str, store: Path, cwd: Path = ROOT, timeout: float = 180, **more: str) -> Done:
    """Run code in a process forked from one that has imported torch, MLflow and Optuna, as the command `knobs`."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("out", "err")]
        given = (code, arguments, cwd, environment(store, **more), outputs)
        process = forkserver().Process(target=_in_fork, args=given)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"knobs {' '.join(arguments)} ran for more than {timeout:.0f} s")
        return Done(process.exitcode, *(path.read_text() for path in outputs))


def forkserver() -> ForkServerContext:
    """Return the context whose processes are forked from one that has imported the libraries, and nothing of knobs."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def forget_knobs() -> None:
    """Forget what this process has imported of knobs and of content, so that it is imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]


def _in_fork(code: str, arguments: tuple[str, ...], cwd: Path, environ: dict[str, str], outputs: list[Path]) -> None:
    for path, number in zip(outputs, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    forget_knobs()
    sys.argv = [str(KNOBS), *arguments]
    fork_workers()
    exec(compile(code, "<test>", "exec"), {"__name__": "__main__"})
