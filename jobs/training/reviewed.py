"""What people have said of an archive's colours, as photographs to train on."""

from typing import NamedTuple

import pyarrow.compute as pc

from jobs.cli import UsageError
from jobs.pages import decisions
from jobs.storage.catalog import Catalog
from jobs.storage.files import absolute, unprintable

GROUP = "reviewed"


class Correction(NamedTuple):
    """A colour photograph of an archive, by what is known of it."""

    uri: str
    name: str
    hints: list[dict] | None
    """Places whose colours are right, as the catalogue has them; None where all are, since somebody has kept it."""


def corrections(output: str) -> list[Correction]:
    """Of an archive's photographs, those that somebody has kept, and of the others those that have hints, unless they
    are rejected. Raises ``UsageError`` where there are none.
    """
    output = absolute(output)
    if not Catalog(output).state:
        raise UsageError(f"{output} has no catalogue: --reviewed takes the OUTPUT of colorize archive")
    rows = Catalog(output).read(["id", "output", "status", "hints", "decision"])
    kept = pc.fill_null(pc.equal(rows["decision"], decisions.KEEP), False)
    rejected = pc.fill_null(pc.equal(rows["decision"], decisions.REJECT), False)
    hinted = pc.and_not(pc.is_valid(rows["hints"]), rejected)
    rows = rows.filter(pc.and_(pc.equal(rows["status"], "ok"), pc.or_(kept, hinted)))
    if pc.any(pc.starts_with(rows["output"], f"{output}/parquet/")).as_py():
        raise UsageError(f"{output} holds Parquet files: export those photographs that were kept, and train on them")
    if pc.any(pc.starts_with(rows["output"], f"{output}/shards/")).as_py():
        raise UsageError(f"{output} holds shards: unpack those photographs that were kept, and train on them")
    found = [
        Correction(
            unprintable(row["output"]),
            f"{GROUP}/{row['id']}",
            None if row["decision"] == decisions.KEEP else row["hints"],
        )
        for row in rows.sort_by("id").to_pylist()
    ]
    if not found:
        raise UsageError(
            f"{output} has no photograph that somebody has kept, or given hints for: colorize archive --only records "
            "what the review page exports"
        )
    return found
