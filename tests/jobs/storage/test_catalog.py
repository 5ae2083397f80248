import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.storage.catalog import SCHEMA, Catalog, Damaged
from jobs.storage.parts import WHOLE, Part


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
        assert set(current(catalog)) < set(whole) and (output / f"aside/catalog/{victim.name}").is_file()


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


LOW, HIGH = "0" * 32, "f" * 32  # ids of the first and of the last part


def names(tmp_path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (tmp_path / "catalog").iterdir())


def test_a_part_sees_its_own_rows_and_leaves_those_of_others_alone(tmp_path):
    whole, first, second = (Catalog(str(tmp_path), part) for part in (WHOLE, Part(1, 2), Part(2, 2)))
    whole.append(rows((LOW, "error"), (HIGH, "error")))
    assert current(first) == {LOW: "error"} and current(second) == {HIGH: "error"}
    first.append(rows((LOW, "ok")))
    second.append(rows((HIGH, "ok")))
    assert current(first) == {LOW: "ok"} and current(second) == {HIGH: "ok"}
    assert current(whole) == {LOW: "ok", HIGH: "ok"}, "as one"
    assert not whole.is_disjoint and not first.is_disjoint
    first.decide({LOW: "keep", HIGH: "reject"})
    assert whole.read(["id", "decision"]).sort_by("id").to_pylist() == [
        {"id": LOW, "decision": "keep"}, {"id": HIGH, "decision": None}
    ]  # fmt: skip
    whole.append(rows((LOW, "skipped")))
    assert current(first) == {LOW: "skipped"}, "the later one counts, whoever wrote it"


def test_the_last_part_removes_what_all_had_a_share_in(tmp_path):
    whole = Catalog(str(tmp_path))
    whole.append(rows((LOW, "error"), (HIGH, "error")))
    quarters = [Catalog(str(tmp_path), Part(number, 4)) for number in range(1, 5)]
    quarters[0].append(rows((LOW, "ok")))
    for catalog in quarters:
        assert "part-00000000000000000001" in names(tmp_path)
        catalog.compact()
    assert [name.partition("-")[2][20:] for name in names(tmp_path)] == [f"-{n}of4-all" for n in (1, 2, 3, 4)]
    assert current(whole) == {LOW: "ok", HIGH: "error"} and whole.is_disjoint
    found = pq.read_table(tmp_path / "catalog").sort_by("id").to_pylist()
    assert [row["status"] for row in found] == ["ok", "error"], "readers of the bare files see one row per input"
    before = names(tmp_path)
    for catalog in quarters:
        catalog.compact()
    assert names(tmp_path) == before, "nothing is written twice"
    Catalog(str(tmp_path), Part(1, 2)).compact()
    assert len(names(tmp_path)) == 3 and current(whole) == {LOW: "ok", HIGH: "error"}
    whole.compact()
    assert len(names(tmp_path)) == 1 and current(whole) == {LOW: "ok", HIGH: "error"}


def test_what_was_written_after_a_part_was_done_stays(tmp_path):
    whole, first, second = (Catalog(str(tmp_path), part) for part in (WHOLE, Part(1, 2), Part(2, 2)))
    whole.append(rows((HIGH, "error")))
    first.compact()
    whole.append(rows((LOW, "ok"), (HIGH, "error")))
    second.append(rows((HIGH, "ok")))
    second.compact()
    assert current(whole) == {LOW: "ok", HIGH: "ok"}
