"""What both kinds of shards have in common."""

import errno
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from jobs.storage import files, shards
from jobs.storage.shards import ParquetShardWriter, WebDatasetWriter, reading
from tests.jobs.storage.shards.through import photographs, through

PHOTOGRAPHS = [b"first", b"second", b"third"]


def parquet(path: Path) -> str:
    images = [{"bytes": data, "path": f"{i}.webp"} for i, data in enumerate(PHOTOGRAPHS)]
    pq.write_table(pa.table({"image": images, "label": ["a", "b", "c"]}), path)
    return str(path)


def webdataset(path: Path) -> str:
    with tarfile.open(path, "w") as archive:
        for i, data in enumerate(PHOTOGRAPHS):
            for name, content in ((f"{i}.webp", data), (f"{i}.txt", b"caption")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.fixture(params=[parquet, webdataset], ids=["parquet", "webdataset"])
def shard(request, tmp_path) -> str:
    return request.param(tmp_path / ("a.parquet" if request.param is parquet else "a.tar"))


def test_photographs_are_read_in_order_and_replaced(shard, tmp_path):
    assert [one.data for one in photographs(shard)] == PHOTOGRAPHS
    output = str(tmp_path / "out" / "a")
    names = through(shard, output)
    assert [one.data for one in photographs(output)] == [data.upper() for data in PHOTOGRAPHS]
    assert [one.label for one in photographs(output)] == ["0.png", "1.png", "2.png"]
    assert [shards.read_one(output, name) for name in names] == [data.upper() for data in PHOTOGRAPHS]
    assert shards.kind_of(output) == shards.kind_of(shard)


def test_a_photograph_that_is_left_stays_as_it_is(shard, tmp_path):
    through(shard, output := str(tmp_path / "out"), data=lambda _: None)
    assert [(one.label, one.data) for one in photographs(output)] == [
        (f"{i}.webp", data) for i, data in enumerate(PHOTOGRAPHS)
    ]


def test_nothing_is_there_before_all_is(shard, tmp_path):
    output = tmp_path / "out" / "a"

    def fails(data: bytes) -> bytes:
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        through(shard, str(output), fails)
    assert not list(output.parent.iterdir())


def test_what_is_made_does_not_depend_on_when(shard, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    through(shard, str(one))
    through(shard, str(two))
    assert one.read_bytes() == two.read_bytes()


def test_the_leftover_of_a_killed_process_is_taken_over(shard, tmp_path):
    through(shard, str(tmp_path / "one"))
    with pytest.raises(KeyboardInterrupt), files.stored(str(tmp_path / "two")):
        (leftover,) = {*tmp_path.iterdir()} - {tmp_path / "one", Path(shard)}
        raise KeyboardInterrupt
    leftover.write_bytes(b"what was written before" * 1000)
    through(shard, str(tmp_path / "two"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() and not leftover.exists()


@pytest.mark.parametrize("kind", [parquet, webdataset])
def test_a_shard_that_shrinks_while_it_is_read(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("tests.jobs.storage.test_shards.PHOTOGRAPHS", [os.urandom(100_000) for _ in range(3)])
    shard = kind(tmp_path / "a")
    with pytest.raises(OSError, match="shorter"), shards.open_shard(shard) as opened:
        os.truncate(shard, 50_000)
        list(opened)


def test_what_was_made_is_not_taken_for_an_original(shard, tmp_path):
    through(shard, output := str(tmp_path / "out"))
    with pytest.raises(shards.ShardError, match="already"):
        through(output, str(tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_a_photograph_that_is_not_there_is_not_read(shard):
    with pytest.raises(shards.ShardError, match="no "):
        shards.read_one(shard, "7")


def test_in_an_object_store(s3_endpoint, shard, tmp_path):
    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    fs.mkdirs("collections", exist_ok=True)
    fs.put(shard, "collections/in")
    through("s3://collections/in", "s3://collections/out")
    through(shard, str(tmp_path / "out"))
    assert fs.cat("collections/out") == (tmp_path / "out").read_bytes()
    assert shards.read_one("s3://collections/out", photographs("s3://collections/out")[1].name) == b"SECOND"


def test_in_a_zip_archive(shard, tmp_path):
    with zipfile.ZipFile(tmp_path / "shards.zip", "w") as file:
        file.write(shard, "inside")
    assert [one.data for one in photographs(f"zip://inside::file://{tmp_path}/shards.zip")] == PHOTOGRAPHS


def test_a_full_disk_is_known_as_one(shard):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "no space left")

    with shards.open_shard(shard) as opened, pytest.raises(OSError) as caught:
        kind = ParquetShardWriter if opened.kind == "parquet" else WebDatasetWriter
        kind(Full(), opened).close()
    assert files.is_full(caught.value)


def test_nothing_is_left_in_an_object_store_where_that_was_not_all(s3_endpoint, shard, monkeypatch):
    monkeypatch.setattr(files, "PART", 5 << 20)
    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    fs.mkdirs("halves", exist_ok=True)
    done = []

    def fails(data: bytes) -> bytes:
        if done:
            raise RuntimeError("halfway")
        done.append(data)
        return bytes(100 << 20)

    with pytest.raises(RuntimeError, match="halfway"):
        through(shard, "s3://halves/out", fails)
    assert not fs.exists("halves/out") and not fs.list_multipart_uploads("halves")


def test_an_object_is_asked_for_once(s3_endpoint, tmp_path, monkeypatch):
    """Each request takes as long as megabytes do, and each costs."""
    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    fs.mkdirs("counted", exist_ok=True)
    images = [np.random.default_rng(i).bytes(50_000) for i in range(400)]
    columns = {"image": images, "n": range(400)} | {f"column {i}": [str(i)] * 400 for i in range(10)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=100)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for i, data in enumerate(images):
            info = tarfile.TarInfo(f"{i}.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    asked = []
    read = reading.ShardFile._read
    monkeypatch.setattr(reading.ShardFile, "_read", lambda self, *at: (asked.append(at), read(self, *at))[1])
    for name, requests in (("a.parquet", 2 + 4), ("a.tar", 1 + 3)):  # of row groups, and of 8 MB each
        fs.put(str(tmp_path / name), f"counted/{name}")
        asked.clear()
        assert [one.data for one in photographs(f"s3://counted/{name}")] == images
        assert sum(end - start for start, end in asked) < 1.05 * os.path.getsize(tmp_path / name)
        assert len(asked) == requests
