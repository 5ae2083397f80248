"""The page on which people judge a finished job by looking.

OUTPUT/review/index.html needs no server and loads nothing from elsewhere: every row of the catalogue, or a sample of
them where they are too many, in one script and thumbnails in many, since a page that is opened from disk may load
scripts and no other data. Pictures that are there already stay; jobs.colorize, whose workers make thumbnails on the
way, writes the same page at its end.
"""

import itertools
import sys
from collections.abc import Sequence
from operator import methodcaller
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from colorize_core import __version__
from jobs.pages import thumbnails
from jobs.pages.review import pictures, sample
from jobs.pages.review.pictures import STORED, script
from jobs.pages.review.sample import Sample, folder_and_name
from jobs.storage import files, shards
from jobs.storage.catalog import Catalog, without_details
from jobs.storage.catalog_stream import CatalogStream
from jobs.storage.output import Place, is_content

HERE = Path(__file__).parent
PARTS = (
    *(
        HERE / name
        for name in (
            "index.html", "review.css", "review.js", "hints.css", "hints.js", "similar.js", "sample.js", "color.js",
        )
    ),
    HERE.parent / "neutral.css",
)  # fmt: skip
MOST = 250_000  # photographs on a page; a browser has all their names at once
CLOSER = 1_000  # larger copies on a page of all photographs: of the most doubtful

COLUMNS = [
    "id", "source", "output", "status", "error", "width", "height", "kind", "output_sha256", "model", "colorfulness",
    "confidence", "decision", "hints",
]  # fmt: skip


def write(output: str, out: TextIO = sys.stdout, most: int = MOST) -> str:
    """Write the page of all that the catalogue of ``output`` holds, or of a sample of what is more than ``most``
    photographs, and return its address.
    """
    page = f"{output}/review"
    for file in PARTS:
        files.write_bytes(f"{page}/{file.name}", file.read_bytes())
    stream, sampled = CatalogStream(Catalog(output)), None
    state = f"{__version__} {most} {stream.state}"
    stored = having(page)
    if (stored.schema.metadata or {}).get(b"state") == state.encode():
        return f"{page}/index.html"
    if stream.more_than(most):
        sampled = sample.chosen(stream)
        rows = stream.rows([*COLUMNS], sampled.places).append_column("at", pa.array(sampled.places, pa.int64()))
    else:
        rows = pa.concat_tables(stream.portions(COLUMNS))
    rows = rows.sort_by("source")
    missing, stored = _missing(rows, stored, output, len(rows) if sampled else CLOSER)
    made = pictures.store(missing, output, out)
    if lost := len(missing) - len(made):
        print(f"{lost:,} photographs have no thumbnail: their files under {output} cannot be read", file=sys.stderr)
        state = ""  # so that they are tried again
    stored = pa.concat_tables([stored, made])
    shown = _columns(rows, stored, output, _reasons(rows, sampled))
    files.write_bytes(f"{page}/rows.js", script("rows", shown | {"sample": sampled and _sampled(rows, sampled)}))
    sink = pa.BufferOutputStream()
    pq.write_table(stored.replace_schema_metadata({"state": state}), sink, compression="zstd")
    files.write_bytes(f"{page}/thumbnails.parquet", sink.getvalue().to_pybytes())
    _sweep(output, stored)
    thumbnails.forget(output)
    return f"{page}/index.html"


def having(page: str) -> pa.Table:
    """Where the pictures are that an earlier page has."""
    fs, path = files.file_system(f"{page}/thumbnails.parquet")
    try:
        with fs.open(path, "rb") as file:
            stored = pq.read_table(file)
    except (FileNotFoundError, pa.ArrowInvalid):
        return STORED.empty_table()
    if "larger" not in stored.column_names:  # of version 0.1
        stored = stored.append_column("larger", pa.nulls(len(stored), pa.string()))
    return stored


def _missing(rows: pa.Table, stored: pa.Table, output: str, closer: int) -> tuple[pa.Table, pa.Table]:
    """Rows of outputs that have to get pictures, for ``pictures.store``, ``closer`` of them larger ones; and those of
    ``stored`` that are still good.
    """
    coloured = _distinct(rows.filter(pc.equal(rows["status"], "ok"))).sort_by("confidence")
    packed = pc.is_valid(pictures.file_of(coloured["output"], output))
    coloured = coloured.append_column(
        "closer", pc.and_(packed, pc.less_equal(pc.cumulative_sum(packed.cast(pa.int64())), closer))
    )
    at = pc.index_in(coloured["output_sha256"], value_set=stored["output_sha256"])
    bare = pc.and_(coloured["closer"], pc.is_null(stored["larger"].take(at)))
    missing = coloured.filter(pc.or_(pc.is_null(at), bare))
    good = pc.and_(
        pc.is_in(stored["output_sha256"], value_set=coloured["output_sha256"]),
        pc.invert(pc.is_in(stored["output_sha256"], value_set=missing["output_sha256"])),
    )
    kept = thumbnails.kept(output)
    at = pc.index_in(missing["output_sha256"], value_set=kept["output_sha256"])
    return missing.append_column("made", kept["made"].take(at)), stored.filter(good).replace_schema_metadata(None)


