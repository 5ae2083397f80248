"""What a photograph is known by: its path relative to SOURCE, made unambiguous once, before the first one is read."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.coloring.job import SUFFIX, Format, output_name, source_id
from jobs.storage.files import printable
from jobs.storage.listing import without_scheme
from jobs.storage.parts import DIGITS

CHUNK = 1 << 16  # rows at a time, since a million of Python's strings take more memory than all else here


def with_ids(files: pa.Table) -> pa.Table:
    """The files of a listing, or some of them, with a column ``id``."""
    raw, ids = files["path"], []
    for begin in range(0, len(files), CHUNK):
        paths = raw.slice(begin, CHUNK).to_pylist()
        ids.append(pa.array((source_id(_normal(path)) for path in paths), pa.string()))
    return files.append_column("id", pa.chunked_array(ids, pa.string()))


def like_outputs(files: pa.Table) -> set[bytes]:
    """The folders of these files that are called as colour photographs or shards are; few."""
    endings = tuple(f".{suffix}".encode() for suffix in (*SUFFIX.values(), "tar", "parquet"))
    paths = files["path"].filter(pc.match_substring(files["path"], "/"))
    seen, found = set(), set()
    for folder in map(_normal, pc.unique(pc.replace_substring_regex(paths, "/[^/]*$", "")).to_pylist()):
        while folder and folder not in seen:
            seen.add(folder)
            if folder.endswith(endings):
                found.add(folder)
            folder = folder.rpartition(b"/")[0]
    return found


def identified(files: pa.Table, format: Format | None, folds_names: bool) -> tuple[pa.Table, pa.Table]:
    """``told_apart`` of a whole listing."""
    return told_apart(with_ids(files), format, folds_names, like_outputs(files))


def told_apart(
    files: pa.Table, format: Format | None, folds_names: bool, folders: set[bytes]
) -> tuple[pa.Table, pa.Table]:
    """The files with normalised paths; and those that cannot have an output of their own, with a column ``problem``, a
    sentence, and another ``id``, of the same part of the archive, unless their output may have been replaced already.

    Without a ``format`` they are shards, of which others with the same names are made. The files have ids, and are all
    of a part's. ``folders`` are those of the whole archive that are ``like_outputs``. ``folds_names`` says whether
    OUTPUT's file system takes a.png and A.png, or the like, for the same file: then parts do not do.
    """
    raw, keys = files["path"], []
    paths: list[pa.Array] = []
    for begin in range(0, len(files), CHUNK):
        listed = raw.slice(begin, CHUNK)
        names = listed.to_pylist()
        some = [*map(_normal, names)]
        paths += listed.chunks if some == names else [pa.array(some, pa.large_binary())]  # nearly always as they are
        if folds_names:
            keys.append(pa.array([source_id(_folded(path)) for path in some], pa.string()))
    table = files.set_column(files.schema.get_field_index("path"), "path", pa.chunked_array(paths, pa.large_binary()))
    problems = dict(_outside(paths)) | dict(_hidden(paths, format, folders))
    alike = _alike(files, paths, pa.chunked_array(keys) if folds_names else files["id"])
    problems |= alike
    if not problems:
        return table, table.slice(0, 0).append_column("problem", pa.array([], pa.string()))
    refused = np.zeros(len(files), bool)
    refused[list(problems)] = True
    good, bad = table.filter(pa.array(~refused)), table.filter(pa.array(refused))
    places = sorted(problems)
    bad = bad.append_column("problem", pa.array([problems[i] for i in places], pa.string()))
    plain = bad["id"].to_pylist()
    taken = Counter(plain) + Counter(bad["id"].filter(pc.is_in(bad["id"], value_set=good["id"])).to_pylist())
    own = [
        id if i in alike and taken[id] == 1 else _own_id(raw[i].as_py(), id)
        for i, id in zip(places, plain, strict=True)
    ]
    return good, bad.set_column(bad.schema.get_field_index("id"), "id", pa.array(own))


def from_elsewhere(files: pa.Table, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """As ``told_apart``, of the files that a list names: those that have the place of another one's colour photograph,
    by the ``rows`` of the catalogue, ``id``, ``source`` and ``output``.

    The path of what lies elsewhere is all of its place but for the scheme, s3:// or gs://, and so may be another's.
    """
    rows = rows.filter(pc.is_valid(rows["output"]))
    problems: list[str | None] = []
    others = rows["source"].take(pc.index_in(files["id"], value_set=rows["id"])).to_pylist()
    for uri, path, other in zip(files["uri"].to_pylist(), files["path"].to_pylist(), others, strict=True):
        here, name = (printable(os.fsdecode(text)) for text in (uri, path))
        same = other in (None, here) or name not in (without_scheme(here), without_scheme(other))
        problems.append(
            None
            if same
            else f"its colour photograph would take the place of that of {other}: give one of the two an OUTPUT of its "
            "own, or, where it has only moved, say so with --moved"
        )
    files = files.append_column("problem", pa.array(problems, pa.string()))
    bad = files.filter(pc.is_valid(files["problem"]))
    own = [_own_id(*pair) for pair in zip(bad["uri"].to_pylist(), bad["id"].to_pylist(), strict=True)]
    good = files.filter(pc.is_null(files["problem"])).drop_columns("problem")
    return good, bad.set_column(bad.schema.get_field_index("id"), "id", pa.array(own, pa.string()))


def _own_id(listed: bytes, id: str) -> str:
    """Of what is refused, since its plain one may be that of another file, or of a photograph that it was, and is still
    in colour; in the same part of the archive."""
    return id[:DIGITS] + source_id(b"as listed: " + listed)[DIGITS:]


def _normal(path: bytes) -> bytes:
    if b"//" not in path and b"./" not in path and not path.startswith(b"/"):
        return path
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return b"/".join(parts) + (b"/" if path.endswith(b"/") else b"")


def _folded(path: bytes) -> str:
    """The same for all names that some file system may take for the same."""
    *folders, name = os.fsdecode(path).split("/")  # to which a suffix is added
    text = "/".join([*(folder.rstrip(". ") for folder in folders), name])
    return normalize("NFD", normalize("NFD", text).casefold())


def _outside(paths: list[pa.Array]) -> Iterator[tuple[int, str]]:
    """Names that would lead out of OUTPUT, as hostile archives have them."""
    for place, path in _each(paths):
        if b".." in path and b".." in path.split(b"/"):
            yield place, "its name leads out of the archive (..): rename it"
        elif path.endswith(b"/"):
            yield place, "its name ends as that of a folder does (/), by which it cannot be read: rename it"
        elif not path:
            yield place, "it has no name of its own: give it one"


def _hidden(paths: list[pa.Array], format: Format | None, folders: set[bytes]) -> Iterator[tuple[int, str]]:
    """Those whose output would be called like a folder of others'."""
    if not folders:
        return
    for place, path in _each(paths):
        name = os.fsdecode(path)
        name = output_name(format, name) if format else name
        if os.fsencode(name) in folders:
            yield place, f"what is made of it would be called {printable(name)}, like a folder: rename one"


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
