"""The column ``image`` of a table: photographs as bytes, or as structs of ``bytes``, ``path`` and whatever else."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.storage.shards.portions import ShardError

IMAGE = "image"
PARTS = ("bytes", "path")


def plain(schema: pa.Schema, uri: str) -> pa.Schema:
    """With the type that the column is cast to, whose bytes and paths are neither views nor in dictionaries. Raises
    ``ShardError`` where it holds no photographs.
    """
    if schema.names.count(IMAGE) != 1:
        raise ShardError(f"{uri} has not one column called {IMAGE}: its columns are {', '.join(schema.names)}")
    at = schema.get_field_index(IMAGE)
    field = schema.field(at)
    type = _plain(field.type)
    if pa.types.is_struct(type):
        inner = [type.field(i) for i in range(type.num_fields)]
        type = pa.struct([one.with_type(_plain(one.type)) if one.name in PARTS else one for one in inner])
        bytes_type = type.field("bytes").type if type.get_field_index("bytes") >= 0 else None
    else:
        bytes_type = type
    if bytes_type not in (pa.binary(), pa.large_binary()):
        raise ShardError(
            f"the column {IMAGE} of {uri} holds {field.type}, not photographs: it must be binary, "
            "or a struct of bytes (binary) and path (string)"
        )
    return schema.set(at, field.with_type(type))


def _plain(type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type):
        type = type.value_type
    return {pa.binary_view(): pa.binary(), pa.string_view(): pa.string()}.get(type, type)


def column(rows: pa.RecordBatch) -> pa.Array:
    return rows.column(rows.schema.get_field_index(IMAGE))


def with_column(rows: pa.RecordBatch, image: pa.Array) -> pa.RecordBatch:
    at = rows.schema.get_field_index(IMAGE)
    return rows.set_column(at, rows.schema.field(at).with_type(image.type), image)


def data(image: pa.Array) -> list[bytes | None]:
    return (pc.struct_field(image, "bytes") if pa.types.is_struct(image.type) else image).to_pylist()


def sizes(image: pa.Array) -> list[int]:
    there = pc.struct_field(image, "bytes") if pa.types.is_struct(image.type) else image
    return pc.fill_null(pc.binary_length(there), 0).to_pylist()


def paths(image: pa.Array) -> list[str | None]:
    """What is known of where photographs are from."""
    return pc.struct_field(image, "path").to_pylist() if _has_paths(image.type) else [None] * len(image)


def rebuilt(image: pa.Array, data: Sequence[bytes | None], paths: Sequence[str | None]) -> pa.Array:
    """The column with other photographs and paths."""
    if not pa.types.is_struct(image.type):
        return _binary(data, image.type)
    fields = [image.type.field(i) for i in range(image.type.num_fields)]
    children = [
        _binary(data, field.type)
        if field.name == "bytes"
        else pa.array(paths, field.type)
        if field.name == "path" and _has_paths(image.type)
        else pc.struct_field(image, i)
        for i, field in enumerate(fields)
    ]
    return pa.StructArray.from_arrays(children, fields=fields, mask=image.is_null())


def _has_paths(type: pa.DataType) -> bool:
    at = type.get_field_index("path") if pa.types.is_struct(type) else -1
    return at >= 0 and type.field(at).type in (pa.string(), pa.large_string())


def _binary(data: Sequence[bytes | None], type: pa.DataType) -> pa.Array:
    """As ``pa.array`` makes it, without copies of what is large: none of a single one."""
    there = pa.array([one is not None for one in data], pa.bool_()).buffers()[1]
    offsets = np.zeros(len(data) + 1, np.int32 if type == pa.binary() else np.int64)
    np.cumsum([len(one or b"") for one in data], out=offsets[1:])
    joined = data[0] or b"" if len(data) == 1 else b"".join(one or b"" for one in data)
    return pa.Array.from_buffers(type, len(data), [there, pa.py_buffer(offsets), pa.py_buffer(joined)])
