"""The `knobs` command: find the command's module, parse its arguments and execute it.

`knobs --help`, `knobs list` and `knobs NAME --help` must be quick. So this file and the top of every command's module
import nothing heavy, and the list of commands comes from the first line of each module, read without importing it.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from knobs import discover, signals, user_code
from knobs.commands.arguments import Parser, split_knobs
from knobs.errors import BadInputError, InterruptedBySignal, KnobsError
from knobs.record.stores.locations import without_password

DESCRIPTION = "Neural-network experiments you can trust: tracked runs, studies that lose nothing, fair ablations."

COMMANDS = ("list", "run", "study", "ablate", "report", "reproduce", "status", "ui", "check", "doctor", "clean")
"""The modules of this package that are commands, in the order of `knobs --help`.

Each has `add_arguments(parser)` and `execute(options, knobs)`. A command that takes knobs also has `KNOBS`, the knobs
without a dot that it takes.
"""


def dispatch(arguments: list[str]) -> None:
    """Execute the command that these arguments name. Raise `BadInputError` if they are wrong."""
    if arguments and arguments[0] in COMMANDS:
        _execute(arguments[0], arguments[1:])
        return
    lines = [f"  {name:<11}{discover.summary(Path(__file__).with_name(f'{name}.py'))}" for name in COMMANDS]
    top = Parser(
        prog="knobs",
        usage="knobs [-h] [--version] COMMAND ...",
        description="\n".join([DESCRIPTION, "", "commands:", *lines]),
        epilog="`knobs COMMAND --help` explains one command.",
    )
    top.add_argument("command", metavar="COMMAND", nargs="?", choices=COMMANDS, help=argparse.SUPPRESS)
    top.add_argument("--version", action="store_true", help="print the version")
    if top.parse_args(arguments).version:
        from importlib.metadata import version

        print(version("knobs-lab"))
    else:
        top.print_help()


def _execute(name: str, arguments: list[str]) -> None:
    command = import_module(f"knobs.commands.{name}")
    parser = Parser(prog=f"knobs {name}", description=(command.__doc__ or "").partition("\n")[0])
    command.add_arguments(parser)
    knobs: dict[str, str] = {}
    if hasattr(command, "KNOBS"):
        arguments, knobs = split_knobs(arguments, also=command.KNOBS)
    command.execute(parser.parse_args(arguments), knobs)


def main() -> None:
    """Run `knobs` with this process's arguments, and exit with the code that the README lists.

    Everything is written and closed by then, so the process ends at once: Python would take a second to take apart the
    libraries that it has imported.
    """
    signals.install()
    _print_anything()
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
        code = _report_error(error)
    except Exception as error:
        code = _report_error(signals.interruption_behind(error))
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _print_anything() -> None:
    """Let a terminal that knows few characters print the others as `?`: a docstring may hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _report_error(error: BaseException) -> int:
    """Print what ended the command, in at most four lines. Return the exit code.

    An exception of user code is bad input, wherever it passed through; its traceback is in a file.
    """
    theirs = isinstance(error, Exception) and (user_code.place_of(error) or isinstance(error, BadInputError))
    if isinstance(error, InterruptedBySignal) or (isinstance(error, KnobsError) and not theirs):
        print(f"knobs: {error}", file=sys.stderr)
        return error.exit_code
    if theirs:
        print(f"knobs: {without_password(user_code.placed_text(error))}", file=sys.stderr)
        if not isinstance(error, KnobsError) or (error.__cause__ and not isinstance(error.__cause__, KnobsError)):
            print(f"the full traceback: {_write_log()}", file=sys.stderr)
        return error.exit_code if isinstance(error, KnobsError) else BadInputError.exit_code
    text = without_password(f"internal error: {type(error).__name__}: {error}")
    print(f"knobs: {text}; see {_write_log()}", file=sys.stderr)
    return 4


def _write_log() -> Path:
    """Write the arguments and the traceback to a new file. Return its path."""
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(prefix="knobs-error-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(without_password(f"{sys.argv}\n\n{traceback.format_exc()}"))
    return Path(name)
