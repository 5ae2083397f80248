import io
import os
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.storage import shards
from jobs.storage.shards import NOTED, ShardError, parquet
from tests.jobs.storage.shards.through import photographs, through

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMED = [{"bytes": b"first", "path": "a/0.webp"}, {"bytes": b"second", "path": None}, {"bytes": b"third", "path": "2"}]


def written(path, table: pa.Table | dict, **options) -> str:
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return str(path)


def png(level: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size, size), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_what_the_library_writes_goes_in_and_what_comes_out_is_read_by_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="for want of datasets: pip install '.[test]'")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["portrait", "landscape"]),
            "tags": datasets.List(datasets.Value("string")),
            "taken": datasets.Value("date32"),
        }
    )
    columns = {
        "image": [{"bytes": png(40 * i), "path": f"{i}.png"} for i in range(5)],
        "label": [0, 1, 1, 0, 1],
        "tags": [["snow"], [], ["sea", "boat"], [], ["sea"]],
        "taken": [None, *pd.date_range("1903-01-01", periods=4).date],
    }
    before = datasets.Dataset.from_dict(columns, features)
    before.to_parquet(tmp_path / "in.parquet")
    coloured = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(coloured, "PNG")
    through(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), lambda _: coloured.getvalue())
    after = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "out.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert {name: after.features[name] for name in features} == features
    others = ["label", "tags", "taken"]
    assert after.select_columns(others).to_dict() == before.select_columns(others).to_dict()
    assert [one.getpixel((0, 0)) for one in after["image"]] == [(255, 0, 0)] * 5
    assert [(one["status"], one["id"]) for one in after[NOTED]] == [("ok", str(i)) for i in range(5)]


@pytest.mark.parametrize(
    "type", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())]
)
@pytest.mark.parametrize("named", [False, True])
def test_a_column_of_photographs(tmp_path, type, named):
    data = [b"first", b"second", b"first", None]
    image = pa.array(data, pa.binary()).cast(type)
    if named:
        image = pa.StructArray.from_arrays([pa.array(["a.webp", None, "c", "d"]), image], ["path", "bytes"])
    source = written(tmp_path / "in.parquet", {"image": image, "n": range(4)})
    assert [one.data for one in photographs(source)] == data
    through(source, str(tmp_path / "out.parquet"))
    found = pq.read_table(tmp_path / "out.parquet")
    made = [b"FIRST", b"SECOND", b"FIRST", None]
    if named:
        made = [{"path": path, "bytes": one} for path, one in zip(["a.png", None, "c.png", "d"], made, strict=True)]
    assert found["image"].to_pylist() == made
    assert found.schema.field("image").type in (
        (type, pa.binary()) if not named else (image.type, pa.struct([("path", pa.string()), ("bytes", pa.binary())]))
    )


