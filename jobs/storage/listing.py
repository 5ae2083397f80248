"""What a job is pointed at: a file, a folder, a glob or a list, on this machine or any fsspec file system."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate
from pyarrow import csv

from jobs.cli import UsageError
from jobs.storage import walk
from jobs.storage.files import absolute, chain_of, is_local, located, plain_errors


@dataclass(frozen=True, slots=True)
class Source:
    """One input file."""

    uri: str
    """Absolute path, or URI with its scheme."""
    path: str
    """Path relative to what the job was pointed at, as the file system spells it, with forward slashes."""
    version: str
    """Changes when the file does: ETag, or size and modification time."""


LISTS = (".txt", ".csv", ".parquet")
FILES = 1 << 16  # in each table of a stream

LISTING = pa.schema(
    [
        ("uri", pa.large_binary()),  # bytes: a file's name need not be valid UTF-8, and Arrow's strings must be
        ("path", pa.large_binary()),
        ("version", pa.string()),
        ("bytes", pa.int64()),  # size of the file; 0 where it is not known
    ]
)


def list_sources(source: str) -> list[Source]:
    """Every file under ``source``, or that it lists, sorted by path. Raises ``UsageError`` where there is none."""
    table = listing(source)
    columns = [table[name].to_pylist() for name in ("uri", "path", "version")]
    return [Source(os.fsdecode(uri), os.fsdecode(path), version) for uri, path, version in zip(*columns, strict=True)]


def listing(source: str) -> pa.Table:
    """The same as a table of ``LISTING``'s columns, which holds a million files in about 200 MB."""
    table = pa.concat_tables(streamed(source)).sort_by("path")
    pa.default_memory_pool().release_unused()  # the unsorted one: hundreds of megabytes for a million files
    return table


def streamed(source: str) -> Iterator[pa.Table]:
    """The same in no order, some ten thousand files at a time, so that there may be any number of them; but for those
    of a glob and of a list, whose names are in memory meanwhile.
    """
    empty = True
    try:
        with plain_errors():
            for table in _listing(source):
                empty = False
                yield table
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, UsageError):
            raise
        reason = f"{source} cannot be listed ({error}): check the path"
        raise UsageError(reason if is_local(source) else f"{reason} and your credentials") from error
    if empty:
        raise UsageError(f"{source} holds no files: point to a folder with photographs in it")


def is_list(source: str) -> bool:
    """Whether it names files that may lie anywhere."""
    fs, root = located(source)
    with plain_errors():
        return root.endswith(LISTS) and _kind(fs, root) == "file" and _is_list(fs, root)


def base(source: str) -> str:
    """What the paths of its files are relative to, by which an archive is known: a folder or URI."""
    fs, root = located(source)
    if _is_glob(root) and not fs.exists(root):
        root = _folder_of_glob(root)
    elif _kind(fs, root) == "file":
        root = root.rpartition("/")[0]
    return _uri(fs, root.rstrip("/"), chain_of(source))


def _listing(source: str) -> Iterator[pa.Table]:
    fs, root = located(source)
    chain = chain_of(source)
    kind = _kind_of_source(fs, root)
    if kind == "file" and _is_list(fs, root):
        return _listed(fs, root)
    if kind == "file":
        return _found(fs, root.rpartition("/")[0], [(root, fs.info(root))], chain)
    if kind:
        return _found(fs, root, walk.below(fs, root), chain)
    if _is_glob(root):
        if isinstance(fs, LocalFileSystem):  # which would say of a link to a file that it is none
            return _found(fs, _folder_of_glob(root), map(walk.local, fs.glob(root)))
        return _found(fs, _folder_of_glob(root), fs.glob(root, detail=True).items(), chain)
    if isinstance(fs, LocalFileSystem) and os.path.islink(root):
        raise UsageError(f"{source} is a link to {os.readlink(root)}, which is not there: check the path")
    raise UsageError(f"{source} does not exist: check the path")


def _kind(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """What a path is, a ``file`` or a ``directory``; empty where there is nothing. One question, where ``isfile`` and
    ``exists`` were two, of which the first takes a store that does not answer for one that has no such file."""
    if isinstance(fs, LocalFileSystem):
        return "file" if fs.isfile(path) else "directory" if fs.exists(path) else ""
    try:
        return fs.info(path)["type"]
    except FileNotFoundError:
        return ""


def _kind_of_source(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """The same, asked first of all: where nobody answers, a place may be mistyped, which S3's client, left to itself,
    says after five tries and up to 15 seconds."""
    if not hasattr(fs, "call_s3"):
        return _kind(fs, path)
    from botocore.exceptions import ConnectionError as NobodyAnswers

    retries = {"config_kwargs": {**fs.config_kwargs, "retries": {"max_attempts": 1}}, "skip_instance_cache": True}
    try:
        return _kind(type(fs)(**{**fs.storage_options, **retries}), path)
    except NobodyAnswers:
        raise
    except Exception:  # of a store that is there, which may have too much to do
        return _kind(fs, path)


def covers(source: str, uri: str) -> bool:
    """Whether a file at ``uri`` would be listed under ``source``, a folder or a glob."""
    fs, root = located(source)
    if is_local(source) and is_local(uri):
        root, path = os.path.realpath(root), os.path.realpath(absolute(uri))
    else:
        other, path = located(uri)
        if type(fs) is not type(other):  # by which s3a:// is s3://
            return False
    if _is_glob(root) and not fs.exists(root):
        return re.match(glob_translate(root), path) is not None
    return path == root or path.startswith(root.rstrip("/") + "/")


def _found(
    fs: fsspec.AbstractFileSystem, base: str, files: Iterable[walk.Entry], chain: str = ""
) -> Iterator[pa.Table]:
    base = base.rstrip("/")

    def rows() -> Iterator[tuple[bytes, bytes, str, int]]:
        for path, info in files:
            # S3's consoles make an empty object for each "folder".
            if info["type"] == "file" and not (path.endswith("/") and not info.get("size")):
                inside = os.fsencode(path.removeprefix(base).removeprefix("/"))
                yield os.fsencode(_uri(fs, path, chain)), inside, _version(info), info.get("size") or 0

    return _tables(rows())


def _tables(rows: Iterator[tuple[bytes, bytes, str, int]]) -> Iterator[pa.Table]:
    """Of ``LISTING``; a few rows at a time, since a million of Python's objects take a gigabyte."""
    while some := list(itertools.islice(rows, FILES)):
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*some, strict=True), LISTING, strict=True)]
        yield pa.table(arrays, schema=LISTING)


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


