"""Reading and writing whole files by path or URI, on this machine or any fsspec file system."""

import contextlib
import mimetypes
import os
import re

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol


def is_local(uri: str) -> bool:
    return get_protocol(uri) in ("file", "local")


def absolute(uri: str) -> str:
    """One spelling of a place: an absolute path on this machine, or a URI; without a slash at its end."""
    return LocalFileSystem._strip_protocol(uri) if is_local(uri) else uri.rstrip("/")


def printable(path: str) -> str:
    """A file's name as valid Unicode: bytes that are not UTF-8 become backslash escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def unprintable(text: str) -> str:
    """The name that ``printable`` was given."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda escape: chr(0xDC00 + int(escape[1], 16)), text)


def read_bytes(uri: str) -> bytes:
    with fsspec.open(uri, "rb") as file:
        return file.read()


def write_bytes(uri: str, data: bytes) -> None:
    """Store a file so that it is whole whenever it has its name. Parent folders are made."""
    uri = absolute(uri)
    if not is_local(uri):
        fs, path = url_to_fs(uri)
        kind = mimetypes.guess_type(path)[0] if get_protocol(uri) == "s3" else None  # browsers go by it
        with fs.open(path, "wb", **({"ContentType": kind} if kind else {})) as file:
            file.write(data)  # object stores show an object only once it is whole
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
