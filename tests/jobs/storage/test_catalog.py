import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.storage.catalog import SCHEMA, Catalog, Damaged


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


def test_a_file_of_somebody_else_is_neither_read_nor_deleted(tmp_path):
    catalog = Catalog(str(tmp_path))
    catalog.append(rows(("a", "ok")))
    foreign = tmp_path / "catalog/notes.parquet"
    pq.write_table(rows(("b", "ok")), foreign)
    catalog.append(rows(("c", "ok")))
    catalog.compact()
    assert current(catalog) == {"a": "ok", "c": "ok"} and foreign.is_file()


def test_later_rows_win_whatever_the_clock_does(tmp_path, monkeypatch):
    catalog = Catalog(str(tmp_path))
    catalog.append(rows(("a", "error")))
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    catalog.append(rows(("a", "ok")))
    Catalog(str(tmp_path)).append(rows(("b", "ok")))
    assert current(catalog) == {"a": "ok", "b": "ok"}
    catalog.compact()
    assert current(catalog) == {"a": "ok", "b": "ok"}


def test_damage_is_never_silent(tmp_path):
    """100 random damages: bits flipped, cuts, zeroed stretches, of one of several files or the only one."""
    rng = np.random.default_rng(0)
    for attempt in range(100):
        output = tmp_path / str(attempt)
        catalog = Catalog(str(output))
        for part in range(rng.integers(1, 4)):
            catalog.append(rows(*((f"{part}-{i}", "ok") for i in range(200))))
        whole = current(catalog)
        victim = sorted((output / "catalog").iterdir())[rng.integers(len(list((output / "catalog").iterdir())))]
        data = bytearray(victim.read_bytes())
        place = rng.integers(len(data))
        if attempt % 3 == 0:
            data[place] ^= 1 << rng.integers(8)
        elif attempt % 3 == 1:
            del data[place:]
        else:
            data[place : place + 8] = bytes(len(data[place : place + 8]))
        if bytes(data) == victim.read_bytes():  # zeros where there were zeros
            assert current(catalog) == whole
            continue
        victim.write_bytes(data)
        for reading in (catalog.read, catalog.compact):
            with pytest.raises(Damaged, match=r"is damaged \(.*colorize verify") as raised:
                reading() if len(whole) > 200 or reading == catalog.read else catalog.read()
            assert victim.name in str(raised.value)
        assert catalog.damaged() == [str(victim)]
        catalog.place.put_aside(str(victim))
        assert set(current(catalog)) < set(whole) and (output / f"damaged/catalog-{victim.name}").is_file()


def test_dates_and_numbers_have_their_types(tmp_path):
    catalog = Catalog(str(tmp_path))
    catalog.append(rows(("a", "ok")))
    assert catalog.read().schema.equals(SCHEMA)


def test_a_catalogue_of_an_earlier_version_is_read(tmp_path):
    catalog = Catalog(str(tmp_path))
    (tmp_path / "catalog").mkdir()
    old = rows(("a", "ok")).drop_columns(["kind", "pages"])
    pq.write_table(old, tmp_path / f"catalog/part-{1:020d}.parquet")
    catalog.append(rows(("b", "ok")))
    assert catalog.read().schema.equals(SCHEMA)
    assert current(catalog) == {"a": "ok", "b": "ok"}
    catalog.compact()
    assert len(list((tmp_path / "catalog").iterdir())) == 1, "it is ours"


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
