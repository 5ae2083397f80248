"""The catalogue's files of shards: what their footers say, and what people say of their photographs."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.storage import shard_rows
from jobs.storage.catalog import Catalog
from jobs.storage.output import Place
from jobs.storage.shard_rows import Footer, Group, ShardRows

ID = "0" * 32


def row(i: int, **values) -> dict:
    common = {"id": f"id-{i}", "source": f"/s/a.tar#{i}.jpg", "status": "ok", "kind": "grey", "model": "m"}
    return common | {"settings": "x", "seconds": 0.5, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)} | values


@pytest.fixture
def written(tmp_path) -> str:
    rows = [row(i, confidence=(i * 7 % 10) / 10) for i in range(9)]
    rows.append(row(9, status="error", error=f"it has {1} pages", kind=None))
    with ShardRows(str(tmp_path), ID, Footer("a.tar", "/s/a.tar", "v1")) as file:
        file.add(rows[:4], ["jpeg"] * 4)
        file.add(rows[4:], ["jpeg"] * 5 + ["png"])
    return str(tmp_path)


def test_the_footer_says_what_the_rows_amount_to(written):
    (footer,) = shard_rows.footers(Place(written)).values()
    assert (footer.shard, footer.source, footer.version, footer.photographs) == ("a.tar", "/s/a.tar", "v1", 10)
    assert footer.groups == {Group("jpeg", "grey", "ok", "m", "x"): 9, Group("png", None, "error", "m", "x"): 1}
    assert [entry["confidence"] for entry in footer.doubtful] == [0.0, 0.1, 0.2]
    (reason,) = footer.reasons.values()
    assert (reason["count"], reason["examples"]) == (1, ["/s/a.tar#9.jpg"])
    assert Footer.parse(footer.json()) == footer


def test_a_footer_of_any_size_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_rows, "TAIL", 100)
    with ShardRows(str(tmp_path), ID, Footer("a.tar", "/s/a.tar", "v1")) as file:
        file.add([row(0)], ["png"])
    (footer,) = shard_rows.footers(Place(str(tmp_path))).values()
    assert footer.photographs == 1


def test_what_is_left_with_an_exception_or_damaged_is_not_done(written, tmp_path):
    with pytest.raises(ZeroDivisionError), ShardRows(written, "1" * 32, Footer("b.tar", "/s/b.tar", "v1")) as file:
        file.add([row(0)], ["png"])
        raise ZeroDivisionError
    assert [path.name for path in Path(written, "catalog").iterdir()] == [f"shard-{ID}.parquet"]
    path = Path(written, f"catalog/shard-{ID}.parquet")
    path.write_bytes(path.read_bytes()[:-40])
    assert shard_rows.footers(Place(written)) == {ID: None}


def test_decisions_are_rows_of_the_same_file(written):
    assert shard_rows.where(Place(written), ["id-3", "id-7", "elsewhere"]) == {ID: ["id-3", "id-7"]}
    before = shard_rows.footers(Place(written))
    shard_rows.decide(written, ID, {"id-3": "keep", "id-7": "reject"})
    shard_rows.decide(written, ID, {"id-7": "redo"})
    found = {row["id"]: row["decision"] for row in Catalog(written).read(["id", "decision"]).to_pylist()}
    assert {id: said for id, said in found.items() if said} == {"id-3": "keep", "id-7": "redo"} and len(found) == 10
    assert shard_rows.footers(Place(written)) == before
    Catalog(written).compact()
    assert len(pq.read_table(f"{written}/catalog")) == 10 and len(list(Path(written, "catalog").iterdir())) == 1
