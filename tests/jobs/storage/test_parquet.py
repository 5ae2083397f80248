import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.storage import parquet
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.parquet import ParquetWriter, sweep


@pytest.fixture
def output(tmp_path) -> str:
    return str(tmp_path / "out")


def write(output: str, *photographs: tuple[str, bytes], version: str = "1", recorded: bool = True) -> list[dict]:
    """Photographs in one file, and unless a kill came between, their catalogue rows."""
    writer = ParquetWriter(output)
    common = {"source_version": version, "status": "ok", "width": 1, "height": 1}
    rows = [{"id": id, "source": f"/{id}"} | common for id, _ in photographs]
    for row, (id, data) in zip(rows, photographs, strict=True):
        writer.add(row, f"{id}.png", data)
    writer.flush()
    if recorded:
        Catalog(output).append(pa.Table.from_pylist(rows, SCHEMA))
    return rows


def stored(output: str) -> list[tuple[str, bytes]]:
    """What a reader of the bare files finds."""
    table = pq.read_table(f"{output}/parquet")
    return sorted((row["id"], row["image"]["bytes"]) for row in table.to_pylist())


def test_images_are_structs_of_bytes_and_path(output):
    rows = write(output, ("a", b"A"), ("b", b"B"))
    image = pq.read_table(rows[0]["output"])["image"].to_pylist()
    assert image == [{"bytes": b"A", "path": "a.png"}, {"bytes": b"B", "path": "b.png"}]


def test_files_have_a_bounded_size(output, monkeypatch):
    monkeypatch.setattr(parquet, "FILE_BYTES", 100)
    rows = write(output, *((str(i), bytes([i]) * 40) for i in range(5)))
    assert [len(pq.read_table(path)) for path in dict.fromkeys(row["output"] for row in rows)] == [2, 2, 1]


def test_sweep_leaves_each_photograph_in_the_file_that_its_row_names(output):
    write(output, ("a", b"A"), ("b", b"B"), ("c", b"C"))
    write(output, ("b", b"B again"), version="2")  # a changed source
    write(output, ("d", b"D"), recorded=False)  # killed before its row was written
    sweep(Catalog(output), output)
    assert stored(output) == [("a", b"A"), ("b", b"B again"), ("c", b"C")]
    for row in Catalog(output).read().to_pylist():
        assert row["id"] in pq.read_table(row["output"])["id"].to_pylist()
    before = stored(output), Catalog(output).read()
    sweep(Catalog(output), output)
    assert (stored(output), Catalog(output).read()) == before


def test_by_another_name_of_output_nothing_is_lost(output, tmp_path):
    """As through a link, or where the folder was moved: rows name the place where it was."""
    write(output, ("a", b"A"), ("b", b"B"))
    os.symlink(output, other := str(tmp_path / "link"))
    write(other, ("b", b"B again"), version="2")
    os.remove(other)
    os.rename(output, moved := str(tmp_path / "moved"))
    sweep(Catalog(moved), moved)
    assert stored(moved) == [("a", b"A"), ("b", b"B again")]


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_photographs_in_a_lost_file_are_not_done(output, damage):
    rows = write(output, ("a", b"A"), ("b", b"B"))
    write(output, ("c", b"C"))
    path = rows[0]["output"]
    with open(path, "r+b") as file:
        file.truncate(50)
    if damage == "missing":
        os.remove(path)
    sweep(Catalog(output), output)
    assert stored(output) == [("c", b"C")]
    versions = {row["id"]: row["source_version"] for row in Catalog(output).read().to_pylist()}
    assert versions == {"a": "", "b": "", "c": "1"}
