"""The pool of worker processes, and the way of the photographs through it."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc

from jobs import cluster
from jobs.cli import JobFailed
from jobs.coloring.job import Format, Job
from jobs.coloring.shard_worker import ShardActor
from jobs.coloring.worker import ColorizeActor

if TYPE_CHECKING:
    import ray.data

BATCH = 64  # photographs that an actor is given at a time, at most: Ray takes tens of milliseconds for each batch
BATCH_BYTES = 24 << 20  # of files in a batch, about, so that its rows come within seconds
PARQUET_BATCH = 256  # photographs where a batch becomes a file
BLOCKS = 8192  # at most about this many batches: each costs the driver some memory


class Pool(NamedTuple):
    """The processes of a job."""

    least: int
    most: int
    """On a cluster they come and go with its machines."""
    gpus: float
    """Of each."""
    threads: int
    """Of each, to read and write."""


def process_bytes(job: Job) -> int:
    """Of memory for each process: a large colourizer of others takes about three times its file."""
    return cluster.PROCESS_BYTES + (3 * len(job.weights_file.data) if job.manifest is not None else 0)


def pool(
    photographs: int,
    wanted: tuple[int, int] | None,
    gpus: float | None,
    machines: cluster.Machines,
    memory: int = cluster.PROCESS_BYTES,
) -> Pool:
    """Two processes share a GPU, so that one computes while the other reads and writes; without GPUs each has a core
    to itself. No more of them than a machine has memory for.
    """
    usual = min(2 * machines.gpus, machines.cores)
    if wanted:
        usual = min(max(usual, wanted[0]), wanted[1])
    if gpus is None:
        gpus = min(1.0, machines.gpus / max(1, usual))
    room = machines.room(gpus, memory)
    least, most = wanted or (room, photographs if machines.grows else room)
    least = max(1, min(least, photographs))
    most = max(1, min(most, photographs))
    threads = machines.cores // max(1, min(most, room)) if gpus else 1
    return Pool(least, most, gpus, max(1, threads))


def rows_of(todo: pa.Table, job: Job, actors: Pool) -> Iterator[pa.Table]:
    """The catalogue's rows of the photographs in ``todo``, some at a time, as the pool of actors makes them."""
    results = dataset(todo, job, actors).iter_batches(batch_size=None, batch_format="pyarrow")
    yield from cast(Iterable[pa.Table], results)


def dataset(todo: pa.Table, job: Job, actors: Pool) -> "ray.data.Dataset":
    """The same as a plan of Ray's, which does nothing until it is iterated over."""
    import ray

    worker = ShardActor if job.sharded else ColorizeActor
    inputs = todo.select(worker.inputs).combine_chunks()
    size = 1 if job.sharded else _batch_size(todo, job.format, actors.least)
    told = replace(job, threads=actors.threads, on_gpu=actors.gpus > 0, weights=ray.put(job.weights_file))
    # Not from_arrow, which runs a task for each block: seconds, and tens of kilobytes of the driver's memory each.
    blocks = ray.data.from_blocks([inputs.slice(i, size) for i in range(0, len(inputs), size)])
    if job.sharded:
        blocks.context.target_max_block_size = 1  # byte: a report on the way is not to wait for others
    return blocks.map_batches(
        worker,
        batch_size=size,  # of each block; with GPUs Ray insists on a number
        batch_format="pyarrow",
        fn_constructor_args=[told],
        compute=ray.data.ActorPoolStrategy(min_size=actors.least, max_size=actors.most),
        num_cpus=1,
        num_gpus=actors.gpus,
        memory=process_bytes(job),  # so that also where machines join, Ray starts no more of them
    )


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """What a worker ends the job with is raised as it was there, without Ray's account of where it came from."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, JobFailed):
            raise JobFailed(str(cause).partition("\n")[0]) from None  # Ray adds lines on its own settings
        raise


def _batch_size(todo: pa.Table, format: Format, actors: int) -> int:
    """Photographs in each call of an actor: few of a small archive, or actors would idle in the end."""
    each = max(1, (pc.sum(todo["bytes"]).as_py() or 0) // len(todo))
    batch = PARQUET_BATCH if format == "parquet" else min(BATCH, BATCH_BYTES // each)
    return max(1, min(batch, len(todo) // (4 * actors)), len(todo) // BLOCKS)
