"""What the review page shows of photographs: thumbnails in scripts, and of those that a browser cannot open where they
lie, since they are in a file with others, a larger copy beside the page.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import time
from collections.abc import Iterator
from typing import NamedTuple, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from jobs import cluster
from jobs.cli import LINE_SECONDS
from jobs.machine import admission
from jobs.pages import thumbnails
from jobs.pages.thumbnails import Thumbnail
from jobs.storage import files, parquet, shards
from jobs.storage.shards import ShardError

TOGETHER = 16  # thumbnails in a script: a view in an order of its own may need a script for every photograph
BLOCKS = 512  # at most about this many tasks, each of which costs the driver some memory and time
FEW_PIXELS = 50e6  # of all photographs: seconds of work, done here before tasks of Ray's would have begun
AS_LONG = 30_000  # pixels, as reading a thumbnail that is kept takes

STORED = pa.schema(
    [
        ("output_sha256", pa.string()),
        ("script", pa.string()),  # OUTPUT/review/thumbnails/SCRIPT.js
        ("place", pa.int32()),  # in the script's list
        ("larger", pa.string()),  # OUTPUT/review/pictures/LARGER.jpg, named by its content; null where there is none
    ]
)


class Made(NamedTuple):
    digest: str
    """Of the output."""
    thumbnail: Thumbnail
    larger: bytes | None


def script(function: str, *arguments) -> bytes:
    """A call of one of the functions that ``review.js`` has; nothing in its arguments can end it or the page."""
    text = ",".join(json.dumps(argument, ensure_ascii=False, separators=(",", ":")) for argument in arguments)
    return f"review.{function}({text});\n".replace("<", "\\u003c").encode()


def store(missing: pa.Table, output: str, out: TextIO) -> pa.Table:
    """Store those of these rows of the catalogue and tell where they are, in columns of ``STORED``.

    Beside the catalogue's, a column ``made`` has the file that keeps a thumbnail, or null, and ``closer`` says whether
    a larger copy is wanted.
    """
    blocks = list(_blocks(missing, output))
    pixels = pc.multiply(missing["width"].cast(pa.int64()), missing["height"])
    pixels = pc.if_else(_is_kept(missing), AS_LONG, pixels)
    if (pc.sum(pixels).as_py() or 0) < FEW_PIXELS:
        return pa.concat_tables([STORED.empty_table(), *(_store(block, output) for block in blocks)])
    cluster.start()
    import ray

    made, done, said = [], 0, time.monotonic()
    results = ray.data.from_blocks(blocks).map_batches(
        _store, batch_size=None, batch_format="pyarrow", fn_kwargs={"output": output}, num_cpus=1
    )
    for places in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        made.append(places.cast(STORED))
        done += len(places)
        if time.monotonic() - said > LINE_SECONDS:
            said = time.monotonic()
            print(f"review page: {done:,}/{len(missing):,} thumbnails", file=out, flush=True)
    return pa.concat_tables([STORED.empty_table(), *made])


def _is_kept(rows: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.is_valid(rows["made"]), pc.invert(rows["closer"]))


def _blocks(missing: pa.Table, output: str) -> Iterator[pa.Table]:
    """Neighbours in the page's first order; but many photographs in one file all at once, so that it is read once,
    except those whose thumbnails are kept."""
    missing = missing.select(["id", "output", "output_sha256", "width", "height", "made", "closer"]).combine_chunks()
    place = pc.if_else(_is_kept(missing), None, file_of(missing["output"], output))
    counts = pc.value_counts(place.drop_null())
    several = counts.field("values").filter(pc.greater_equal(counts.field("counts"), TOGETHER))
    within = pc.is_in(place, value_set=several)
    apart, together = missing.filter(pc.invert(within)), missing.filter(within)
    rows = TOGETHER * max(1, len(apart) // (BLOCKS * TOGETHER))
    yield from (apart.slice(i, rows) for i in range(0, len(apart), rows))
    place = place.filter(within)
    for file in several:
        yield together.filter(pc.equal(place, file))


def file_of(outputs: pa.ChunkedArray, output: str) -> pa.ChunkedArray:
    """The file that holds a photograph beside others, or null where it has one of its own."""
    shard = pc.struct_field(pc.extract_regex(outputs, shards.WITHIN), "shard")
    within = pc.starts_with(outputs, f"{output}/shards/")
    return pc.if_else(within, shard, pc.if_else(pc.starts_with(outputs, f"{output}/parquet/"), outputs, None))


def _store(rows: pa.Table, output: str) -> pa.Table:
    """What each task does: pictures of some rows; where they are, in columns of ``STORED``."""
    made, places = _pictures(rows.to_pylist(), output), []
    while some := list(itertools.islice(made, TOGETHER)):
        name = hashlib.sha256("".join(picture.digest for picture in some).encode()).hexdigest()[:20]
        encoded = [_encoded(one.thumbnail) for one in some]
        files.write_bytes(f"{output}/review/thumbnails/{name}.js", script("thumbnails", name, encoded))
        places += [
            {"output_sha256": one.digest, "script": name, "place": i, "larger": _keep(one.larger, output)}
            for i, one in enumerate(some)
        ]
    return pa.Table.from_pylist(places, STORED)


def _encoded(thumbnail: Thumbnail) -> dict:
    """Its bytes in base64, and no more than there is."""
    parts = {"jpeg": thumbnail["jpeg"], "likeliest": thumbnail.get("likeliest")}
    return {"caption": thumbnail["caption"]} | {
        name: base64.b64encode(data).decode() for name, data in parts.items() if data is not None
    }


def _keep(larger: bytes | None, output: str) -> str | None:
    if larger is None:
        return None
    name = hashlib.sha256(larger).hexdigest()[:20]
    files.write_bytes(f"{output}/review/pictures/{name}.jpg", larger)
    return name


def _pictures(rows: list[dict], output: str) -> Iterator[Made]:
    """Without those that cannot be read."""
    kept = thumbnails.read({row["made"] for row in rows} - {None}, [row["output_sha256"] for row in rows])
    for row in rows:
        if not row["closer"] and row["output_sha256"] in kept:
            yield Made(row["output_sha256"], kept[row["output_sha256"]], None)
    room = admission.for_pixels()
    for row, data in _stored([row for row in rows if row["closer"] or row["output_sha256"] not in kept], output):
        with room.reserve(4 * row["width"] * row["height"]), contextlib.suppress(OSError, SyntaxError, ValueError):
            if row["closer"]:
                made, larger = thumbnails.with_larger(data)
                yield Made(row["output_sha256"], kept.get(row["output_sha256"], made), larger)
            else:
                yield Made(row["output_sha256"], thumbnails.of_file(data), None)


def _stored(rows: list[dict], output: str) -> Iterator[tuple[dict, bytes]]:
    """The photographs of these rows; those that lie in one file together, as far as they are neighbours here."""
    for (uri, own), group in itertools.groupby(rows, key=lambda row: _place(row["output"], output)):
        some = list(group)
        with contextlib.suppress(OSError, ShardError, pa.ArrowInvalid):
            if own:
                data = files.read_bytes(uri)
                yield from ((row, data) for row in some)
            elif uri.startswith(f"{output}/parquet/"):
                by_id = {row["id"]: row for row in some}
                yield from ((by_id[id], data) for id, data in parquet.photographs(uri, list(by_id)))
            else:
                shard = f"{files.printable(uri)}#"
                yield from _in_shard(uri, {row["output"].removeprefix(shard): row for row in some})


def _place(place: str, output: str) -> tuple[str, bool]:
    """The file in which a photograph is, and whether it is the only one there."""
    if within := shards.apart(place) if place.startswith(f"{output}/shards/") else None:
        return files.unprintable(within[0]), False
    return files.unprintable(place), not place.startswith(f"{output}/parquet/")


def _in_shard(uri: str, by_name: dict[str, dict]) -> Iterator[tuple[dict, bytes]]:
    if len(by_name) < TOGETHER:
        yield from ((row, shards.read_one(uri, name)) for name, row in by_name.items())
        return
    with shards.open_shard(uri) as shard:
        for portion in shard:
            for one in portion.photographs:
                if one.name in by_name and one.data is not None:
                    yield by_name[one.name], one.data
