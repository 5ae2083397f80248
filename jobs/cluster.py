"""Finding a Ray cluster or starting a local one, and ending a job with a sentence and an exit status."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

OK, USAGE, SOME_ERRORS, INTERRUPTED = 0, 2, 3, 130  # exit statuses; Python's own for a failed job is 1

Config = TypeVar("Config")


class UsageError(ValueError):
    """Something the user asked for that cannot be done; the message says what, why, and what to do."""


def start() -> int:
    """Connect to the cluster that RAY_ADDRESS names (inside a Ray job it does), or start Ray on this machine.

    Returns how many processor cores there are to work with.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as later versions of Ray do; they warn
    # Ray's core reports every pool of actors that may be restarted as an error.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Ray warns of more than four processes per this many; on two cores its own helpers reach that.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    import ray
    from ray.util.annotations import RayDeprecationWarning

    # The pinned version's only ways to cap an actor's restarts go in 2.64; users cannot act on that.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    if not ray.is_initialized():
        options = {"logging_level": logging.ERROR, "log_to_driver": False}
        if os.environ.get("RAY_ADDRESS"):
            with _without_standard_error():
                ray.init(**options)
        else:
            _start_here(options)
    # Ray Data's own progress bars and plan listings give way to ours, which count photographs.
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if os.environ.get("RAY_ADDRESS"):
        return max(1, int(ray.cluster_resources().get("CPU", 0)))
    return os.cpu_count() or 1


def _start_here(options: dict) -> None:
    import ray

    for attempt in range(3):
        try:
            # Ray's own helper actors take a logical CPU each; on two they can leave none for the work.
            with _without_standard_error():
                ray.init("local", num_cpus=max(4, os.cpu_count() or 1), include_dashboard=False, **options)
            return
        except Exception:  # on a busy machine Ray's processes time out waiting for each other
            ray.shutdown()
            if attempt == 2:
                raise


@contextlib.contextmanager
def _without_standard_error():
    """Discard what C++ code writes to standard error: Ray's core announces there which log level it was given."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def command_line(main: Callable[[Config], int], config: type[Config], program: str) -> None:
    """Parse the command line into ``config``, run ``main``, and exit with its status.

    A ``UsageError`` becomes one sentence and status 2, as wrong options do.
    """
    import tyro

    settings = (tyro.conf.FlagCreatePairsOff,)
    run(lambda: main(tyro.cli(config, prog=f"python -m {program}", config=settings)))


def run(job: Callable[[], int]) -> None:
    """Run a job and exit: its status, or 2 with one sentence for a ``UsageError`` or unusable weights."""
    from colorize_core.colorizer import WeightsError

    try:
        status = job()
    except (UsageError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = USAGE
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)
