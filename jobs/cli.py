"""The command line of every job: options, settings from a file, and an end with a sentence and an exit status."""

import argparse
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Dict

OK, FAILED, USAGE, SOME_ERRORS, INTERRUPTED = 0, 1, 2, 3, 130  # exit statuses
LINE_SECONDS = 10  # between two lines of progress in a log

_USUAL = Group("Options", sort_key=1)
USUAL = Parameter(group=_USUAL)
"""Marks an option that a first run may need, where the others are for experts."""
EXPERTS = Parameter(group=Group("For experts", sort_key=2))
"""Marks an option that few people need."""
OPTIONS = Parameter(name="*")
"""Marks the argument of a ``main`` whose fields are the command's arguments and options."""
SEVERAL = Parameter(consume_multiple=True, negative="")
"""Marks an option that takes all the values that follow it."""
ConfigFile = str | None
"""The type of ``config``, the option that names a file with values for the others."""

STATUSES = (
    "Exit status: 0 all done; 1 the job failed; 2 wrong usage, or what it was pointed at does not exist; 3 done, but "
    "some inputs failed; 130 stopped. The same command continues what failed or was stopped."
)


class UsageError(ValueError):
    """Something the user asked for that cannot be done; the message says what, why, and what to do."""


class JobFailed(Exception):
    """What ends a job that was asked for in the right way; the message says what, why, and what to do."""


def number_range(option: str, text: str | None) -> tuple[int, int] | None:
    """What an option says as N or MIN:MAX. Raises ``UsageError``."""
    if text is None:
        return None
    try:
        fewest, colon, most = text.partition(":")
        numbers = int(fewest), int(most) if colon else int(fewest)
    except ValueError:
        raise UsageError(f"{option} must be a number or a range MIN:MAX, not {text}") from None
    if not 1 <= numbers[0] <= numbers[1]:
        raise UsageError(f"{option} must be at least 1, and a range MIN:MAX must rise, not {text}")
    return numbers


def app(main: Callable[..., int], name: str, examples: str) -> App:
    """The command line of one job, ``colorize NAME``.

    ``main`` takes a configuration marked with ``OPTIONS``; its docstring says what the job does.
    """
    shown = "".join(f"\n    {line}" for line in examples.strip().splitlines())
    return App(
        name=name,
        default_command=main,
        version_flags=(),
        group_parameters=_USUAL,
        help_epilogue=f"Examples:\n{shown}\n\n{STATUSES}",
    )


def command_line(app: App, arguments: list[str] | None = None) -> None:
    """Parse the command line, do what it asks for, and exit with the job's status; see ``run`` and ``process``.

    ``app`` is that of one job, as for ``python -m jobs.colorize``, which is the same as ``colorize archive``. Without
    ``arguments`` they are those of this process, which ends with the job.
    """
    colorize = App(name="colorize")
    colorize.command(app)
    end = process if arguments is None else run
    end(lambda: parsed(colorize, [app.name[0], *(sys.argv[1:] if arguments is None else arguments)])())


def parsed(app: App, arguments: list[str]) -> Callable[[], int]:
    """What the arguments ask for. Raises ``UsageError`` where they are wrong."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    if path := finder.parse_known_args(arguments)[0].config:
        app.config = (Dict(_settings(path), source=f"--config {path}", use_commands_as_keys=False),)
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(f"{' '.join(str(error).split())} See --help.") from error
    return lambda: command(*bound.args, **bound.kwargs) or OK


def stoppable() -> None:
    """Let SIGTERM, as `ray job stop` sends it, end the job as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def run(job: Callable[[], int]) -> None:
    """Run a job and exit: its status, or with one sentence 1 for a ``JobFailed``, 2 for a ``UsageError`` or weights
    that cannot be used."""
    from colorize_core.weights_file import WeightsError

    try:
        status = job()
    except (UsageError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = USAGE
    except JobFailed as error:
        print(f"error: {error}", file=sys.stderr)
        status = FAILED
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        status = INTERRUPTED
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else what is still to be printed fails again
        print("stopped, since nobody reads its output any more; the same command continues", file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)


def process(job: Callable[[], int]) -> NoReturn:
    """``run`` in a process of its own, which ends without taking the interpreter and the libraries apart.

    Arrow's threads let go of a task's data some time after its result is there. Where that data is NumPy's, or a file
    of Python's, they ask for the interpreter's lock; one that is being taken apart ends the thread instead, which C++
    answers with "terminate called without an active exception" and exit status 134.
    """
    try:
        run(job)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else FAILED
    # As Python itself ends: other threads, what is to be done at exit, what is still to be printed.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)


def _settings(path: str) -> dict[str, Any]:
    """What a YAML file says. By YAML 1.2, in which 1:16 is text; in 1.1 it is 76."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--config {path} cannot be read ({reason}): give a YAML file") from error
    if not isinstance(values, dict):
        raise UsageError(f"--config {path} must hold lines like `format: png`, with the names of the options")
    return {str(name).replace("_", "-"): value for name, value in values.items()}
