import pyarrow as pa
import pyarrow.parquet as pq

from jobs.storage.catalog import SCHEMA, Catalog


def rows(*pairs) -> pa.Table:
    return pa.Table.from_pylist([{"id": id, "status": status} for id, status in pairs], SCHEMA)


def current(catalog: Catalog) -> dict:
    table = catalog.read(["id", "status"])
    assert len(set(table["id"].to_pylist())) == len(table)
    return dict(zip(table["id"].to_pylist(), table["status"].to_pylist(), strict=True))


def test_a_later_row_supersedes_an_earlier_one(tmp_path):
    catalog = Catalog(str(tmp_path))
    assert current(catalog) == {}
    catalog.append(rows(("a", "error"), ("b", "ok")))
    catalog.append(rows(("a", "ok"), ("c", "skipped")))
    want = {"a": "ok", "b": "ok", "c": "skipped"}
    assert current(catalog) == current(Catalog(str(tmp_path))) == want
    catalog.compact()
    assert current(catalog) == want
    files = list((tmp_path / "catalog").iterdir())
    assert len(files) == 1
    assert pq.read_table(files[0]).num_rows == 3, "readers of the bare files see one row per input too"


def test_a_torn_file_counts_as_never_written(tmp_path):
    catalog = Catalog(str(tmp_path))
    catalog.append(rows(("a", "ok")))
    catalog.append(rows(("b", "ok")))
    torn = sorted((tmp_path / "catalog").iterdir())[1]
    torn.write_bytes(torn.read_bytes()[:-20])
    assert current(catalog) == {"a": "ok"}
    catalog.compact()
    assert current(catalog) == {"a": "ok"}


def test_dates_and_numbers_have_their_types(tmp_path):
    catalog = Catalog(str(tmp_path))
    catalog.append(rows(("a", "ok")))
    assert catalog.read().schema.equals(SCHEMA)


def test_a_catalogue_of_an_earlier_version_is_read(tmp_path):
    catalog = Catalog(str(tmp_path))
    catalog.create()
    old = rows(("a", "ok")).drop_columns(["kind", "pages"])
    pq.write_table(old, tmp_path / "catalog/part-0.parquet")
    catalog.append(rows(("b", "ok")))
    assert catalog.read().schema.equals(SCHEMA)
    assert current(catalog) == {"a": "ok", "b": "ok"}


def test_decisions_are_kept_until_the_photograph_is_done_again(tmp_path):
    catalog = Catalog(str(tmp_path))
    catalog.append(rows(("a", "ok"), ("b", "ok"), ("c", "ok")))
    catalog.decide({"a": "keep", "b": "redo", "elsewhere": "reject"})
    state = catalog.state
    catalog.decide({"a": "keep"})
    assert catalog.state == state, "nothing new"
    catalog.append(rows(("b", "ok"), ("d", "ok")))
    catalog.compact()
    found = catalog.read(["id", "decision"]).sort_by("id").to_pylist()
    assert [row["decision"] for row in found] == ["keep", None, None, None]
