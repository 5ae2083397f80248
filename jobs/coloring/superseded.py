"""Pictures that were there before their photographs were coloured again, maybe under another name."""

import pyarrow as pa
import pyarrow.compute as pc

from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.output import Place, is_content

MADE = pa.schema(
    [
        ("made_sha256", pa.string()),  # digest of the photograph in colour that the row names
        ("made_of", pa.string()),  # digest of the file that it was made of, where that is certain
        ("made_at", pa.timestamp("us", "UTC")),  # when the row was complete
    ]
)
"""What the catalogue knows of what is there before a file is coloured again."""


def coloured(catalog: Catalog, files: pa.Table) -> pa.Table:
    """Rows of those of the files, which have a column ``why``, that have a colour photograph."""
    rows = _rows(files, catalog, ["id", "output", "output_sha256"])
    return rows.filter(pc.and_(pc.is_in(rows["id"], value_set=files["id"]), pc.is_valid(rows["output"])))


def made(files: pa.Table, catalog: Catalog) -> pa.Table:
    """The files with the columns of ``MADE``; null where they have no row."""
    rows = _rows(files, catalog, ["id", "output_sha256", "source_sha256", "status", "finished_at"])
    at = pc.index_in(files["id"], value_set=rows["id"])
    of = pc.if_else(pc.equal(rows["status"], "ok"), rows["source_sha256"], None)
    for name, column in zip(MADE.names, (rows["output_sha256"], of, rows["finished_at"]), strict=True):
        files = files.append_column(name, column.take(at))
    return files


def _rows(files: pa.Table, catalog: Catalog, columns: list[str]) -> pa.Table:
    """The catalogue's; none, and nothing is read, where all of the files are new to it."""
    again = pc.any(pc.not_equal(files["why"], "new")).as_py()
    return catalog.read(columns) if again else SCHEMA.empty_table().select(columns)


def settle(before: pa.Table, catalog: Catalog, place: Place) -> None:
    """See to the pictures that were there before their photographs were done again.

    One that now has another name, as of another format, is deleted, or put aside where somebody has changed it. Where
    no new one could be made, the row of the failure keeps naming the old one, or a reader of images/ could not know.
    """
    if not len(before):
        return
    rows = catalog.read()
    rows = rows.filter(pc.is_in(rows["id"], value_set=before["id"]))
    now = {row["id"]: row for row in rows.select(["id", "status", "output", "source_version"]).to_pylist()}
    kept = []
    for old in before.to_pylist():
        new = now[old["id"]]
        if new["output"] is None:
            kept.append(old)
        elif new["output"] != old["output"] and old["output"].startswith(f"{place.uri}/images/"):
            path = place.path_of(old["output"])
            if not place.remove(path, is_content(old["output_sha256"])):
                place.put_aside(path)
    if kept:
        changed = {row["id"]: row for row in kept}
        lines = rows.filter(pc.is_in(rows["id"], value_set=pa.array(list(changed)))).to_pylist()
        catalog.append(pa.Table.from_pylist([line | changed[line["id"]] for line in lines], SCHEMA))
