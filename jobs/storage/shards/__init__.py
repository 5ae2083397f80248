"""Files that hold many photographs each: Parquet with a column ``image``, and WebDataset's tar archives.

They are streamed: neither reader nor writer ever holds more than a few portions of a shard. What is written has the
same kind, rows or members in the same order, and all else that was there as it was.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Literal

from jobs.storage.files import HEAD, stored
from jobs.storage.shards.parquet import ParquetShard, ParquetShardWriter, has_photographs
from jobs.storage.shards.portions import NOTE, NOTED, Made, Photograph, Portion, ShardError
from jobs.storage.shards.reading import ShardFile
from jobs.storage.shards.tar import begins_like_one
from jobs.storage.shards.webdataset import WebDatasetShard, WebDatasetWriter

__all__ = [
    "NOTE",
    "NOTED",
    "WITHIN",
    "Kind",
    "Made",
    "Photograph",
    "Portion",
    "Shard",
    "ShardError",
    "ShardWriter",
    "apart",
    "count",
    "kind_of",
    "open_shard",
    "read_one",
]

Kind = Literal["parquet", "webdataset"]
Shard = ParquetShard | WebDatasetShard

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
WITHIN = r"^(?P<shard>(?s:.*?)\.(?:tar|parquet))#"
"""How the place of a photograph in a shard begins, as the catalogue has it: SHARD#NAME. For RE2 as well."""
_TAR = re.compile(r"\.(tar|t[gbx]z|tar\.\w+)$", re.IGNORECASE)


def kind_of(uri: str) -> Kind | None:
    """What kind of shard a file is by its content, and where that is damaged by its name. Parquet files without
    photographs are none. Raises ``OSError``, and ``ShardError`` for a tar archive that is compressed.
    """
    with contextlib.closing(ShardFile(uri)) as file:
        return _kind(file, uri)


@contextlib.contextmanager
def open_shard(uri: str) -> Iterator[Shard]:
    """A shard to iterate over once, in ``Portion``s. Raises ``OSError``, and ``ShardError`` where it is none, or is
    damaged, which may be found late.
    """
    with contextlib.closing(ShardFile(uri)) as file:
        kind = _kind(file, uri)
        if kind is None:
            raise ShardError(f"{uri} is no shard: it must be Parquet with a column image, or a tar archive")
        yield ParquetShard(file, uri) if kind == "parquet" else WebDatasetShard(file, uri)


@contextlib.contextmanager
def ShardWriter(uri: str, like: Shard) -> Iterator[ParquetShardWriter | WebDatasetWriter]:
    """What is made of the shard ``like``, which must be open: all of its portions are to be written, in their order.

    It is at ``uri`` as a whole once this is left without an exception, and else not at all. Raises ``OSError``, and
    ``ShardError`` where ``like`` is what such a writer has made.
    """
    with stored(uri) as sink:
        made = ParquetShardWriter if isinstance(like, ParquetShard) else WebDatasetWriter
        writer = made(sink, like)  # type: ignore[arg-type]  # each has its own
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.abandon()
            raise


def read_one(uri: str, name: str) -> bytes:
    """One photograph of a shard, by its name there. Raises ``OSError``, and ``ShardError`` where there is none."""
    with open_shard(uri) as shard:
        return shard.read_one(name)


def apart(place: str) -> tuple[str, str] | None:
    """The shard that a photograph's place is in, and its name there; None where it has a file of its own."""
    found = re.match(WITHIN, place)
    return (found["shard"], place[found.end() :]) if found else None


def count(uri: str) -> int | None:
    """Photographs in a shard; None where that would take reading all of it. Raises as ``open_shard`` does."""
    with open_shard(uri) as shard:
        return len(shard) if isinstance(shard, ParquetShard) else None


def _kind(file: ShardFile, uri: str) -> Kind | None:
    file.hold(0, HEAD)
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"PAR1"):
        return "parquet" if has_photographs(file) else None
    compressed = next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
    if compressed and _TAR.search(uri):
        raise ShardError(f"{uri} is compressed ({compressed}): unpack it to a plain tar archive first")
    if begins_like_one(head):
        return "webdataset"
    suffix = uri.lower().rpartition(".")[2]
    return "webdataset" if suffix == "tar" else "parquet" if suffix == "parquet" else None
