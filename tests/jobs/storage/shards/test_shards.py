"""What both kinds of shards have in common."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.storage import shards
from jobs.storage.shards import Made

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


def through(source: str, output: str, data=bytes.upper, suffix: str | None = ".png") -> list[str]:
    """A shard with other photographs, and what those are called there."""
    names = []
    with shards.open_shard(source) as shard, shards.ShardWriter(output, like=shard) as writer:
        for portion in shard:
            made = [
                Made(one.data and data(one.data), suffix, {"status": "ok", "id": one.name})
                for one in portion.photographs
            ]
            names += writer.write(portion, made)
    return names


def photographs(uri: str) -> list[shards.Photograph]:
    with shards.open_shard(uri) as shard:
        return [photograph for portion in shard for photograph in portion.photographs]


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


def test_what_was_made_is_not_taken_for_an_original(shard, tmp_path):
    through(shard, output := str(tmp_path / "out"))
    with pytest.raises(shards.ShardError, match="already"):
        through(output, str(tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_a_photograph_that_is_not_there_is_not_read(shard):
    with pytest.raises(shards.ShardError, match="no "):
        shards.read_one(shard, "7")
