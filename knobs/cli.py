"""The command line. Imports nothing heavy until a command needs it: `--help` and `list` answer at once."""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from knobs import discover, signals
from knobs.errors import BadInputError, InterruptedBySignal, KnobsError, nearest
from knobs.places import without_password

DESCRIPTION = "Neural-network experiments you can trust: tracked runs, studies that lose nothing, fair ablations."
KNOBS_HELP = "any knob by its dotted name: --model.width 256"


class Parser(argparse.ArgumentParser):
    """One line for an error, with the nearest option; never an abbreviation."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints."""
        if found := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            options = [o for a in self._actions for o in a.option_strings if o.startswith("--")]
            raise BadInputError(f"{found[1]} is no option of {self.prog}" + nearest(found[1], options))
        if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            options = re.findall(r"[\w-]+", found[2])
            raise BadInputError(f"{found[1]!r} is no command of {self.prog}" + nearest(found[1], options))
        raise BadInputError(f"{self.prog}: {message}; see {self.prog} --help")


def parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser of `knobs` and those of its commands."""
    top = Parser(prog="knobs", description=DESCRIPTION)
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    made: dict[str, Parser] = {}

    def command(name: str, about: str) -> Parser:
        made[name] = commands.add_parser(name, help=about, description=about[:1].upper() + about[1:] + ".")
        return made[name]

    one = command("list", "list models, data sets, studies and ablations")
    one.add_argument("folder", nargs="?", choices=discover.FOLDERS, help="only these")

    one = command("run", "train one tracked run of a baseline, or of a recorded run's config")
    one.add_argument("name", nargs="?", help="a study or an ablation, whose baseline is trained")
    one.add_argument("--from", dest="source", metavar="RUN_ID", help="train this run's recorded config again")
    one.epilog = f"{KNOBS_HELP}, --seed 3; with NAME alone, `knobs run NAME --help` lists them"
    _machine(one, several=False)

    one = command("study", "launch a study, or go on with it")
    one.add_argument("name", help="a file in studies/")
    one.add_argument("--trials", metavar="N", help="total of trials, earlier ones counted in")
    one.add_argument("--timeout", metavar="TIME", help="ask for no new trial after this time: 90s, 10m, 2h")
    one.add_argument("--sampler", metavar="S", help="tpe, random, gp")
    one.add_argument("--pruner", metavar="P", help="median, hyperband, halving, none")
    one.add_argument("--seed", metavar="N", help="seed of the search")
    one.add_argument("--as", dest="record_as", metavar="NAME", help="record under another name")
    one.epilog = f"{KNOBS_HELP} changes the study's baseline"
    _machine(one)

    one = command("ablate", "run an ablation to its verdicts, or go on with it")
    one.add_argument("name", help="a file in experiments/")
    one.add_argument("--seeds", metavar="N", help="fresh seeds of every cell")
    one.add_argument("--trials", metavar="N", help="nuisance trials of every cell")
    one.add_argument("--quick", action="store_true", help="the smaller preset, recorded as NAME-quick")
    one.add_argument("--dry-run", action="store_true", help="print cells, trials, seeds and an estimate of the time")
    _machine(one)

    _reporting(command)

    one = command("status", "show studies, ablations and runs, or one study's trials, or one ablation's cells")
    one.add_argument("name", nargs="?", help="a study or an ablation")
    one.add_argument("--csv", action="store_true", help="a study's trials as CSV")

    one = command("ui", "open the record in MLflow's pages")
    one.add_argument("--port", metavar="N", default="5000", help="port on this machine (5000)")
    one.add_argument("--dashboard", action="store_true", help="start optuna-dashboard beside it")

    command("doctor", "check stores, devices, determinism and versions, and say what to do")

    one = command("clean", "remove scratch files and old checkpoints of ended trials; never a record")
    one.add_argument("--older-than", metavar="TIME", help="checkpoints older than this: 30d, 12h")
    one.add_argument("--larger-than", metavar="SIZE", help="checkpoints larger than this: 10M, 1G")
    one.add_argument("--dry-run", action="store_true", help="say what would go")
    return top, made


def _reporting(command: Callable[[str, str], Parser]) -> None:
    one = command("report", "write the report of an ablation or a study, with the runs behind every number")
    one.add_argument("name", help="a recorded ablation or study")
    one.add_argument("--out", metavar="DIR", help="where to (mlruns/reports/NAME)")
    one.add_argument("--check", action="store_true", help="compare the report that is there with the store, every byte")
    one.add_argument("--against", metavar="DIR", help="compare with a report made elsewhere, number by number")
    one.add_argument("--small", action="store_true", help="Markdown, SVG, CSV and receipts: what is worth committing")

    one = command("reproduce", "train a run again and compare every recorded value, bit by bit")
    one.add_argument("run", nargs="?", metavar="RUN_ID", help="a recorded run")
    one.add_argument("--cell", metavar="LABEL", help="the seeds of this cell of a report")
    one.add_argument("--report", metavar="DIR", help="the report's folder")
    one.add_argument("--devices", help="auto, cpu:N, cuda:0,1, mps (the kind that it was recorded on)")
    one.epilog = "--training.threads N trains with another thread count, and says so first"


def _machine(one: Parser, *, several: bool = True) -> None:
    one.add_argument("--devices", default="auto", help="auto, cpu:N, cuda:0,1, mps (auto)")
    if several:
        one.add_argument("--per-device", metavar="K", default="1", help="workers on each device (1)")
    one.add_argument("--storage", metavar="URL", help="Optuna's store for a team, e.g. postgresql://...")
    one.add_argument("--fresh", action="store_true", help="train anyway: reuse nothing, set old trials aside")


def split_knobs(arguments: list[str], also: tuple[str, ...] = ()) -> tuple[list[str], dict[str, str]]:
    """Take the knobs (`--model.width 256`, `--model.width=256`) out of the arguments."""
    rest: list[str] = []
    typed: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        token = waiting.pop(0)
        name, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not ("." in name or name in also):
            rest.append(token)
            continue
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                raise BadInputError(f"--{name} needs a value")
            value = waiting.pop(0)
        if name in typed:
            raise BadInputError(f"--{name} is given twice")
        typed[name] = value
    return rest, typed


def count(name: str, text: str, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if not re.fullmatch(r"[+-]?\d{1,18}", text) or int(text) < least:
        raise BadInputError(f"{name} {text}: expected a whole number of at least {least}")
    return int(text)


def amount(name: str, text: str, units: dict[str, float], example: str) -> float:
    """A positive number with a unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", text)
    if not found or found[2] not in units or float(found[1]) <= 0:
        raise BadInputError(f"{name} {text}: expected a positive amount such as {example}")
    return float(found[1]) * units[found[2]]


