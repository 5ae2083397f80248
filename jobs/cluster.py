"""Ray: finding a cluster or starting a local one, its machines, and waiting for them."""

import contextlib
import logging
import math
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from jobs.cli import JobFailed, UsageError, stoppable
from jobs.machine import granted

if TYPE_CHECKING:
    from ray.data import DataContext


OWN_SHARE = 0.7  # of a machine's memory, as Ray itself reckons: the rest is its store's
PROCESS_BYTES = 800 << 20
"""Of a machine's memory for each process that colours: it takes about 0.6 GB before its first photograph, and some for
small ones; large ones wait for room, see ``machine.admission``."""


class Machine(NamedTuple):
    """What processes can be given of one machine."""

    cores: int
    gpus: int
    memory: int
    """Bytes, without what Ray keeps for its object store."""


@dataclass(frozen=True)
class Machines:
    """What there is to work with."""

    each: tuple[Machine, ...]
    grows: bool
    """Whether machines may join and leave: on a cluster, but not where Ray was started here."""

    @property
    def cores(self) -> int:
        return sum(machine.cores for machine in self.each)

    @property
    def gpus(self) -> int:
        return sum(machine.gpus for machine in self.each)

    def room(self, gpus: float, memory: int = 0) -> int:
        """For how many processes with a core, that many GPUs and bytes of memory each there is room."""
        return sum(
            min(
                machine.cores,
                int(machine.gpus / gpus + 1e-6) if gpus else machine.cores,
                machine.memory // memory if memory else machine.cores,
            )
            for machine in self.each
        )

    def __str__(self) -> str:
        most = max(self.each, default=Machine(0, 0, 0), key=lambda machine: (machine.gpus, machine.cores))
        whose = f"the largest of the cluster's {len(self.each)} machines" if self.grows else "this machine"
        return f"{whose} has {most.cores} cores, {most.gpus} GPUs and {most.memory / 1e9:.1f} GB for them"


def start() -> None:
    """Connect to the cluster that RAY_ADDRESS names (inside a Ray job it does), or start Ray on this machine.

    Raises ``UsageError`` where there is no such cluster.
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
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address := os.environ.get("RAY_ADDRESS"):
            try:
                _knock(address)
                with _without_standard_error():
                    ray.init(**options)
            except (OSError, RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UsageError(
                    f"there is no Ray cluster to work with at {address} ({reason}): check RAY_ADDRESS, or unset it to "
                    "work on this machine"
                ) from error
        else:
            _start_here(options)
        stoppable()  # Ray's own handler would exit without a word
    # Ray Data's own progress bars and plan listings give way to ours, which count photographs.
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    calm(context)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it would tell of an error is raised as well


def machines() -> Machines:
    """Those of the cluster that ``start`` connected to, at this moment, or this one."""
    import ray

    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    each = tuple(Machine(*(int(found.get(name, 0)) for name in ("CPU", "GPU", "memory"))) for found in resources)
    if os.environ.get("RAY_ADDRESS"):
        return Machines(each, grows=True)
    return Machines((each[0]._replace(cores=granted.cores()),), grows=False)


def wait_for(processes: int, gpus: float, seconds: float, out: TextIO = sys.stdout, memory: int = 0) -> Machines:
    """The machines, once they have room for some processes with a core, that many GPUs and bytes of memory each.

    Meanwhile an autoscaler is asked for more of them. Raises ``UsageError`` after ``seconds``, or at once where the
    cluster cannot grow.
    """
    from ray.autoscaler.sdk import request_resources

    deadline, said = time.monotonic() + seconds, None
    needed = f"{processes} {'process needs' if processes == 1 else 'processes need'} 1 core and {gpus:g} GPUs each"
    takes = f", of which each takes {memory / 1e9:.1f}" if memory else ""
    while (found := machines()).room(gpus, memory) < processes:
        if not found.grows or time.monotonic() > deadline:
            waited = f", and none with more has come in {seconds:g} s" if found.grows else ""
            raise UsageError(f"{needed}, but {found}{takes}{waited}: ask for fewer, or for machines that have them")
        if not said:
            said = f"waiting for machines: {needed}, but {found}{takes}"
            print(said, file=out, flush=True)
            request_resources(
                bundles=processes * [{"CPU": 1, "GPU": math.ceil(gpus)} | ({"memory": memory} if memory else {})]
            )
        time.sleep(1)
    if said:
        request_resources(bundles=[])  # from now on the processes themselves are what it goes by
    return found


def _knock(address: str) -> None:
    """Raise ``OSError`` where nobody answers: Ray itself would go on trying for many minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _start_here(options: dict[str, Any]) -> None:
    import ray

    for attempt in range(3):
        try:
            # Ray's own helper actors take a logical CPU each; on two they can leave none for the work.
            cores, memory = max(4, granted.cores()), int(OWN_SHARE * granted.memory())
            with _without_standard_error():
                ray.init("local", num_cpus=cores, _memory=memory, include_dashboard=False, **options)
            return
        except Exception as error:  # on a busy machine Ray's processes time out waiting for each other
            ray.shutdown()
            if attempt == 2:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise JobFailed(
                    f"Ray could not be started on this machine ({reason}): see to its load, memory and disk; the same "
                    "command continues"
                ) from error


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
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


def calm(context: "DataContext") -> None:
    """Let Ray Data's scheduler rest for a moment after every step.

    Where its tasks have results that their consumer has no room for yet, it would turn in circles without waiting: a
    core lost, and in the process of a training worker the interpreter's lock with it.
    """
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    class Rest(ExecutionCallback):
        def on_execution_step(self, executor) -> None:
            time.sleep(0.02)

    context.custom_execution_callback_classes = [Rest]
