"""Parquet files with photographs in a column ``image``: bytes, or a struct of ``bytes`` and ``path``."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.storage.files import printable
from jobs.storage.shards import image_column
from jobs.storage.shards.image_column import IMAGE
from jobs.storage.shards.portions import (
    NOTE,
    NOTED,
    PORTION_BYTES,
    PORTION_PHOTOGRAPHS,
    Made,
    Photograph,
    Portion,
    ShardError,
    cut,
    renamed,
)
from jobs.storage.shards.reading import AHEAD, ShardFile

GROUP_BYTES, GROUP_ROWS = 64 << 20, 1000  # of a row group that is written, or a little more
HELD = 64 << 20  # bytes of a row group that is read from an object store at once
MOST = (1 << 31) - (1 << 20)  # bytes of a photograph in a column; Arrow's offsets have 32 bits
_FOOTER = 256 << 10  # bytes at the end of a file, with what is known of its columns and row groups or most of it
_BUFFER = 1 << 20  # bytes of each column that are read at a time on this machine


@dataclass(slots=True, kw_only=True)
class Rows(Portion):
    rows: pa.RecordBatch
    """All but the photographs' bytes."""
    originals: list[bytes | None]


class ParquetShard:
    """An open one, to be read once. Iterating raises ``ShardError`` where it is damaged, and ``OSError``."""

    kind = "parquet"

    def __init__(self, file: ShardFile, uri: str):
        self.uri, self._source = uri, file
        with self._whole():
            self.file = pq.ParquetFile(
                file,
                pre_buffer=False,
                buffer_size=_BUFFER if file.is_local else AHEAD,
                page_checksum_verification=True,
            )
        self.schema = image_column.plain(self.file.schema_arrow, uri)

    def __len__(self) -> int:
        """Its photographs."""
        return self.file.metadata.num_rows

    def __iter__(self) -> Iterator[Rows]:
        portioned = _Portions(0)
        with self._whole():
            for group in range(self.file.num_row_groups):
                for portions in map(portioned, self._batches(group)):
                    while portions:
                        yield portions.pop(0)  # let go of here, before others are read

    def read_one(self, name: str) -> bytes:
        number = int(name) if name.isdecimal() else -1
        with self._whole():
            for group in range(self.file.num_row_groups):
                there = self.file.metadata.row_group(group).num_rows
                if 0 <= number < there:
                    for rows in self._batches(group, [IMAGE]):
                        if number < len(rows):
                            (portion,) = _Portions(int(name))(rows.slice(number, 1))
                            (photograph,) = portion.photographs
                            if photograph.data is None:
                                raise ShardError(f"{self.uri}: {photograph.problem}")
                            return photograph.data
                        number -= len(rows)
                number -= there
        raise ShardError(f"{self.uri} has no row {name}: it has {len(self):,} of them")

    def _batches(self, group: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        found = self.file.metadata.row_group(group)
        if not found.num_rows:
            return iter(())
        chunks = [found.column(i) for i in range(found.num_columns)]
        if columns:
            chunks = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
        start = min(chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks)
        end = start + sum(chunk.total_compressed_size for chunk in chunks)
        if end - start <= HELD:
            self._source.hold(start, end)
        each = max(sum(chunk.total_uncompressed_size for chunk in chunks) // found.num_rows, 1)
        size = max(1, min(PORTION_PHOTOGRAPHS, PORTION_BYTES // each))
        # A thread each for the columns would hold a whole row group of each.
        batches = self.file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False)
        return map(self._plain, batches)

    def _plain(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        image, wanted = image_column.column(rows), self.schema.field(IMAGE).type
        return rows if image.type == wanted else image_column.with_column(rows, image.cast(wanted))

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """What a decoder raises becomes a ``ShardError``, unless it was the storage that failed."""
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if self._source.failure:
                raise self._source.failure from None
            what = " ".join(str(error).split())
            raise ShardError(f"{self.uri} is damaged or cut short ({what}): copy it again") from error


class ParquetShardWriter:
    """The rows of ``like`` with other photographs, and the column ``colorize``."""

    most = MOST
    """Bytes of a photograph that it can hold."""

    def __init__(self, sink, like: ParquetShard):
        if NOTED in like.schema.names:
            raise ShardError(
                f"{like.uri} has a column {NOTED} already, as what this program makes has: "
                "point the job to the originals"
            )
        self._sink, self._like = sink, like
        self.schema = _extended(like.schema)
        self._pending: list[pa.RecordBatch] = []
        self._bytes = 0

    @cached_property
    def _file(self) -> pq.ParquetWriter:
        """Made once there are rows: where a codec's name is damaged PyArrow says so when it reads them, and ends the
        process when it is asked for the name.
        """
        return pq.ParquetWriter(self._sink, self.schema, **_as_in(self._like.file.metadata, self.schema))

    def write(self, portion: Portion, made: Sequence[Made]) -> list[str]:
        """Returns the photographs' names in this shard."""
        assert isinstance(portion, Rows) and len(made) == len(portion.rows)
        data = [
            original if one.data is None else one.data for original, one in zip(portion.originals, made, strict=True)
        ]
        for some in cut([len(one or b"") for one in data]):
            self._add(portion.rows[some], data[some], made[some])
        return [photograph.name for photograph in portion.photographs]

    def close(self) -> None:
        self._flush()
        self._file.close()

    def abandon(self) -> None:
        if "_file" in self.__dict__:
            self._file.is_open = False  # else it would write to the file once it is collected

    def _add(self, rows: pa.RecordBatch, data: Sequence[bytes | None], made: Sequence[Made]) -> None:
        image = image_column.column(rows)
        paths = [
            path and (path if one.data is None else renamed(path, one.suffix))
            for path, one in zip(image_column.paths(image), made, strict=True)
        ]
        columns = image_column.with_column(rows, image_column.rebuilt(image, data, paths)).columns
        noted = pa.array([one.note for one in made], self.schema.field(NOTED).type)
        self._pending.append(pa.record_batch([*columns, noted], schema=self.schema))
        self._bytes += self._pending[-1].nbytes
        if self._bytes >= GROUP_BYTES or sum(map(len, self._pending)) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self.schema)
            self._pending, self._bytes = [], 0
            self._file.write_table(table, row_group_size=len(table))


def has_photographs(file: ShardFile) -> bool:
    """Of a Parquet file, or of what begins as one and has lost its end."""
    file.hold(max(0, file.size - _FOOTER), file.size)
    try:
        return IMAGE in pq.read_schema(file).names
    except (pa.ArrowException, OSError):
        if file.failure:
            raise
        return True


class _Portions:
    """Makes portions of rows, the first of which has a number in the shard."""

    def __init__(self, first: int):
        self._next = first

    def __call__(self, rows: pa.RecordBatch) -> list[Rows]:
        image = image_column.column(rows)
        paths, data, portions = image_column.paths(image), image_column.data(image), []
        rows = image_column.with_column(rows, image_column.rebuilt(image, [None] * len(rows), paths))
        for some in cut(image_column.sizes(image)):
            photographs = [self._photograph(*one) for one in zip(paths[some], data[some], strict=True)]
            portions.append(Rows(photographs=photographs, rows=rows[some], originals=data[some]))
        return portions

    def _photograph(self, path: str | None, data: bytes | None) -> Photograph:
        name, self._next = str(self._next), self._next + 1
        label, problem = printable(path or name), None
        if data is None and path:
            problem = f"its row holds no bytes, only a path ({label}): write the set anew with the photographs in it"
        elif data is None:
            problem = "its row holds no photograph (null)"
        return Photograph(name, label, data, problem)


def _extended(schema: pa.Schema) -> pa.Schema:
    """With our column, of which Hugging Face's metadata tell where they tell of columns at all."""
    metadata = dict(schema.metadata or {})
    with contextlib.suppress(ValueError, KeyError, TypeError):
        theirs = json.loads(metadata[b"huggingface"])
        theirs["info"]["features"][NOTED] = {field.name: {"dtype": str(field.type), "_type": "Value"} for field in NOTE}
        metadata[b"huggingface"] = json.dumps(theirs).encode()
    return schema.append(pa.field(NOTED, pa.struct(NOTE))).with_metadata(metadata)


def _as_in(metadata: pq.FileMetaData, schema: pa.Schema) -> dict:
    """How to write the columns of ``schema``: as those of a shard are, but photographs as they come."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)  # what the leaves are called depends on who wrote them
    leaves = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    compression, dictionaries, statistics = {}, [], []
    for i in range(len(leaves)):
        path = leaves.column(i).path
        there = metadata.row_group(0).column(i) if metadata.num_rows and i < metadata.num_columns else None
        photographs = path in (IMAGE, f"{IMAGE}.bytes")
        codec = there.compression.lower() if there else "snappy"
        compression[path] = "none" if photographs or codec == "uncompressed" else codec.replace("lz4_raw", "lz4")
        if not photographs:
            statistics.append(path)
            if there is None or any("DICTIONARY" in encoding for encoding in there.encodings):
                dictionaries.append(path)
    return {
        "compression": compression,
        "use_dictionary": dictionaries,
        "write_statistics": statistics,
        "write_batch_size": 16,  # rows after which a page may end: else a thousand photographs make one
    }
