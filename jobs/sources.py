"""What a job is pointed at: a file, a folder or a glob, on this machine or any fsspec file system."""

import contextlib
import os
from dataclasses import dataclass

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

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
    """Every file under ``source``, sorted by path. Raises ``UsageError`` where there is none."""
    try:
        fs, root = url_to_fs(source)
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