TIMES = {"s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}


def dispatch(arguments: list[str]) -> None:
    """Parse, then do what is asked."""
    top, commands = parser()
    name = next((a for a in arguments if not a.startswith("-")), "")
    typed: dict[str, str] = {}
    if name in ("run", "study", "reproduce"):
        arguments, typed = split_knobs(arguments, also=("seed",) if name == "run" else ())
    if name == "run" and {"-h", "--help"} & set(arguments) and len(arguments) > 2:
        _knob_help(next(a for a in arguments[1:] if not a.startswith("-")))
        return
    try:
        options = top.parse_args(arguments)
    except BadInputError as error:
        if name in commands and (found := re.match(r"(--[\w-]+) is no option", str(error))):
            known = [o for a in commands[name]._actions for o in a.option_strings if o.startswith("--")]
            raise BadInputError(f"{found[1]} is no option of knobs {name}" + nearest(found[1], known)) from None
        raise
    if options.version:
        from importlib.metadata import version

        print(version("knobs-lab"))
    elif options.command is None:
        top.print_help()
    else:
        COMMANDS[options.command](options, typed)


def _list(options: argparse.Namespace, _: dict[str, str]) -> None:
    root = discover.project_root()
    for folder in [options.folder] if options.folder else discover.FOLDERS:
        found = discover.files(folder, root)
        widest = max(map(len, found), default=0)
        print(folder)
        for name, path in found.items():
            print(f"  {name:<{widest}}  {discover.summary(path)}")
        if not found:
            print("  (none)")


def _knob_help(name: str) -> None:
    from knobs.config import describe, text_of
    from knobs.launch.commands import baseline_of

    discover.activate(discover.project_root())
    config = baseline_of(name)
    print(f"knobs of {name}, at the baseline's values:")
    for knob, value in config.knobs().items():
        place, _, leaf = knob.partition(".")
        owner = type(getattr(config, place)) if leaf else type(config)
        about = describe(owner).get(leaf or place, "which one it is; another brings knobs of its own")
        print(f"  --{knob:<26} {'none' if value is None else text_of(value):<12} {about}")


def _run(options: argparse.Namespace, typed: dict[str, str]) -> None:
    if (options.name is None) == (options.source is None):
        raise BadInputError("knobs run needs the name of a study or ablation, or --from RUN_ID")
    if options.name:
        discover.find_file(options.name)
    from knobs.launch import commands
    from knobs.launch.session import session

    with session(options.devices, 1, workers=1, storage=options.storage, fresh=options.fresh) as opened:
        commands.run(opened, options.name or "", typed, options.source)


def _study(options: argparse.Namespace, typed: dict[str, str]) -> None:
    discover.find_file(options.name)
    trials = None if options.trials is None else count("--trials", options.trials)
    seed = None if options.seed is None else count("--seed", options.seed, 0)
    timeout = None if options.timeout is None else amount("--timeout", options.timeout, TIMES, "10m")
    if options.record_as is not None:
        check_name(options.record_as)
    per_device = count("--per-device", options.per_device)
    from knobs.launch import commands
    from knobs.launch.session import session

    with session(options.devices, per_device, storage=options.storage, fresh=options.fresh) as opened:
        commands.study(
            opened,
            options.name,
            typed,
            trials=trials,
            timeout=timeout,
            sampler=options.sampler,
            pruner=options.pruner,
            seed=seed,
            record_as=options.record_as,
        )


def _ablate(options: argparse.Namespace, _: dict[str, str]) -> None:
    discover.find_file(options.name)
    seeds = None if options.seeds is None else count("--seeds", options.seeds)
    trials = None if options.trials is None else count("--trials", options.trials)
    per_device = count("--per-device", options.per_device)
    from knobs.launch import ablate
    from knobs.launch.devices import parse
    from knobs.launch.session import session

    if options.dry_run:
        discover.activate(discover.project_root())
        name, ablation = ablate.load(options.name, seeds=seeds, trials=trials, quick=options.quick)
        ablate.dry_run(name, ablation, len(parse(options.devices, per_device)))
        return
    with session(options.devices, per_device, storage=options.storage, fresh=options.fresh) as opened:
        ablate.ablate(opened, options.name, seeds=seeds, trials=trials, quick=options.quick)


def check_name(name: str) -> None:
    """Names go into filters, paths and pages: letters, digits, `_` and `-` only."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise BadInputError(f"{name!r} is no name: use letters, digits, _ and -, at most 64")


def _report(options: argparse.Namespace, _: dict[str, str]) -> None:
    if options.check and options.against:
        raise BadInputError("--check compares with the store, --against with another report: use one of them")
    if options.against and options.out:
        raise BadInputError("--against writes nothing, so --out has no use beside it")
    _answer_fast()
    from knobs.report import command

    out = Path(options.out) if options.out else None
    against = Path(options.against) if options.against else None
    command.report(options.name, out=out, check=options.check, against=against, small=options.small)


def _reproduce(options: argparse.Namespace, typed: dict[str, str]) -> None:
    if (options.run is None) == (options.cell is None) or (options.cell is None) != (options.report is None):
        raise BadInputError("knobs reproduce needs RUN_ID, or --cell LABEL with --report DIR")
    if wrong := sorted(set(typed) - {"training.threads"}):
        raise BadInputError(f"--{wrong[0]}: a reproduction changes no knob but training.threads; see knobs run --from")
    threads = count("--training.threads", typed["training.threads"]) if typed else None
    from knobs.launch import reproduce

    if options.run is not None:
        reproduce.run(options.run, options.devices, threads)
    else:
        reproduce.cell(options.cell, Path(options.report), options.devices, threads)


def _answer_fast() -> None:
    """For commands that read, answer and end: looking for garbage takes a third of their time, and frees little."""
    gc.disable()


def _status(options: argparse.Namespace, _: dict[str, str]) -> None:
    _answer_fast()
    from knobs.launch import status

    status.show(options.name, as_csv=options.csv)


def _ui(options: argparse.Namespace, _: dict[str, str]) -> None:
    port = count("--port", options.port)
    from knobs.launch import ui

    ui.serve(port, dashboard=options.dashboard)


def _doctor(_options: argparse.Namespace, _: dict[str, str]) -> None:
    from knobs.launch import doctor

    doctor.examine()


def _clean(options: argparse.Namespace, _: dict[str, str]) -> None:
    age = None if options.older_than is None else amount("--older-than", options.older_than, TIMES, "30d")
    size = None if options.larger_than is None else amount("--larger-than", options.larger_than, SIZES, "10M")
    from knobs.launch import clean

    clean.clean(older_than=age, larger_than=size, dry_run=options.dry_run)


COMMANDS = {
    "list": _list,
    "run": _run,
    "study": _study,
    "ablate": _ablate,
    "report": _report,
    "reproduce": _reproduce,
    "status": _status,
    "ui": _ui,
    "doctor": _doctor,
    "clean": _clean,
}


def main() -> None:
    """The `knobs` command. Exit codes are listed in the README."""
    signals.install()
    code = 0
    try:
        try:
            dispatch(sys.argv[1:])
            sys.stdout.flush()
        finally:
            signals.settle()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except (KnobsError, InterruptedBySignal) as error:
        code = _say_why(error)
    except Exception as error:
        code = _say_why(signals.behind(error))
    sys.exit(code)


def _say_why(error: BaseException) -> int:
    """One line on what ended the command, and its exit code."""
    if isinstance(error, (KnobsError, InterruptedBySignal)):
        print(f"knobs: {error}", file=sys.stderr)
        return error.exit_code
    text = without_password(f"a bug of ours: {type(error).__name__}: {error}")
    print(f"knobs: {text}; see {_log_bug()}", file=sys.stderr)
    return 4


def _log_bug() -> Path:
    """Write the traceback where a report can pick it up."""
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(prefix="knobs-bug-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(without_password(f"{sys.argv}\n\n{traceback.format_exc()}"))
    return Path(name)
