"""Parquet files with photographs in a column ``image``: bytes, or a struct of ``bytes`` and ``path``."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.storage.files import printable
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

IMAGE = "image"
GROUP_BYTES, GROUP_ROWS = 64 << 20, 1000  # of a row group that is written, or a little more
HELD = 64 << 20  # bytes of a row group that is read from an object store at once
MOST = (1 << 31) - (1 << 20)  # bytes of a photograph in a column; Arrow's offsets have 32 bits
_BUFFER = 1 << 20  # bytes of each column that are read at a time on this machine


@dataclass(slots=True, kw_only=True)
class Rows(Portion):
    rows: pa.RecordBatch


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
        self.schema = _checked(self.file.schema_arrow, uri)

    def __len__(self) -> int:
        """Its photographs."""
        return self.file.metadata.num_rows

    def __iter__(self) -> Iterator[Rows]:
        first = 0
        with self._whole():
            for group in range(self.file.num_row_groups):
                for rows in self._batches(group):
                    yield from _portions(rows, first)
                    first += len(rows)

    def read_one(self, name: str) -> bytes:
        number = int(name) if name.isdecimal() else -1
        with self._whole():
            for group in range(self.file.num_row_groups):
                there = self.file.metadata.row_group(group).num_rows
                if 0 <= number < there:
                    for rows in self._batches(group, [IMAGE]):
                        if number < len(rows):
                            (photograph,) = next(_portions(rows.slice(number, 1), int(name))).photographs
                            if photograph.data is None:
                                raise ShardError(f"{self.uri}: {photograph.problem}")
                            return photograph.data
                        number -= len(rows)
                number -= there
        raise ShardError(f"{self.uri} has no row {name}: it has {len(self):,} of them")

    def _batches(self, group: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        found = self.file.metadata.row_group(group)
        if not found.num_rows:
            return
        chunks = [found.column(i) for i in range(found.num_columns)]
        if columns:
            chunks = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
        start = min(chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks)
        end = start + sum(chunk.total_compressed_size for chunk in chunks)
        if not self._source.is_local and end - start <= HELD:
            self._source.hold(start, end)
        each = max(sum(chunk.total_uncompressed_size for chunk in chunks) // found.num_rows, 1)
        size = max(1, min(PORTION_PHOTOGRAPHS, PORTION_BYTES // each))
        # A thread each for the columns would hold a whole row group of each.
        for rows in self.file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
            at = rows.schema.get_field_index(IMAGE)
            image = rows.column(at)
            if image.type != (wanted := self.schema.field(IMAGE).type):
                rows = rows.set_column(at, self.schema.field(IMAGE), image.cast(wanted))
            yield rows

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """What a decoder raises becomes a ``ShardError``, unless it was the storage that failed."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
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
        self.schema = _extended(like.schema)
        self._pending: list[pa.RecordBatch] = []
        self._bytes = 0
        self._file = pq.ParquetWriter(sink, self.schema, **_as_in(like.file.metadata, self.schema))

    def write(self, portion: Portion, made: Sequence[Made]) -> list[str]:
        """Returns the photographs' names in this shard."""
        assert isinstance(portion, Rows) and len(made) == len(portion.rows)
        originals, paths = _parts(portion.rows.column(portion.rows.schema.get_field_index(IMAGE)))
        data = [
            original.as_py() if one.data is None else one.data for original, one in zip(originals, made, strict=True)
        ]
        for some in cut([len(one or b"") for one in data]):
            self._add(portion.rows[some], data[some], paths and paths[some], made[some])
        return [photograph.name for photograph in portion.photographs]

    def close(self) -> None:
        self._flush()
        self._file.close()

    def abandon(self) -> None:
        self._file.is_open = False  # else it would write to the file once it is collected

    def _add(
        self, rows: pa.RecordBatch, data: list[bytes | None], paths: pa.Array | None, made: Sequence[Made]
    ) -> None:
        at = rows.schema.get_field_index(IMAGE)
        image, type = rows.column(at), self.schema.field(IMAGE).type
        if paths is not None:
            names = [
                path and (path if one.data is None else renamed(path, one.suffix))
                for path, one in zip(paths.to_pylist(), made, strict=True)
            ]
            parts = {"bytes": data, "path": names}
            fields = [type.field(i) for i in range(type.num_fields)]
            children = [
                pa.array(parts[field.name], field.type) if field.name in parts else pc.struct_field(image, i)
                for i, field in enumerate(fields)
            ]
            image = pa.StructArray.from_arrays(children, fields=fields, mask=image.is_null())
        else:
            image = pa.array(data, type)
        noted = pa.array([one.note for one in made], self.schema.field(NOTED).type)
        columns = [*rows.columns, noted]
        columns[at] = image
        self._pending.append(pa.record_batch(columns, schema=self.schema))
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
    try:
        return IMAGE in pq.read_schema(file).names
    except (pa.ArrowException, OSError):
        if file.failure:
            raise
        return True


def _checked(schema: pa.Schema, uri: str) -> pa.Schema:
    """Of what its batches are made to be: a photograph's bytes are plain ones. Raises ``ShardError``."""
    if schema.names.count(IMAGE) != 1:
        raise ShardError(f"{uri} has not one column called {IMAGE}: its columns are {', '.join(schema.names)}")
    at = schema.get_field_index(IMAGE)
    field = schema.field(at)
    if pa.types.is_struct(field.type):
        inner = [field.type.field(i) for i in range(field.type.num_fields)]
        if "bytes" in (one.name for one in inner):
            type = pa.struct([one.with_type(_plain(one.type)) if one.name in PARTS else one for one in inner])
            if _is_bytes(type.field("bytes").type):
                return schema.set(at, field.with_type(type))
    elif _is_bytes(type := _plain(field.type)):
        return schema.set(at, field.with_type(type))
    raise ShardError(
        f"the column {IMAGE} of {uri} holds {field.type}, not photographs: it must be binary, "
        "or a struct of bytes (binary) and path (string)"
    )


PARTS = ("bytes", "path")


def _plain(type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type):
        type = type.value_type
    return {pa.binary_view(): pa.binary(), pa.string_view(): pa.string()}.get(type, type)


def _is_bytes(type: pa.DataType) -> bool:
    return pa.types.is_binary(type) or pa.types.is_large_binary(type)


def _parts(image: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Bytes, and what they are called where that is kept beside them."""
    if not pa.types.is_struct(image.type):
        return image, None
    has_path = image.type.get_field_index("path") >= 0
    return pc.struct_field(image, "bytes"), pc.struct_field(image, "path") if has_path else pa.nulls(len(image))


def _portions(rows: pa.RecordBatch, first: int) -> Iterator[Rows]:
    """Of rows the first of which has this number in the shard."""
    data, paths = _parts(rows.column(rows.schema.get_field_index(IMAGE)))
    for some in cut(pc.fill_null(pc.binary_length(data), 0).to_pylist()):
        photographs = []
        for i in range(some.start, some.stop):
            path, one = paths[i].as_py() if paths is not None else None, data[i].as_py()
            label, problem = printable(path or str(first + i)), None
            if one is None and path:
                problem = f"its row holds a path ({label}) and no bytes: write the set anew with the photographs in it"
            elif one is None:
                problem = "its row holds no photograph (null)"
            photographs.append(Photograph(str(first + i), label, one, problem))
        yield Rows(photographs=photographs, rows=rows[some])


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
        there = metadata.row_group(0).column(i) if metadata.num_row_groups and i < metadata.num_columns else None
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