def test_other_columns_stay_as_they_are(tmp_path):
    table = pa.table(
        {
            "": pa.array([1, None, 3], pa.int8()),
            "image": pa.array(NAMED, STRUCT),
            "word": pa.array(["x", "y", "x"]).dictionary_encode(),
            "when": pa.array([1, 2, None], pa.timestamp("ns", "Europe/Vienna")),
            "exact": pa.array([1, 2, 3], pa.decimal128(20, 4)),
            "deep": [[{"a": [1, 2], "b": {"c": "x"}}], [], None],
            "places": pa.array([[("here", 1)], [], None], pa.map_(pa.string(), pa.int32())),
            "large": pa.array(["x", "y", None], pa.large_string()),
            "half": pa.array(np.array([1, 2, 3], np.float16)),
            "vector": pa.array([[1, 2], [3, 4], None], pa.list_(pa.float32(), 2)),
            "words": pa.array([["x", "y"], ["x"], []], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        }
    ).replace_schema_metadata({"who": "the archive"})
    fields = [field.with_metadata({"unit": "m"}) if field.name == "large" else field for field in table.schema]
    table = table.cast(pa.schema(fields, table.schema.metadata))
    source = written(tmp_path / "in.parquet", table)
    through(source, str(tmp_path / "out.parquet"))
    before, after = pq.read_table(source), pq.read_table(tmp_path / "out.parquet")
    assert after.column_names == [*before.column_names, NOTED]
    assert after.drop(["image", NOTED]).equals(before.drop(["image"]), check_metadata=True)
    assert after.schema.metadata == before.schema.metadata


def test_pandas_reads_it_as_before(tmp_path):
    frame = pd.DataFrame({"image": [b"a", b"b"], "n": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    frame.to_parquet(tmp_path / "in.parquet")
    through(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), lambda _: None)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet").drop(columns=NOTED), frame)


def test_columns_are_compressed_as_they_were_and_photographs_are_not(tmp_path):
    columns = {"image": NAMED, "n": [1, 2, 3], "tags": [["a"], ["b"], []], "text": ["a", "b", "c"]}
    codecs = {"image.bytes": "snappy", "image.path": "zstd", "n": "gzip", "tags.list.element": "zstd", "text": "none"}
    source = written(tmp_path / "in.parquet", columns, compression=codecs, use_dictionary=["text"])
    through(source, str(tmp_path / "out.parquet"))
    group = pq.read_metadata(tmp_path / "out.parquet").row_group(0)
    found = {chunk.path_in_schema: chunk for chunk in map(group.column, range(5))}
    assert {path: chunk.compression.lower() for path, chunk in found.items()} == codecs | {
        "image.bytes": "uncompressed", "text": "uncompressed"
    }  # fmt: skip
    assert [path for path, chunk in found.items() if chunk.has_dictionary_page] == ["text"]
    assert not found["image.bytes"].statistics


def test_rows_without_a_photograph(tmp_path):
    rows = [None, {"bytes": None, "path": None}, {"bytes": None, "path": "/scans/a.jpg"}, NAMED[0]]
    source = written(tmp_path / "in.parquet", {"image": pa.array(rows, STRUCT)})
    problems = [one.problem for one in photographs(source)]
    assert "null" in problems[0] and "null" in problems[1] and "no bytes" in problems[2] and problems[3] is None
    with pytest.raises(ShardError, match="no bytes"):
        shards.read_one(source, "2")
    through(source, str(tmp_path / "out.parquet"))
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["image"].to_pylist() == [*rows[:3], {"bytes": b"FIRST", "path": "a/0.png"}]
    assert [note["status"] for note in found[NOTED].to_pylist()] == ["error"] * 3 + ["ok"]


@pytest.mark.parametrize("rows", [0, 7])
def test_row_groups_without_rows(tmp_path, rows):
    schema = pa.schema([("image", STRUCT), ("n", pa.int64())])
    with pq.ParquetWriter(tmp_path / "in.parquet", schema) as writer:
        for n in (0, rows, 0):
            writer.write_table(pa.Table.from_pylist([{"image": NAMED[0], "n": i} for i in range(n)], schema))
    source, output = str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet")
    assert shards.count(source) == rows
    assert through(source, output) == [str(i) for i in range(rows)]
    assert pq.read_table(output)["n"].to_pylist() == [*range(rows)]
    assert NOTED in pq.read_schema(output).names


def test_any_row_can_be_read_alone(tmp_path):
    images = [{"bytes": bytes([i]) * 1000, "path": None} for i in range(25)]
    source = written(tmp_path / "in.parquet", {"n": range(25), "image": images}, row_group_size=10)
    for i in (0, 9, 10, 24):
        assert shards.read_one(source, str(i)) == images[i]["bytes"]
    for name in ("25", "-1", "a.jpg", "¹"):
        with pytest.raises(ShardError, match="has 25 of them"):
            shards.read_one(source, name)


def test_portions_and_row_groups_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.storage.shards.portions.PORTION_BYTES", 2500)
    monkeypatch.setattr(parquet, "PORTION_BYTES", 2500)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 10_000)
    sizes = [1000] * 5 + [9000] + [1000] * 6
    source = written(tmp_path / "in.parquet", {"image": [bytes(size) for size in sizes]})
    with shards.open_shard(source) as shard:
        found = [[len(one.data) for one in portion.photographs] for portion in shard]
    assert [*chain(*found)] == sizes and max(map(sum, found)) == 9000 and [9000] in found
    through(source, str(tmp_path / "out.parquet"))
    groups = pq.ParquetFile(tmp_path / "out.parquet")
    assert [groups.metadata.row_group(i).num_rows for i in range(groups.num_row_groups)] == [6, 6]


def test_what_becomes_much_larger_fits(tmp_path, monkeypatch):
    """Offsets in Arrow's columns end at 2 GB."""
    monkeypatch.setattr("jobs.storage.shards.portions.PORTION_BYTES", 2500)
    source = written(tmp_path / "in.parquet", {"image": [b"x"] * 10})
    added = []
    add = parquet.ParquetShardWriter._add
    monkeypatch.setattr(
        parquet.ParquetShardWriter, "_add", lambda self, rows, *rest: (added.append(len(rows)), add(self, rows, *rest))
    )
    through(source, str(tmp_path / "out.parquet"), lambda data: data * 1000)
    assert added == [2] * 5


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: data[:-100], "is damaged or cut short"),
        (lambda data: data[:1000], "is damaged or cut short"),
        (lambda data: data[:100] + b"x" * 200 + data[300:], "is damaged or cut short .*CRC"),
        (lambda data: b"", "is damaged or cut short"),
        (lambda data: b"no such thing" * 100, "is damaged or cut short"),
    ],
    ids=["footer", "half", "a page", "empty", "another file"],
)
def test_damaged_shards(tmp_path, damage, what):
    path = tmp_path / "in.parquet"
    image = [np.random.default_rng(i).bytes(1000) for i in range(5)]
    written(path, {"image": image}, write_page_checksum=True)
    path.write_bytes(damage(path.read_bytes()))
    assert shards.kind_of(str(path)) == "parquet"  # as it is called, else it would be lost without a word
    with pytest.raises(ShardError, match=what):
        through(str(path), str(tmp_path / "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


def test_a_codec_that_nobody_knows(tmp_path):
    """PyArrow can end the process over one."""
    written(tmp_path / "in.parquet", {"image": [b"first"]})
    data = (tmp_path / "in.parquet").read_bytes()
    named = b"\x05image\x15"  # a column's path and, in Thrift's compact protocol, what its codec follows
    assert named in data
    (tmp_path / "in.parquet").write_bytes(data.replace(named + b"\x02", named + b"\x7f"))
    with pytest.raises(ShardError, match="codec"):
        through(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))


def test_a_path_that_is_no_text(tmp_path):
    path = pa.Array.from_buffers(pa.string(), 1, pa.array([b"f\xfcr.jpg"]).buffers())
    image = pa.StructArray.from_arrays([pa.array([b"first"]), path], ["bytes", "path"])
    with pytest.raises(ShardError, match=r"is damaged .*utf-8"):
        photographs(written(tmp_path / "in.parquet", {"image": image}))


def test_columns_that_must_have_values_and_more_beside_a_photograph(tmp_path):
    inner = [pa.field("bytes", pa.binary(), False), pa.field("path", pa.string(), False), ("width", pa.int32())]
    schema = pa.schema([pa.field("image", pa.struct(inner), False)])
    rows = [{"image": {"bytes": b"first", "path": "a.webp", "width": 7}}] * 3
    through(written(tmp_path / "in.parquet", pa.Table.from_pylist(rows, schema)), str(tmp_path / "out.parquet"))
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["image"].to_pylist() == [{"bytes": b"FIRST", "path": "a.png", "width": 7}] * 3
    assert found.schema.field("image") == schema.field("image")


def test_tables_without_photographs(tmp_path):
    """img2dataset leaves such beside its archives."""
    source = written(tmp_path / "in.parquet", {"url": ["a"], "key": ["b"]})
    assert shards.kind_of(source) is None
    with pytest.raises(ShardError, match="is no shard"):
        photographs(source)


@pytest.mark.parametrize("image", [["a.jpg"], [[b"a"]], [{"path": "a.jpg"}], [{"bytes": "a", "path": "b"}]])
def test_a_column_of_something_else(tmp_path, image):
    with pytest.raises(ShardError, match=r"image of .*in\.parquet holds .*, not photographs"):
        photographs(written(tmp_path / "in.parquet", {"image": image}))


def test_a_storage_that_fails_does_not_make_a_shard_damaged(tmp_path, monkeypatch):
    source = written(tmp_path / "in.parquet", {"image": [os.urandom(1000) for _ in range(5)]})

    def fails(self, start, end):
        self.failure = OSError("the network is down")
        raise self.failure

    with pytest.raises(OSError, match="network is down"), shards.open_shard(source) as shard:
        monkeypatch.setattr("jobs.storage.shards.reading.ShardFile._read", fails)
        list(shard)