def _folder_of_glob(pattern: str) -> str:
    return pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)].rpartition("/")[0]


def _is_list(fs: fsspec.AbstractFileSystem, path: str) -> bool:
    if path.endswith(".parquet"):
        with fs.open(path, "rb") as file:
            return "image" not in pq.read_schema(file).names  # with it, the file holds photographs itself
    return path.endswith(LISTS)


def _listed(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[pa.Table]:
    """The files that a list names: a line each (.txt), or the column ``uri`` or else the first one (.csv, .parquet).

    A relative name is relative to the list. What does not exist is listed too, so that it is accounted for; what is
    named twice, also in two spellings, is listed once.
    """
    folder = _uri(fs, path.rpartition("/")[0])
    with fs.open(path, "rb") as file:
        if path.endswith(".txt"):
            names = file.read().decode("utf-8-sig", "surrogateescape").split("\n")
        else:
            names = _named(pq.read_table(file) if path.endswith(".parquet") else _rows(file, folder), path)
    places: dict[str, str] = {}
    for name in sorted({str(name).strip() for name in names if name} - {""}):
        uri, inside = _place(folder, name)
        places.setdefault(uri, inside)
    if not places:
        raise UsageError(f"{path} names no files: give one path or URI per line, or a column called uri")

    def entry(place: tuple[str, str]) -> tuple[bytes, bytes, str, int]:
        uri, inside = place
        info = _info(uri)
        version, size = (_version(info), info.get("size") or 0) if info else ("", 0)
        return os.fsencode(uri), os.fsencode(inside), version, size

    with ThreadPoolExecutor(32) as threads:  # an object store answers each question in milliseconds, not microseconds
        yield from _tables(iter(threads.map(entry, places.items())))


def _named(table: pa.Table, path: str) -> list[str | None]:
    column = table["uri" if "uri" in table.column_names else 0]
    if pa.types.is_null(column.type):
        return []
    if path.endswith(".csv") and pa.types.is_binary(column.type):  # since it is no UTF-8
        raise UsageError(f"{path} does not name files in UTF-8: save it in that encoding")
    if not pa.types.is_string(column.type):
        raise UsageError(
            f"{path} has neither photographs in a column called image nor their places in one called uri: "
            f"its columns are {', '.join(table.column_names)}"
        )
    return column.to_pylist()


def _rows(file: BinaryIO, folder: str) -> pa.Table:
    """A CSV file. Its first line names the columns, unless it names a file already."""
    start = file.tell()
    table = csv.read_csv(file)
    first = table.column_names[0]
    if "uri" in table.column_names or not ("/" in first or PurePosixPath(first).suffix or _info(f"{folder}/{first}")):
        return table
    file.seek(start)
    return csv.read_csv(file, csv.ReadOptions(autogenerate_column_names=True))


def _place(folder: str, name: str) -> tuple[str, str]:
    """URI and path of what a list in ``folder`` names. The path of what lies outside of it is the whole place, so that
    `../a.png` is not `a.png`.
    """
    if "://" in name:
        uri = absolute(name)
        return uri, without_scheme(uri)
    if not is_local(folder):
        uri = name if name.startswith("/") else _resolved(folder, name)
    elif ".." in name.split("/"):  # may lead through a link, from where it is another folder
        parent, file = os.path.split(os.path.join(os.path.realpath(folder), name))
        uri = os.path.join(os.path.realpath(parent), file)
        if uri.startswith(inner := os.path.realpath(folder) + "/"):
            uri = f"{folder}/{uri.removeprefix(inner)}"
    else:
        uri = os.path.normpath(os.path.join(folder, name))
    if uri.startswith(f"{folder}/") and not name.startswith("/"):
        return uri, uri.removeprefix(f"{folder}/")
    return uri, (uri.partition("://")[2] or uri).lstrip("/")


def without_scheme(uri: str) -> str:
    """The path of what lies outside of a list's folder."""
    return uri.partition("://")[2] or uri.lstrip("/")


def _resolved(folder: str, name: str) -> str:
    """As a reference in a web page is: but for `.` and `..`, an object store's names are not paths."""
    protocol, _, place = folder.partition("://")
    parts = place.split("/")
    for part in name.split("/"):
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return f"{protocol}://{'/'.join(parts)}"


def _info(uri: str) -> dict | None:
    """What a file system tells of a file; None where there is none, or where it cannot be asked."""
    try:
        with plain_errors():
            fs, path = located(uri)
            return fs.info(path)
    except (OSError, ValueError, ImportError):
        return None


def _uri(fs: fsspec.AbstractFileSystem, path: str, chain: str = "") -> str:
    return path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path) + chain


def _version(info: dict) -> str:
    return str(info.get("ETag") or f"{info.get('size')}-{info.get('mtime', info.get('CRC', ''))}").strip('"')
