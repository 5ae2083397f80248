"""The page on which people judge a finished job by looking.

OUTPUT/review/index.html needs no server and loads nothing from elsewhere: every row of the catalogue in
one script and thumbnails in many, since a page that is opened from disk may load scripts and no other data. Thumbnails
that are there already stay; jobs.colorize, whose workers make them on the way, writes the same page at its end.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path
from typing import TextIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from colorize_core import __version__
from jobs import cluster
from jobs.cli import LINE_SECONDS, UsageError
from jobs.machine import admission
from jobs.pages import thumbnails
from jobs.pages.thumbnails import Thumbnail
from jobs.storage import files
from jobs.storage.catalog import Catalog, without_details
from jobs.storage.output import Place

HERE = Path(__file__).parent
PARTS = (
    *(
        HERE / name
        for name in ("index.html", "review.css", "review.js", "hints.css", "hints.js", "similar.js", "color.js")
    ),
    HERE.parent / "neutral.css",
)
TOGETHER = 16  # thumbnails in a script: a view in an order of its own may need a script for every photograph
BLOCKS = 512  # at most about this many tasks, each of which costs the driver some memory and time
FEW_PIXELS = 50e6  # of all photographs: seconds of work, done here before tasks of Ray's would have begun
AS_LONG = 30_000  # pixels, as reading a thumbnail that is kept takes
MOST = 250_000  # photographs on a page; a browser has all their names at once

COLUMNS = [
    "id", "source", "output", "status", "error", "width", "height", "kind", "output_sha256", "model", "colorfulness",
    "confidence", "decision", "hints",
]  # fmt: skip

THUMBNAILS = pa.schema(
    [
        ("output_sha256", pa.string()),
        ("script", pa.string()),  # OUTPUT/review/thumbnails/SCRIPT.js
        ("place", pa.int32()),  # in the script's list
    ]
)


def write(output: str, out: TextIO = sys.stdout) -> str:
    """Write the page of all that the catalogue of ``output`` holds, and return its address.

    Raises ``UsageError`` where that is more than a page can show.
    """
    page = f"{output}/review"
    catalog = Catalog(output)
    if (count := len(catalog.read(["status"]))) > MOST:
        raise UsageError(
            f"{count:,} photographs are more than the {MOST:,} that a review page can show: colour parts of the "
            "archive into OUTPUTs of their own, and review those"
        )
    for file in PARTS:
        files.write_bytes(f"{page}/{file.name}", file.read_bytes())
    state = f"{__version__} {catalog.state}"
    stored = having(page)
    if (stored.schema.metadata or {}).get(b"state") == state.encode():
        return f"{page}/index.html"
    rows = catalog.read(COLUMNS).sort_by("source")
    coloured = rows.filter(pc.equal(rows["status"], "ok"))
    stored = stored.filter(pc.is_in(stored["output_sha256"], value_set=coloured["output_sha256"]))
    known = pc.is_in(coloured["output_sha256"], value_set=stored["output_sha256"])
    missing = _distinct(coloured.filter(pc.invert(known)))
    kept = thumbnails.kept(output)
    at = pc.index_in(missing["output_sha256"], value_set=kept["output_sha256"])
    missing = missing.append_column("made", kept["made"].take(at))
    made = _make(missing.sort_by("confidence"), output, out)
    if lost := len(missing) - len(made):
        print(f"{lost:,} photographs have no thumbnail: their files under {output} cannot be read", file=sys.stderr)
        state = ""  # so that they are tried again
    stored = pa.concat_tables([stored.replace_schema_metadata(None), made])
    files.write_bytes(f"{page}/rows.js", _script("rows", _columns(rows, stored, output)))
    sink = pa.BufferOutputStream()
    pq.write_table(stored.replace_schema_metadata({"state": state}), sink, compression="zstd")
    files.write_bytes(f"{page}/thumbnails.parquet", sink.getvalue().to_pybytes())
    _sweep(output, set(pc.unique(stored["script"]).to_pylist()))
    thumbnails.forget(output)
    return f"{page}/index.html"


def having(page: str) -> pa.Table:
    """Where the thumbnails are that an earlier page has."""
    fs, path = url_to_fs(f"{page}/thumbnails.parquet")
    try:
        with fs.open(path, "rb") as file:
            return pq.read_table(file)
    except (FileNotFoundError, pa.ArrowInvalid):
        return THUMBNAILS.empty_table()


def _distinct(rows: pa.Table) -> pa.Table:
    """One row of each output's content."""
    numbered = rows.append_column("row", pa.array(np.arange(len(rows))))
    return rows.take(numbered.group_by("output_sha256").aggregate([("row", "min")])["row_min"])


