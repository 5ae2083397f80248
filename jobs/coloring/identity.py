"""What a photograph is known by: its path relative to SOURCE, made unambiguous once, before the first one is read."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.coloring.job import SUFFIX, Format, output_name, source_id
from jobs.storage.files import printable

CHUNK = 1 << 16  # rows at a time, since a million of Python's strings take more memory than all else here


def identified(files: pa.Table, format: Format, folds_case: bool) -> tuple[pa.Table, pa.Table]:
    """The files with normalised paths and a column ``id``; and those that cannot have an output of their own, with an
    ``id`` and a column ``problem``, a sentence.

    ``folds_case`` says whether OUTPUT's file system takes a.png and A.png for the same file.
    """
    raw, paths, ids, keys = files["path"], [], [], []
    for begin in range(0, len(files), CHUNK):
        some = [_normal(path) for path in raw.slice(begin, CHUNK).to_pylist()]
        paths.append(pa.array(some, pa.large_binary()))
        ids.append(pa.array(map(source_id, some), pa.string()))
        keys.append(pa.array([source_id(path.lower()) for path in some], pa.string()) if folds_case else ids[-1])
    table = files.set_column(files.schema.get_field_index("path"), "path", pa.chunked_array(paths, pa.large_binary()))
    table = table.append_column("id", pa.chunked_array(ids, pa.string()))
    problems = dict(_outside(paths)) | dict(_hidden(paths, format)) | _alike(files, paths, pa.chunked_array(keys))
    if not problems:
        return table, table.slice(0, 0).append_column("problem", pa.array([], pa.string()))
    refused = np.zeros(len(files), bool)
    refused[list(problems)] = True
    bad = table.filter(pa.array(refused))
    places = sorted(problems)
    bad = bad.append_column("problem", pa.array([problems[i] for i in places], pa.string()))
    own = [source_id(b"as listed: " + raw[i].as_py()) for i in places]  # the plain one is that of another file
    return table.filter(pa.array(~refused)), bad.set_column(bad.schema.get_field_index("id"), "id", pa.array(own))


def _normal(path: bytes) -> bytes:
    if b"//" not in path and b"./" not in path and not path.startswith(b"/"):
        return path
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def _outside(paths: list[pa.Array]) -> Iterator[tuple[int, str]]:
    """Names that would lead out of OUTPUT, as hostile archives have them."""
    for place, path in _each(paths):
        if b".." in path and b".." in path.split(b"/"):
            yield place, "its name leads out of the archive (..): rename it"
        elif not path:
            yield place, "it has no name of its own: give it one"


def _hidden(paths: list[pa.Array], format: Format) -> Iterator[tuple[int, str]]:
    """Photographs whose output would be called like a folder of others'."""
    endings = tuple(f".{suffix}".encode() for suffix in SUFFIX.values())
    folders = set()
    for _, path in _each(paths):
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            if path in folders:
                break
            if path.endswith(endings):
                folders.add(path)
    if folders:
        for place, path in _each(paths):
            name = output_name(format, path.decode("utf-8", "surrogateescape"))
            if name.encode("utf-8", "surrogateescape") in folders:
                yield (
                    place,
                    f"its colour photograph would be called {printable(name)}, like a folder: rename one",
                )


def _alike(files: pa.Table, paths: list[pa.Array], keys: pa.ChunkedArray) -> dict[int, str]:
    """All but one of those that would share an output; the one that is spelt as its output keeps it."""
    counts = keys.value_counts()
    several = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if not len(several):
        return {}
    at = np.flatnonzero(pc.is_in(keys, value_set=several))
    groups = defaultdict(list)
    for place, key in zip(at.tolist(), keys.take(at).to_pylist(), strict=True):
        groups[key].append(place)
    found, raw = {}, files["path"]
    all_paths = pa.chunked_array(paths)
    for places in groups.values():
        first, *others = sorted(places, key=lambda i: (raw[i].as_py() != all_paths[i].as_py(), raw[i].as_py()))
        other = printable(files["uri"][first].as_py().decode("utf-8", "surrogateescape"))
        for place in others:
            found[place] = f"its colour photograph would take the place of that of {other}: rename one of the two"
    return found


def _each(paths: list[pa.Array]) -> Iterator[tuple[int, bytes]]:
    place = 0
    for some in paths:
        for path in some.to_pylist():
            yield place, path
            place += 1