def _distinct(rows: pa.Table) -> pa.Table:
    """One row of each output's content."""
    numbered = rows.append_column("row", pa.array(np.arange(len(rows))))
    return rows.take(numbered.group_by("output_sha256").aggregate([("row", "min")])["row_min"])


def _sampled(rows: pa.Table, sampled: Sample) -> dict:
    """How the page's rows were chosen, by their places in its columns; ``sample.js`` knows it by these names."""
    row_of = {place: row for row, place in enumerate(rows["at"].to_pylist())}
    return {
        "counts": {status: sampled.counts[status] for status in ("ok", "error", "skipped")},
        "doubtful": [row_of[place] for place in sampled.doubtful],
        "folders": [row_of[place] for place in sampled.folders],
        "random": [row_of[place] for place in sampled.random],
        "perFolder": sample.PER_FOLDER,
        "reasons": [{"status": one.status, "text": one.text, "count": one.count} for one in sampled.reasons],
    }


def _columns(rows: pa.Table, stored: pa.Table, output: str, reasons: list[str | None]) -> dict:
    """What the page orders, searches and shows, column by column; ``review.js`` knows them by these names."""
    uris = rows["source"].to_pylist()
    first, last = (_folders(uri) for uri in (uris[0], uris[-1]))  # in their order, so the least alike
    common = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    root = "".join(f"{folder}/" for folder, _ in common)
    paths = [uri.removeprefix(root) for uri in uris]
    names = [folder_and_name(path)[1] for path in paths]
    folders = [path.removesuffix(name) for path, name in zip(paths, names, strict=True)]
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
        "folder": _coded(folders),
        "name": names,
        "file": _coded(files),
        "width": rows["width"].to_pylist(),
        "height": rows["height"].to_pylist(),
        "confidence": pc.round(rows["confidence"].cast(pa.float64()), 3).to_pylist(),
        "colorfulness": pc.round(rows["colorfulness"].cast(pa.float64()), 1).to_pylist(),
        "reason": _coded(reasons),
        "script": _coded(stored["script"].take(at).to_pylist()),
        "place": stored["place"].take(at).to_pylist(),
        "larger": _of_few(stored["larger"].take(at)),
        "hints": _of_few(rows["hints"]),
    } | {name: _coded(rows[name].to_pylist()) for name in ("status", "kind", "model", "decision")}


def _folders(uri: str) -> list[str]:
    """That a photograph lies in, or the shard that it lies in."""
    folder = folder_and_name(uri)[0]
    within = shards.apart(folder)
    return within[0].split("/")[:-1] if within else folder.split("/")


def _of_few(column: pa.ChunkedArray) -> dict:
    """Where there is something."""
    return {i: value for i, value in enumerate(column.to_pylist()) if value}


def _reasons(rows: pa.Table, sampled: Sample | None) -> list[str | None]:
    """For what is not ``ok``, the reason; one for all reasons that differ in details alone, as in the summary."""
    if sampled:
        texts = {place: reason.text for reason in sampled.reasons for place in reason.examples}
        return [texts.get(place) for place in rows["at"].to_pylist()]
    first: dict[str, str] = {}
    reasons = rows["error"].to_pylist()
    return [reason and first.setdefault(without_details(reason), reason) for reason in reasons]


def _coded(column: Sequence[str | None]) -> dict[str, list]:
    """Each value once, and in their place their numbers."""
    coded = pa.array(column, pa.string()).dictionary_encode()
    return {"values": coded.dictionary.to_pylist(), "of": coded.indices.to_pylist()}


def _sweep(output: str, stored: pa.Table) -> None:
    """Delete pictures that the page no longer names."""
    place = Place(output)
    named = {name: set(pc.unique(stored[name]).to_pylist()) for name in ("script", "larger")}
    for path in place.files("review/thumbnails"):
        name = path.rpartition("/")[2].removesuffix(".js")
        if name not in named["script"]:
            place.remove(path, methodcaller("startswith", f'review.thumbnails("{name}"'.encode()))
    for path in place.files("review/pictures"):
        name = path.rpartition("/")[2].removesuffix(".jpg")
        if name not in named["larger"]:
            place.remove(path, is_content(name))
