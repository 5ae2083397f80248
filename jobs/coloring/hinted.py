"""Colours that people know at places of photographs, from the lists that they hand in to the network.

The catalogue's column ``hints`` has those that a photograph was coloured with. They hold whenever it is coloured again,
until somebody hands in others, or none, or its file holds another picture.
"""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from colorize_core.formats import PhotoError
from jobs.cli import UsageError
from jobs.coloring.job import source_id
from jobs.pages import decisions
from jobs.storage import files
from jobs.storage.catalog import HINTS, SCHEMA, Catalog
from jobs.storage.parts import WHOLE, Part


def read(uri: str, sources: pa.Table, part: Part = WHOLE) -> dict[str, list[dict]]:
    """Entries of the catalogue's column ``hints`` by the ids of their photographs, which belong to ``part``, from a CSV
    file with the columns path, x, y, color and, if wanted, radius.

    A path is relative to SOURCE, as in ``sources``, the part's photographs; x, y and radius are pixels of the upright
    scan; a color is #rrggbb, or none for what is white, grey or black. A line with a path alone takes back what hints
    there were. Raises ``UsageError``.
    """
    found = listed(uri)
    of_id = {source_id(files.unprintable(path)): path for path in found}
    ids = pa.array(part.among(of_id), pa.string())
    if lost := ids.filter(pc.invert(pc.is_in(ids, value_set=sources["id"]))).to_pylist():
        raise not_held(uri, [of_id[id] for id in lost])
    return {id: found[of_id[id]] for id in ids.to_pylist()}


def listed(uri: str) -> dict[str, list[dict]]:
    """The same by path, whatever SOURCE holds. Raises ``UsageError``."""
    try:
        rows = list(csv.DictReader(io.StringIO(files.read_bytes(uri).decode("utf-8-sig"), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{uri} cannot be read as hints ({error}): give a CSV file in UTF-8") from error
    if missing := [name for name in ("path", "x", "y", "color") if name not in (rows[0] if rows else ())]:
        raise UsageError(f"{uri} has no column {missing[0]}: hints have path, x, y and color, and may have radius")
    found: dict[str, list[dict]] = defaultdict(list)
    for line, row in enumerate(rows, 2):
        of_path = found[row["path"]]
        if row["x"] or row["y"] or row["color"]:
            of_path.append(decisions.hint(row, f"{uri}, line {line}"))
    return dict(found)


def not_held(uri: str, paths: list[str]) -> UsageError:
    return UsageError(
        f"{uri} has hints for {len(paths):,} photographs that SOURCE does not hold, such as {paths[0]}: give paths "
        "relative to SOURCE"
    )


def hinted(sources: pa.Table, rows: pa.Table, given: dict[str, list[dict]]) -> pa.Table:
    """``sources`` with columns ``hints``, that each is to be coloured with, and ``hinted_anew``, whether the ``rows``
    of the catalogue have others.
    """
    rows = rows.filter(pc.is_valid(rows["hints"]))
    before = dict(zip(rows["id"].to_pylist(), rows["hints"].to_pylist(), strict=True))
    now = before | given
    at = pc.index_in(sources["id"], value_set=pa.array(now, pa.string()))
    entries = pa.array([entries or None for entries in now.values()], HINTS).take(at)
    anew = pa.array([id for id, entries in given.items() if entries != before.get(id, [])], pa.string())
    sources = sources.append_column("hints", entries)
    return sources.append_column("hinted_anew", pc.is_in(sources["id"], value_set=anew))


def of_scans(wanted: pa.Table, catalog: Catalog, given: dict[str, list[dict]]) -> pa.Table:
    """``wanted`` with a column ``hinted_sha256``: the digests of the scans that hints were said of, unless they are
    ``given`` now.
    """
    held = wanted["id"].filter(pc.is_valid(wanted["hints"]))
    held = held.filter(pc.invert(pc.is_in(held, value_set=pa.array(given, pa.string()))))
    rows = catalog.read(["id", "source_sha256"]) if len(held) else SCHEMA.empty_table()
    rows = rows.filter(pc.is_in(rows["id"], value_set=held))
    digests = rows["source_sha256"].take(pc.index_in(wanted["id"], value_set=rows["id"]))
    return wanted.append_column("hinted_sha256", digests)


def check_versions(hints: Iterable[str], sources: pa.Table, rows: pa.Table, uri: str) -> None:
    """Raise ``UsageError`` where ``uri`` has ``hints``, by the ids of their photographs, for a file that is another one
    than the ``rows`` of the catalogue know, ``id`` and ``source_version``.
    """
    known = dict(zip(rows["id"].to_pylist(), rows["source_version"].to_pylist(), strict=True))
    for source in sources.filter(pc.is_in(sources["id"], value_set=pa.array(hints, pa.string()))).to_pylist():
        if known.get(source["id"], "") not in ("", source["version"]):
            raise changed_since(source["uri"], uri)


def changed_since(place: bytes, uri: str) -> UsageError:
    return UsageError(
        f"{files.printable(os.fsdecode(place))} has changed since {uri} was written: colour it without --only, and "
        "review it again"
    )


def check(entries: list[dict], height: int, width: int) -> None:
    """Raise ``PhotoError`` where one lies outside a photograph."""
    for entry in entries:
        if entry["x"] > width or entry["y"] > height:
            place = f"({entry['x']:g}, {entry['y']:g})"
            raise PhotoError(f"its hint at {place} lies outside of its {width} x {height} pixels: correct it")
