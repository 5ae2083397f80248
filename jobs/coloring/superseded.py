"""Pictures that were there before their photographs were coloured again, maybe under another name."""

import pyarrow as pa
import pyarrow.compute as pc

from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.output import Place, is_content


def coloured(catalog: Catalog, files: pa.Table) -> pa.Table:
    """Rows of those of the files that have a colour photograph."""
    rows = catalog.read(["id", "output", "output_sha256"])
    return rows.filter(pc.and_(pc.is_in(rows["id"], value_set=files["id"]), pc.is_valid(rows["output"])))


def settle(before: pa.Table, catalog: Catalog, place: Place) -> None:
    """See to the pictures that were there before their photographs were done again.

    One that now has another name, as of another format, is deleted. Where no new one could be made, the row of the
    failure keeps naming the old one, or a reader of images/ could not know.
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
            place.remove(place.path_of(old["output"]), is_content(old["output_sha256"]))
    if kept:
        changed = {row["id"]: row for row in kept}
        lines = rows.filter(pc.is_in(rows["id"], value_set=pa.array(list(changed)))).to_pylist()
        catalog.append(pa.Table.from_pylist([line | changed[line["id"]] for line in lines], SCHEMA))
