"""Pictures that were there before their photographs were coloured again, maybe under another name."""

import hashlib
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from jobs.pages.decisions import REDO
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.output import Place

MADE = pa.schema(
    [
        ("made_sha256", pa.string()),  # digest of the photograph in colour that the row names
        ("made_of", pa.string()),  # digest of the file that it was made of, where that is certain
        ("made_at", pa.timestamp("us", "UTC")),  # when the row was complete
        ("decision", pa.string()),  # what was said of that photograph, unless it was to be done again
    ]
)
"""What the catalogue knows of what is there before a file is coloured again."""


def coloured(catalog: Catalog, files: pa.Table) -> pa.Table:
    """Rows that name a colour photograph, the newest last: all of these files, which have a column ``why``, and of
    others those that have had another one, since a job that was killed may not have seen to it.
    """
    columns = ["id", "output", "output_sha256", "decision"]
    rows = catalog.history(columns, least=1 if _again(files) else 2)  # in one, no row supersedes another
    rows = rows.filter(pc.is_valid(rows["output"]))
    ids = pa.chunked_array([*files["id"].chunks, *_with_several(rows).chunks], pa.string())
    return rows.filter(pc.is_in(rows["id"], value_set=ids))


def _with_several(rows: pa.Table) -> pa.ChunkedArray:
    """Ids of which there are several outputs."""
    counted = rows.group_by("id").aggregate([("output", "count")])
    some = counted["id"].filter(pc.greater(counted["output_count"], 1))
    named = rows.filter(pc.is_in(rows["id"], value_set=some)).group_by("id").aggregate([("output", "count_distinct")])
    return named["id"].filter(pc.greater(named["output_count_distinct"], 1))


def made(files: pa.Table, catalog: Catalog) -> pa.Table:
    """The files with the columns of ``MADE``; null where they have no row."""
    columns = ["id", "output_sha256", "source_sha256", "status", "finished_at", "decision"]
    rows = catalog.read(columns) if _again(files) else SCHEMA.empty_table()
    at = pc.index_in(files["id"], value_set=rows["id"])
    of = pc.if_else(pc.equal(rows["status"], "ok"), rows["source_sha256"], None)
    said = pc.if_else(pc.equal(rows["decision"], REDO), None, rows["decision"])
    for name, column in zip(MADE.names, (rows["output_sha256"], of, rows["finished_at"], said), strict=True):
        files = files.append_column(name, column.take(at))
    return files


def _again(files: pa.Table) -> bool:
    """Whether there are rows of any of the files."""
    return bool(pc.any(pc.not_equal(files["why"], "new")).as_py())


def settle(before: pa.Table, catalog: Catalog, place: Place) -> None:
    """See to the pictures that were there before their photographs were done again.

    One that now has another name, as of another format, is deleted, or put aside where somebody has changed it. Where
    no new one could be made, the row of the failure keeps naming the old one, or a reader of images/ could not know.
    """
    if not len(before):
        return
    now = catalog.read(["id", "output"])
    now = now.filter(pc.is_in(now["id"], value_set=before["id"]))
    failed = pc.is_in(before["id"], value_set=now["id"].filter(pc.is_null(now["output"])))
    _keep_naming(before.filter(failed), catalog, place)
    others = before.filter(pc.invert(pc.or_(failed, pc.is_in(before["output"], value_set=now["output"]))))
    others = others.filter(pc.starts_with(others["output"], f"{place.uri}/images/"))
    for old in others.group_by("output").aggregate([("output_sha256", "distinct")]).to_pylist():
        path, digests = place.path_of(old["output"]), {*old["output_sha256_distinct"]}
        if not place.remove(path, partial(_is_one_of, digests)):
            place.put_aside(path)


def _is_one_of(digests: set[str], data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() in digests


def _keep_naming(before: pa.Table, catalog: Catalog, place: Place) -> None:
    """Have rows without a picture name the one that was there before, if it still is, or was where OUTPUT was then."""
    latest = {row["id"]: row for row in before.to_pylist()}

    def is_here_and_gone(uri: str) -> bool:
        return uri.startswith(f"{place.uri}/") and not place.fs.exists(place.path_of(uri))

    there = {id: row for id, row in latest.items() if not is_here_and_gone(row["output"])}
    if there:
        rows = catalog.read()
        lines = rows.filter(pc.is_in(rows["id"], value_set=pa.array(list(there)))).to_pylist()
        catalog.append(pa.Table.from_pylist([line | there[line["id"]] for line in lines], SCHEMA))
