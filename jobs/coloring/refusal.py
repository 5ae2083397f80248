"""Inputs that no worker sees, since they cannot have an output of their own: they are accounted for all the same."""

import os
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from jobs.coloring.job import Job
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.files import printable


def record(refused: pa.Table, catalog: Catalog, job: Job) -> None:
    """Rows of the inputs that cannot have an output of their own, where they are not there already."""
    known = pc.is_in(refused["id"], value_set=catalog.read(["id"])["id"])
    now = datetime.now(UTC)
    rows = [
        {
            "id": row["id"], "source": printable(os.fsdecode(row["uri"])), "source_version": row["version"],
            "status": "error", "error": row["problem"], "provenance": job.provenance, "seconds": 0.0,
            "finished_at": now,
        }
        for row in refused.filter(pc.invert(known)).to_pylist()
    ]  # fmt: skip
    if rows:
        catalog.append(pa.Table.from_pylist(rows, SCHEMA))
