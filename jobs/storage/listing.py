"""What a job is pointed at: a file, a folder, a glob or a list, on this machine or any fsspec file system."""

import contextlib
import itertools
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol, glob_translate
from pyarrow import csv

from jobs.cli import UsageError
from jobs.storage.files import absolute, is_local


@dataclass(frozen=True, slots=True)
class Source:
    """One input file."""

    uri: str
    """Absolute path, or URI with its scheme."""
    path: str
    """Path relative to what the job was pointed at, with forward slashes: the photograph's identity."""
    version: str
    """Changes when the file does: ETag, or size and modification time."""


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
    try:
        fs, root = url_to_fs(source)
        if fs.isfile(root) and _is_list(fs, root):
            table = _listed(fs, root)
        elif fs.isfile(root):
            table = _found(fs, root.rpartition("/")[0], [(root, fs.info(root))])
        elif isinstance(fs, LocalFileSystem) and os.path.isdir(root):
            table = _found(fs, root, _walk(root))
        elif fs.exists(root):
            table = _found(fs, root, fs.find(root, detail=True).items())
        elif _is_glob(root):
            table = _found(fs, _folder_of_glob(root), fs.glob(root, detail=True).items())
        else:
            raise UsageError(f"{source} does not exist: check the path")
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{source} cannot be listed ({error}): check the path and your credentials") from error
    if not len(table):
        raise UsageError(f"{source} holds no files: point to a folder with photographs in it")
    table = table.sort_by("path")
    pa.default_memory_pool().release_unused()  # the unsorted one: hundreds of megabytes for a million files
    return table


def base(source: str) -> str:
    """What the paths of its files are relative to, by which an archive is known: a folder or URI."""
    fs, root = url_to_fs(source)
    if _is_glob(root) and not fs.exists(root):
        root = _folder_of_glob(root)
    elif fs.isfile(root):
        root = root.rpartition("/")[0]
    return _uri(fs, root.rstrip("/"))


def covers(source: str, uri: str) -> bool:
    """Whether a file at ``uri`` would be listed under ``source``, a folder or a glob."""
    fs, root = url_to_fs(source)
    if not is_local(source) or not is_local(uri):
        path = url_to_fs(uri)[1] if get_protocol(uri) == get_protocol(source) else ""
    else:
        root, path = os.path.realpath(root), os.path.realpath(absolute(uri))
    if _is_glob(root) and not fs.exists(root):
        return re.match(glob_translate(root), path) is not None
    return path == root or path.startswith(root.rstrip("/") + "/")


def _found(fs: fsspec.AbstractFileSystem, base: str, files: Iterable[tuple[str, dict]]) -> pa.Table:
    base = base.rstrip("/")

    def rows() -> Iterator[tuple[bytes, bytes, str, int]]:
        for path, info in files:
            if info["type"] == "file":
                inside = os.fsencode(path.removeprefix(base).lstrip("/"))
                yield os.fsencode(_uri(fs, path)), inside, _version(info), info.get("size") or 0

    return _table(rows())


def _table(rows: Iterator[tuple[bytes, bytes, str, int]]) -> pa.Table:
    """Of ``LISTING``; a few rows at a time, since a million of Python's objects take a gigabyte."""
    batches = []
    while some := list(itertools.islice(rows, 1 << 16)):
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*some, strict=True), LISTING, strict=True)]
        batches.append(pa.record_batch(arrays, schema=LISTING))
    return pa.Table.from_batches(batches, LISTING)


def _walk(folder: str) -> Iterator[tuple[str, dict]]:
    """Files under a local folder, many times as fast as fsspec. Links to files are followed, those to folders not."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file():
                    with contextlib.suppress(FileNotFoundError):  # gone since
                        stat = entry.stat()
                        yield entry.path, {"type": "file", "size": stat.st_size, "mtime": stat.st_mtime}


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


def _folder_of_glob(pattern: str) -> str:
    return pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)].rpartition("/")[0]


def _is_list(fs: fsspec.AbstractFileSystem, path: str) -> bool:
    if path.endswith(".parquet"):
        with fs.open(path, "rb") as file:
            return "image" not in pq.read_schema(file).names  # with it, the file holds photographs itself
    return path.endswith((".txt", ".csv"))


def _listed(fs: fsspec.AbstractFileSystem, path: str) -> pa.Table:
    """The files that a list names: a line each (.txt), or the column ``uri`` or else the first one (.csv, .parquet).

    A relative name is relative to the list. What does not exist is listed too, so that it is accounted for.
    """
    with fs.open(path, "rb") as file:
        if path.endswith(".txt"):
            names = file.read().decode("utf-8", "surrogateescape").splitlines()
        else:
            table = pq.read_table(file) if path.endswith(".parquet") else csv.read_csv(file)
            column = table["uri" if "uri" in table.column_names else 0]
            if not pa.types.is_string(column.type):
                raise UsageError(
                    f"{path} has neither photographs in a column called image nor their places in one called uri: "
                    f"its columns are {', '.join(table.column_names)}"
                )
            names = column.to_pylist()
    names = sorted({str(name).strip() for name in names if name} - {""})
    folder = _uri(fs, path.rpartition("/")[0])

    def entry(name: str) -> tuple[bytes, bytes, str, int]:
        if "://" in name or name.startswith("/"):
            uri, name = absolute(name), name.partition("://")[2] or name
        else:
            uri = f"{folder}/{name}"
        try:
            entry_fs, place = url_to_fs(uri)
            info = entry_fs.info(place)
        except (OSError, ValueError, ImportError):
            info = None
        # An output's place is made from this, and must stay inside of OUTPUT.
        inside = posixpath.normpath("/" + name).lstrip("/")
        version, size = (_version(info), info.get("size") or 0) if info else ("", 0)
        return os.fsencode(uri), os.fsencode(inside), version, size

    with ThreadPoolExecutor(32) as threads:  # an object store answers each question in milliseconds, not microseconds
        table = _table(iter(threads.map(entry, names)))
    if not len(table):
        raise UsageError(f"{path} names no files: give one path or URI per line, or a column called uri")
    return table


def _uri(fs: fsspec.AbstractFileSystem, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path)


def _version(info: dict) -> str:
    return str(info.get("ETag") or f"{info.get('size')}-{info.get('mtime', '')}").strip('"')
