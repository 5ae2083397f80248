"""A few photographs, without Ray, whose start takes longer than they do: one process beside the driver colours them,
with the code of the pool's workers. It is a process of its own so that a file that crashes, hangs or bloats a decoder
takes that process with it, and not the job.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs import cli
from jobs.cli import JobFailed
from jobs.coloring import telemetry
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.job import Job
from jobs.coloring.pipeline import ATTEMPTS, Pipeline
from jobs.coloring.shard_worker import ShardActor
from jobs.coloring.worker import ColorizeActor
from jobs.machine import granted, scratch

MOST = 128  # photographs
MOST_BYTES = 64 << 20  # of their files
BATCH = 16  # photographs that the process is given at a time, so that a job's progress shows
LOG = "worker.err"  # in this user's scratch folder: what the process of the latest such job said
START = "import sys; sys.path[:] = sys.argv[2:]; from jobs.coloring import few; few.serve(int(sys.argv[1]))"
PR_SET_PDEATHSIG = 1  # of prctl(2)


def are(todo: pa.Table, config: ColorizeConfig) -> bool:
    """Whether these photographs are done sooner without Ray, and nothing asks for it: no cluster, no number of
    processes or GPUs, no Ray that runs in this process already.
    """
    ray = sys.modules.get("ray")
    asked = config.actors or config.gpus or os.environ.get("RAY_ADDRESS") or (ray and ray.is_initialized())
    return not asked and len(todo) <= MOST and (pc.sum(todo["bytes"]).as_py() or 0) <= MOST_BYTES


def rows_of(todo: pa.Table, job: Job, gpus: float | None = None) -> Iterator[pa.Table]:
    """The catalogue's rows of the photographs in ``todo``, some at a time. With 0 ``gpus`` it leaves GPUs alone.

    Raises ``JobFailed`` as a worker does, and where no process stays alive.
    """
    cli.stoppable()
    told = replace(job, threads=granted.cores(), on_gpu=gpus is None)
    worker = ShardActor if job.sharded else ColorizeActor
    inputs, size = todo.select(worker.inputs).combine_chunks(), 1 if job.sharded else BATCH
    open(_log(), "wb").close()
    process = None
    try:
        for begin in range(0, len(inputs), size):
            batch, told_of, deaths, ended = inputs.slice(begin, size), 0, 0, False
            while not ended:
                process = process or _Process(worker, told)
                try:
                    for number, rows in enumerate(process.rows_of(batch)):
                        if number == told_of:  # of a process that died, what it has told is known
                            told_of += 1
                            yield rows
                    ended = True
                except EOFError:
                    process.end()
                    deaths += 1 if process.ready else MOST + 1
                    process = None
                if deaths >= ATTEMPTS * (MOST + 1):  # more than photographs and a device can be blamed for
                    raise JobFailed(
                        f"the process that colours ends again and again; {_log()} has its last words: see to this "
                        "machine's free memory; the same command continues"
                    )
    finally:
        if process:
            process.end()


class _Process:
    """One that colours, while it lives."""

    def __init__(self, worker: type[Pipeline], job: Job):
        self.told = worker, job
        self.ready = False
        self.pipe, other_end = Pipe()
        with other_end, open(_log(), "ab") as log:
            # In a group of its own: of Ctrl-C, which goes to all of a terminal's, the driver alone is to hear.
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, str(other_end.fileno()), *sys.path],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[other_end.fileno()], process_group=0,
            )  # fmt: skip

    def rows_of(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Some at a time. Raises ``EOFError`` where the process dies, and what a worker raises."""
        if not self.ready:
            self._send(self.told)
            self._receive()
            self.ready = True
        self._send(batch)
        while (rows := self._receive()) is not None:
            yield rows

    def _send(self, question: object) -> None:
        try:
            self.pipe.send(question)
        except OSError as error:  # it died before it had read the question
            raise EOFError from error

    def _receive(self) -> Any:
        try:
            answer = self.pipe.recv()
        except OSError as error:  # it died while it answered
            raise EOFError from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def serve(descriptor: int) -> None:
    """What the process does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it is not to work on where its driver is killed
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, it goes, not the driver
    telemetry.to_standard_error()
    driver = Connection(descriptor)
    try:
        worker, job = driver.recv()
        actor = worker(job)
        driver.send(None)
        while True:
            rows = actor(driver.recv())
            for some in [rows] if isinstance(rows, pa.Table) else rows:
                driver.send(some)
            driver.send(None)
    except Exception as error:
        error.add_note(traceback.format_exc())
        driver.send(error)


def _log() -> str:
    return os.path.join(scratch.folder(), LOG)
