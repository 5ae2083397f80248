"""What a job would do, and how long it would take, from a few photographs."""

import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.coloring.job import SUFFIX, Job, holding
from jobs.coloring.progress import duration
from jobs.coloring.work import Work
from jobs.coloring.worker import ColorizeActor
from jobs.storage import shards
from jobs.storage.files import printable
from jobs.storage.listing import listing

SAMPLE = 5  # photographs that --dry-run colours to estimate the time
SHOWN = 20  # that it names


def dry_run(works: Iterable[Work], as_json: bool, out: TextIO) -> None:
    """Say what would be done, and about how long it would take."""
    reasons: Counter[str] = Counter()
    size, each, shown = 0, 0.0, 0
    what, judges = "", "none of them"
    for work in works:
        for row in work.refused.slice(0, SHOWN).to_pylist():
            print(f"refused: {printable(os.fsdecode(row['uri']))}: {row['problem']}", file=out)
        wanted = work.wanted()
        if len(wanted) and not shown:
            each = (estimate_shards if work.job.sharded else estimate)(wanted, work.job) / len(wanted)
            judges = f"{min(SAMPLE, len(wanted))} of them"
        if work.job.sharded:
            what, judges = "shards ", f"{SAMPLE} photographs"
        for row in wanted.slice(0, SHOWN - shown).select(["path", "why"]).to_pylist():
            print(f"{row['why']}: {printable(row['path'].decode('utf-8', 'surrogateescape'))}", file=out)
            shown += 1
        reasons.update({pair["values"]: pair["counts"] for pair in pc.value_counts(wanted["why"]).to_pylist()})
        size += pc.sum(wanted["bytes"]).as_py() or 0
    total = reasons.total()
    if total > shown:
        print(f"... and {total - shown:,} more", file=out)
    why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "none"
    print(
        f"{total:,} {what}to colour ({why}), {size / 1e6:,.1f} MB; about {duration(each * total)} on one core of this "
        f"machine, judged by {judges}. Nothing was done.",
        file=out,
    )
    if as_json:
        print(json.dumps({"todo": total, "why": reasons, "bytes": size, "core_seconds": each * total}))


def estimate(todo: pa.Table, job: Job) -> float:
    """Seconds on one core, from colouring a few photographs into a folder that is thrown away."""
    chosen = [int(i) for i in np.linspace(0, len(todo) - 1, min(SAMPLE, len(todo)))]
    with tempfile.TemporaryDirectory() as folder:
        actor = ColorizeActor(replace(job, output=folder))
        actor(todo.slice(chosen[0], 1))  # to warm up
        started = time.monotonic()
        actor(todo.take(chosen))
    return (time.monotonic() - started) / len(chosen) * len(todo)


def estimate_shards(todo: pa.Table, job: Job) -> float:
    """The same, by the first photographs of the largest shard, and the bytes of all."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with shards.open_shard(os.fsdecode(todo["uri"][0].as_py())) as opened:
                every = (one.data for portion in opened for one in portion.photographs if one.data)
                some = list(itertools.islice(every, SAMPLE))
        except (OSError, shards.ShardError):
            return 0.0
        for i, data in enumerate(some):
            Path(folder, f"{i}.{SUFFIX[holding(data)]}").write_bytes(data)
        if not some:
            return 0.0
        seconds = estimate(listing(folder), replace(job, sharded=False)) / sum(map(len, some))
    return seconds * (pc.sum(todo["bytes"]).as_py() or 0)
