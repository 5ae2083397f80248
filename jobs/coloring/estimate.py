"""How long colouring would take, from a few photographs."""

import tempfile
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.coloring.job import Job
from jobs.coloring.worker import ColorizeActor

SAMPLE = 5  # photographs that --dry-run colours to estimate the time


def estimate(todo: pa.Table, job: Job) -> float:
    """Seconds on one core, from colouring a few photographs into a folder that is thrown away."""
    chosen = [int(i) for i in np.linspace(0, len(todo) - 1, min(SAMPLE, len(todo)))]
    with tempfile.TemporaryDirectory() as folder:
        actor = ColorizeActor(replace(job, output=folder))
        actor(todo.slice(chosen[0], 1))  # to warm up
        started = time.monotonic()
        actor(todo.take(chosen))
    return (time.monotonic() - started) / len(chosen) * len(todo)
