"""What a job would do, and how long it would take, from a few photographs."""

import json
import os
import tempfile
import time
from dataclasses import replace
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.coloring.job import Job
from jobs.coloring.progress import duration
from jobs.coloring.work import Work
from jobs.coloring.worker import ColorizeActor
from jobs.storage.files import printable

SAMPLE = 5  # photographs that --dry-run colours to estimate the time


def dry_run(work: Work, wanted: pa.Table, as_json: bool, out: TextIO) -> None:
    """Say what would be done, and about how long it would take."""
    reasons = {pair["values"]: pair["counts"] for pair in pc.value_counts(wanted["why"]).to_pylist()}
    size = pc.sum(wanted["bytes"]).as_py() or 0
    seconds = estimate(wanted, work.job) if len(wanted) else 0.0
    for row in work.refused.slice(0, 20).to_pylist():
        print(f"refused: {printable(os.fsdecode(row['uri']))}: {row['problem']}", file=out)
    for row in wanted.slice(0, 20).select(["path", "why"]).to_pylist():
        print(f"{row['why']}: {printable(row['path'].decode('utf-8', 'surrogateescape'))}", file=out)
    if len(wanted) > 20:
        print(f"... and {len(wanted) - 20:,} more", file=out)
    print(
        f"{len(wanted):,} to colour ({', '.join(f'{n:,} {why}' for why, n in reasons.items()) or 'none'}), "
        f"{size / 1e6:,.1f} MB; about {duration(seconds)} on one core of this machine, judged by "
        f"{min(SAMPLE, len(wanted))} of them. Nothing was done.",
        file=out,
    )
    if as_json:
        print(json.dumps({"todo": len(wanted), "why": reasons, "bytes": size, "core_seconds": seconds}))


def estimate(todo: pa.Table, job: Job) -> float:
    """Seconds on one core, from colouring a few photographs into a folder that is thrown away."""
    chosen = [int(i) for i in np.linspace(0, len(todo) - 1, min(SAMPLE, len(todo)))]
    with tempfile.TemporaryDirectory() as folder:
        actor = ColorizeActor(replace(job, output=folder))
        actor(todo.slice(chosen[0], 1))  # to warm up
        started = time.monotonic()
        actor(todo.take(chosen))
    return (time.monotonic() - started) / len(chosen) * len(todo)