def _make(missing: pa.Table, output: str, out: TextIO) -> pa.Table:
    """Store thumbnails of these rows of the catalogue and tell where they are, in columns of ``THUMBNAILS``."""
    blocks = list(_blocks(missing, output))
    pixels = pc.multiply(missing["width"].cast(pa.int64()), missing["height"])
    pixels = pc.if_else(pc.is_valid(missing["made"]), AS_LONG, pixels)
    if (pc.sum(pixels).as_py() or 0) < FEW_PIXELS:
        return pa.concat_tables([THUMBNAILS.empty_table(), *(_store(block, output) for block in blocks)])
    cluster.start()
    import ray

    made, done, said = [], 0, time.monotonic()
    results = ray.data.from_blocks(blocks).map_batches(
        _store, batch_size=None, batch_format="pyarrow", fn_kwargs={"output": output}, num_cpus=1
    )
    for places in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        made.append(places.cast(THUMBNAILS))
        done += len(places)
        if time.monotonic() - said > LINE_SECONDS:
            said = time.monotonic()
            print(f"review page: {done:,}/{len(missing):,} thumbnails", file=out, flush=True)
    return pa.concat_tables([THUMBNAILS.empty_table(), *made])


def _blocks(missing: pa.Table, output: str) -> Iterator[pa.Table]:
    """Neighbours in the page's first order; photographs in a Parquet file all at once, so that it is read once, but for
    those whose thumbnails are kept."""
    missing = missing.select(["id", "output", "output_sha256", "width", "height", "made"]).combine_chunks()
    packed = pc.and_(pc.starts_with(missing["output"], f"{output}/parquet/"), pc.is_null(missing["made"]))
    apart, together = missing.filter(pc.invert(packed)), missing.filter(packed)
    rows = TOGETHER * max(1, len(apart) // (BLOCKS * TOGETHER))
    yield from (apart.slice(i, rows) for i in range(0, len(apart), rows))
    for file in pc.unique(together["output"]):
        yield together.filter(pc.equal(together["output"], file))


def _store(rows: pa.Table, output: str) -> pa.Table:
    """What each task does: thumbnails of some rows, in scripts; where they are, in columns of ``THUMBNAILS``."""
    made, places = _thumbnails(rows.to_pylist(), output), []
    while some := list(itertools.islice(made, TOGETHER)):
        digests, pictures = zip(*some, strict=True)
        script = hashlib.sha256("".join(digests).encode()).hexdigest()[:20]
        encoded = [picture | {"jpeg": base64.b64encode(picture["jpeg"]).decode()} for picture in pictures]
        data = _script("thumbnails", script, encoded)
        files.write_bytes(f"{output}/review/thumbnails/{script}.js", data)
        places += [{"output_sha256": digest, "script": script, "place": i} for i, digest in enumerate(digests)]
    return pa.Table.from_pylist(places, THUMBNAILS)


def _thumbnails(rows: list[dict], output: str) -> Iterator[tuple[str, Thumbnail]]:
    """With the digests of their outputs; without those that cannot be read."""
    kept = thumbnails.read({row["made"] for row in rows} - {None}, [row["output_sha256"] for row in rows])
    yield from ((row["output_sha256"], kept[row["output_sha256"]]) for row in rows if row["output_sha256"] in kept)
    room = admission.for_pixels()
    for row, data in _pictures([row for row in rows if row["output_sha256"] not in kept], output):
        with room.reserve(4 * row["width"] * row["height"]), contextlib.suppress(OSError, SyntaxError, ValueError):
            yield row["output_sha256"], thumbnails.of_file(data)


def _pictures(rows: list[dict], output: str) -> Iterator[tuple[dict, bytes]]:
    """What is stored of these rows, all of them in one Parquet file or each in a file of its own."""
    uri = rows[0]["output"] if rows else ""
    if uri.startswith(f"{output}/parquet/"):
        by_id = {row["id"]: row for row in rows}
        with contextlib.suppress(OSError, pa.ArrowInvalid), fsspec.open(uri, "rb") as file:
            for some in pq.ParquetFile(file).iter_batches(TOGETHER, columns=["id", "image"]):
                yield from ((by_id[row["id"]], row["image"]["bytes"]) for row in some.to_pylist() if row["id"] in by_id)
        return
    for row in rows:
        try:
            data = files.read_bytes(files.unprintable(row["output"]))
        except OSError:
            continue
        yield row, data


def _columns(rows: pa.Table, stored: pa.Table, output: str) -> dict:
    """What the page orders, searches and shows, column by column; ``review.js`` knows them by these names."""
    uris = rows["source"].to_pylist()
    first, last = (uri.split("/")[:-1] for uri in (uris[0], uris[-1]))  # in their order, so the least alike
    common = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    root = "".join(f"{folder}/" for folder, _ in common)
    paths = [uri.removeprefix(root) for uri in uris]
    files = [
        uri and uri.removeprefix(f"{output}/").replace(path, "\0")  # nearly all alike, so
        for uri, path in zip(rows["output"].to_pylist(), paths, strict=True)
    ]
    at = pc.index_in(rows["output_sha256"], value_set=stored["output_sha256"])
    return {
        "output": output,
        "root": root,
        "id": rows["id"].to_pylist(),
        "digest": pc.utf8_slice_codeunits(rows["output_sha256"], 0, 8).to_pylist(),
        "folder": _coded([path.rpartition("/")[0] for path in paths]),
        "name": [path.rpartition("/")[2] for path in paths],
        "file": _coded(files),
        "width": rows["width"].to_pylist(),
        "height": rows["height"].to_pylist(),
        "confidence": pc.round(rows["confidence"].cast(pa.float64()), 3).to_pylist(),
        "colorfulness": pc.round(rows["colorfulness"].cast(pa.float64()), 1).to_pylist(),
        "reason": _coded(_reasons(rows)),
        "script": _coded(stored["script"].take(at).to_pylist()),
        "place": stored["place"].take(at).to_pylist(),
        "hints": {i: hints for i, hints in enumerate(rows["hints"].to_pylist()) if hints},  # of few
    } | {name: _coded(rows[name].to_pylist()) for name in ("status", "kind", "model", "decision")}


def _reasons(rows: pa.Table) -> list[str | None]:
    """For what is not ``ok``, the reason; one for all reasons that differ in details alone, as in the summary."""
    first: dict[str, str] = {}
    reasons = rows["error"].to_pylist()
    return [reason and first.setdefault(without_details(reason), reason) for reason in reasons]


def _coded(column: list[str | None]) -> dict[str, list]:
    """Each value once, and in their place their numbers."""
    coded = pa.array(column, pa.string()).dictionary_encode()
    return {"values": coded.dictionary.to_pylist(), "of": coded.indices.to_pylist()}


def _script(function: str, *arguments) -> bytes:
    """A call of one of the functions that ``review.js`` has; nothing in its arguments can end it or the page."""
    text = ",".join(json.dumps(argument, ensure_ascii=False, separators=(",", ":")) for argument in arguments)
    return f"review.{function}({text});\n".replace("<", "\\u003c").encode()


def _sweep(output: str, scripts: set[str]) -> None:
    """Delete thumbnails that the page no longer names."""
    place = Place(output)
    for path in place.files("review/thumbnails"):
        name = path.rpartition("/")[2].removesuffix(".js")
        if name not in scripts:
            place.remove(path, methodcaller("startswith", f'review.thumbnails("{name}"'.encode()))
