"""The workers of a job at what is to be done, and what comes of it."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import TextIO

import pyarrow as pa

from jobs import cli, cluster
from jobs.cli import UsageError
from jobs.coloring import few, pool
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.job import Job
from jobs.coloring.progress import Progress
from jobs.coloring.work import Work
from jobs.storage.files import write_bytes
from jobs.storage.output import Lease

ENOUGH_TO_JUDGE = 100  # photographs before --max-error-rate applies


def colour(
    work: Work, wanted: pa.Table, config: ColorizeConfig, lease: Lease, out: TextIO
) -> tuple[float | None, str | None]:
    """Have ``wanted`` done, and what comes of it kept as it comes.

    Returns photographs per second, and the reason to stop early where there is one. Raises ``JobFailed``, and
    ``OSError`` where OUTPUT cannot be written to.
    """
    job, hopeless = work.job, None
    results = _results(wanted, replace(job, hold=lease.hold), config, out)
    for digest, settings in job.all_settings.items():
        write_bytes(f"{job.output}/settings/{digest}.json", json.dumps(settings, indent=1).encode())
    work.begin(wanted, lease)
    total = sum(wanted["bytes"].to_pylist()) if work.in_bytes else len(wanted)
    with Progress(total, out, work.in_bytes) as progress, pool.plainly():
        try:
            for rows in results:
                progress.advance(work.take(rows))
                if hopeless := _hopeless(progress.counts, config, work.catalog.folder):
                    break
                if work.unstored:
                    hopeless = unwritable(job.output, work.unstored)
                    break
        finally:  # also where the job is stopped
            work.flush()
    return progress.rate, hopeless


def unwritable(output: str, reason: object) -> str:
    return f"{output} cannot be written to ({reason}): see to its free space and connection; the same command continues"


def _results(wanted: pa.Table, job: Job, config: ColorizeConfig, out: TextIO) -> Iterator[pa.Table]:
    """The rows of ``wanted``, as they come, from a process beside this one or from Ray's."""
    if few.are(wanted, config):
        return few.rows_of(wanted, job, config.gpus)
    gpus = config.gpus if _can_use_gpus(job, config) else 0.0
    cluster.start()
    memory = pool.process_bytes(job)
    machines = cluster.wait_for(1, config.gpus or 0, config.wait, out, memory)
    wanted_actors = cli.number_range("--actors", config.actors)
    actors = pool.pool(len(wanted), wanted_actors, gpus, machines, memory)
    return pool.rows_of(wanted, job, actors)


def _can_use_gpus(job: Job, config: ColorizeConfig) -> bool:
    """Whether what they take is installed. Raises ``UsageError`` where others' colourizer is asked to use some."""
    if job.manifest is None:
        return find_spec("torch") is not None
    from colorize_core.foreign_engine import NEEDS, gpu_runs_onnx

    if config.gpus and not gpu_runs_onnx():
        raise UsageError(f"{job.weights_file.path}: {NEEDS}")
    return gpu_runs_onnx()


def _hopeless(counts: Counter, config: ColorizeConfig, catalog: str) -> str | None:
    """Why to go no further, where so many have failed."""
    failed, done, most = counts["error"], counts.total(), config.max_error_rate
    if most is None or done < ENOUGH_TO_JUDGE or failed <= most * done:
        return None
    return (
        f"{failed:,} of {done:,} photographs failed, more than --max-error-rate {most} allows: see the reasons in "
        f"{catalog}; the same command with a higher rate continues"
    )
