"""What a job is pointed at: a file, a folder, a glob or a list, on this machine or any fsspec file system."""

import contextlib
import os
import posixpath
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol
from pyarrow import csv

from jobs.cluster import UsageError


@dataclass(frozen=True, slots=True)
class Source:
    """One input file."""

    uri: str
    """Absolute path, or URI with its scheme."""
    path: str
    """Path relative to what the job was pointed at, with forward slashes: the photograph's identity."""
    version: str
    """Changes when the file does: ETag, or size and modification time."""


def is_local(uri: str) -> bool:
    return get_protocol(uri) in ("file", "local")


def absolute(uri: str) -> str:
    """One spelling of a place: an absolute path on this machine, or a URI; without a slash at its end."""
    return LocalFileSystem._strip_protocol(uri) if is_local(uri) else uri.rstrip("/")


def list_sources(source: str) -> list[Source]:
    """Every file under ``source``, or that it lists, sorted by path. Raises ``UsageError`` where there is none."""
    try:
        fs, root = url_to_fs(source)
        if fs.isfile(root) and _is_list(fs, root):
            return _listed(fs, root)
        if fs.isfile(root):
            found, base = {root: fs.info(root)}, root.rpartition("/")[0]
        elif fs.exists(root):
            found, base = fs.find(root, detail=True), root.rstrip("/")
        elif any(character in root for character in "*?["):
            found = fs.glob(root, detail=True)
            base = root[: min(root.index(c) for c in "*?[" if c in root)].rpartition("/")[0]
        else:
            raise UsageError(f"{source} does not exist: check the path")
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{source} cannot be listed ({error}): check the path and your credentials") from error
    files = [
        Source(_uri(fs, path), path.removeprefix(base).lstrip("/"), _version(info))
        for path, info in sorted(found.items())
        if info["type"] == "file"
    ]
    if not files:
        raise UsageError(f"{source} holds no files: point to a folder with photographs in it")
    return files


def _is_list(fs: fsspec.AbstractFileSystem, path: str) -> bool:
    if path.endswith(".parquet"):
        with fs.open(path, "rb") as file:
            return "image" not in pq.read_schema(file).names  # with it, the file holds photographs itself
    return path.endswith((".txt", ".csv"))


def _listed(fs: fsspec.AbstractFileSystem, path: str) -> list[Source]:
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

    def source(name: str) -> Source:
        if "://" in name or name.startswith("/"):
            uri, name = absolute(name), name.partition("://")[2] or name
        else:
            uri = f"{folder}/{name}"
        try:
            entry_fs, entry = url_to_fs(uri)
            version = _version(entry_fs.info(entry))
        except (OSError, ValueError, ImportError):
            version = ""
        # An output's place is made from this, and must stay inside of OUTPUT.
        return Source(uri, posixpath.normpath("/" + name).lstrip("/"), version)

    with ThreadPoolExecutor(32) as threads:  # an object store answers each question in milliseconds, not microseconds
        files = list(threads.map(source, names))
    if not files:
        raise UsageError(f"{path} names no files: give one path or URI per line, or a column called uri")
    return files


def _uri(fs: fsspec.AbstractFileSystem, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path)


def _version(info: dict) -> str:
    return str(info.get("ETag") or f"{info.get('size')}-{info.get('mtime', '')}").strip('"')


def printable(path: str) -> str:
    """A file's name as valid Unicode: bytes that are not UTF-8 become backslash escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def read_bytes(uri: str) -> bytes:
    with fsspec.open(uri, "rb") as file:
        return file.read()


def write_bytes(uri: str, data: bytes) -> None:
    """Store a file so that it is whole whenever it has its name. Parent folders are made."""
    uri = absolute(uri)
    if not is_local(uri):
        with fsspec.open(uri, "wb") as file:  # object stores show an object only once it is whole
            file.write(data)
        return
    folder, name = os.path.split(uri)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, uri)
    except OSError:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
