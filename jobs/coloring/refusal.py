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
    if not len(refused):
        return
    known = catalog.read(["id", "error"])
    said = known["error"].take(pc.index_in(refused["id"], value_set=known["id"]))
    anew = pc.fill_null(pc.not_equal(said, refused["problem"]), True)
    rows = [row(input, job) for input in refused.filter(anew).to_pylist()]
    if rows:
        catalog.append(pa.Table.from_pylist(rows, SCHEMA))


def row(refused: dict, job: Job) -> dict:
    """Of the catalogue; without a version, since it is to be done once it has an output of its own."""
    return {
        "id": refused["id"], "source": printable(os.fsdecode(refused["uri"])), "source_version": "",
        "status": "error", "error": refused["problem"], "provenance": job.provenance, "seconds": 0.0,
        "finished_at": datetime.now(UTC),
    }  # fmt: skip
