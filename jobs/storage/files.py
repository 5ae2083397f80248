"""Reading and writing whole files by path or URI, on this machine or any fsspec file system."""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

import fsspec
from fsspec.archive import AbstractArchiveFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.chained import ChainedFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import available_protocols, get_filesystem_class
from fsspec.utils import get_protocol

from jobs.cli import UsageError

HEAD = 64 << 10  # bytes of a file by which one can tell what it is
PART = 16 << 20  # bytes of an upload's parts to object stores, of which there may be 10,000
UNFINISHED = ".colorize-"
"""What the name of a file begins with while it is written, beside its place; at most one for each place, which the next
attempt takes over."""
_ESCAPE = re.compile(r"\\u(?:dc([89a-f][0-9a-f])|005c)")  # of a byte that is not UTF-8, and of a backslash
_UNFINISHED = re.compile(rf"(^|/){re.escape(UNFINISHED)}[0-9a-f]{{16}}$")

_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "azure")
_HINTS = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "EndpointConnectionError": "check the network, AWS_DEFAULT_REGION, and AWS_ENDPOINT_URL where it is set",
}
_FULL = {"QuotaExceeded", "QuotaExceededException", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}  # S3's codes


class NoFileSystem(OSError, UsageError):
    """A place begins with what is no protocol, or one for which a package is missing."""


class TooLarge(OSError):
    """A file has more bytes than its reader takes."""


def is_local(uri: str) -> bool:
    return uri.startswith("/") or (not chain_of(uri) and ("://" not in uri or get_protocol(uri) in ("file", "local")))


def chain_of(uri: str) -> str:
    """What follows the place within an archive, as in zip://a.png::file:///scans.zip; else nothing, since `::` may be
    part of any name, where fsspec would take what stands before it for the whole."""
    first, colons, _ = uri.partition("::")
    protocol = first.partition("://")[0]
    if not colons or protocol not in available_protocols():
        return ""
    chained = issubclass(get_filesystem_class(protocol), (AbstractArchiveFileSystem, ChainedFileSystem))
    return uri[len(first) :] if chained else ""


def absolute(uri: str) -> str:
    """One spelling of a place: an absolute path on this machine, without `..`, or a URI; without a slash at its end."""
    if not is_local(uri):
        return uri.rstrip("/")
    parts = LocalFileSystem._strip_protocol(uri).split("/")
    up = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    above = os.path.realpath("/".join(parts[:up])) if up else ""  # through a link, `..` is not the folder that it is in
    return "/".join([above.rstrip("/"), *(part for part in parts[up:] if part not in ("", "."))]) or "/"


def printable(path: str) -> str:
    """A file's name as valid Unicode: bytes that are not UTF-8 become escapes, and so does what looks like one."""
    return _ESCAPE.sub(lambda escape: r"\u005c" + escape[0][1:], path).encode("utf-8", "backslashreplace").decode()


def unprintable(text: str) -> str:
    """The name that ``printable`` was given."""
    return _ESCAPE.sub(lambda escape: chr(0xDC00 + int(escape[1], 16)) if escape[1] else "\\", text)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """What the client of an object store raises becomes an ``OSError`` with a reason: much of it is none by itself."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(_CLIENTS):
            raise
        reason, hint = " ".join(str(error).split()) or type(error).__name__, _HINTS.get(type(error).__name__)
        raise OSError(f"{reason}; {hint}" if hint else reason) from error


class PlainFileSystem:
    """One of fsspec's, all of whose methods raise what ``plain_errors`` makes of their errors."""

    def __init__(self, fs: fsspec.AbstractFileSystem):
        self._fs = fs

    def __getattr__(self, name: str):
        found = getattr(self._fs, name)
        return plain_errors()(found) if callable(found) else found


def located(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a place, and what it is called there. Raises ``NoFileSystem``, and errors of fsspec's."""
    if is_local(uri):
        return LocalFileSystem(), absolute(uri)
    try:
        kind = get_filesystem_class(get_protocol(uri))
    except (ValueError, ImportError) as error:
        raise NoFileSystem(
            f"{uri} cannot be reached ({error}): check how it begins, or install the package that it takes"
        ) from error
    if "::" in uri and not chain_of(uri):
        return kind(**kind._get_kwargs_from_urls(uri)), kind._strip_protocol(uri)
    return url_to_fs(uri)


def file_system(uri: str) -> tuple[PlainFileSystem, str]:
    """The same for all but reading whole files. Raises ``OSError``."""
    with plain_errors():
        fs, path = located(uri)
    return PlainFileSystem(fs), path


def is_full(error: BaseException) -> bool:
    """Whether a place could not be written to because a disk, a quota or a bucket is used up."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    response = getattr(error.__cause__, "response", None) or {}  # of S3, from which s3fs makes an OSError
    return response.get("Error", {}).get("Code") in _FULL


def read_bytes(uri: str, check: Callable[[bytes], None] = lambda head: None, most: int | None = None) -> bytes:
    """A file's content. ``check`` sees its first bytes and may raise, before any others are read. Raises ``OSError``,
    and ``TooLarge`` where the file has more than ``most`` bytes.
    """
    with plain_errors():
        try:
            fs, path = located(uri)
            with fs.open(path, "rb") as file:
                head = file.read(HEAD)
                check(head)
                size = getattr(file, "size", None)  # some streams have none, and those cannot go back
                if size is not None and size <= (most or size):
                    file.seek(0)
                    return file.read()
                data = head + file.read(-1 if most is None else most + 1 - len(head)) if size is None else b""
        except FileNotFoundError as error:
            if not is_local(uri):
                raise
            if os.path.islink(path := absolute(uri)):
                raise FileNotFoundError(f"it is a link to {os.readlink(path)}, which is not there") from error
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
    if most is not None and max(size or 0, len(data)) > most:
        raise TooLarge(f"it has {size / 1e9:,.1f} GB" if size else f"it has over {most / 1e9:,.1f} GB")
    return data


def write_bytes(uri: str, data: bytes, lasting: bool = False, new: bool = False) -> None:
    """Store a file so that it is whole whenever it has its name. Parent folders are made. Raises ``OSError``.

    A power cut may leave a name without its content, but for one that is ``lasting``; see also ``settle``. What has the
    name already is replaced, unless the file must be ``new``: then that is a ``FileExistsError``.
    """
    uri = absolute(uri)
    if not is_local(uri):
        with plain_errors():
            fs, path = _to_write(uri)
            kind = mimetypes.guess_type(path)[0] if get_protocol(uri) == "s3" else None  # browsers go by it
            with fs.open(path, "xb" if new else "wb", **({"ContentType": kind} if kind else {})) as file:
                file.write(data)  # object stores show an object only once it is whole
        return
    os.makedirs(folder := os.path.dirname(uri), exist_ok=True)
    temporary = _temporary(uri)
    with _alone(temporary) as file:
        try:
            file.truncate(0)
            file.write(data)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
            _give_name(temporary, uri, new)
            if lasting:
                settle(folder)  # the name too
        except OSError:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise


@contextlib.contextmanager
def stored(uri: str) -> Iterator[BinaryIO]:
    """A file to write piece by piece, which has its name once it is left without an exception, and is else discarded:
    nobody ever sees half of it. Parent folders are made. Raises ``OSError``.

    A process that is killed leaves a file as ``write_bytes`` does, or in an object store an unfinished upload.
    """
    uri = absolute(uri)
    if not is_local(uri):
        with plain_errors():
            fs, path = _to_write(uri)
            file = fs.open(path, "wb", autocommit=False, block_size=PART)
            try:
                yield file
                file.close()
                file.commit()
            except BaseException:
                with contextlib.suppress(Exception):
                    file.discard()
                raise
        return
    os.makedirs(os.path.dirname(uri), exist_ok=True)
    temporary = _temporary(uri)
    with _alone(temporary) as file:
        try:
            file.truncate(0)
            file.seek(0)  # else a leftover's length would be added to what it tells of its position
            yield file
            file.flush()
            _give_name(temporary, uri, new=False)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise


def is_unfinished(path: str) -> bool:
    """Whether a file is called as one of ours is while it is written."""
    return _UNFINISHED.search(path) is not None


def _to_write(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Raises as ``located`` does, and ``OSError`` for a name that S3's client would cut, or could not send."""
    if get_protocol(uri) in ("s3", "s3a"):
        if "?versionId=" in uri:
            raise OSError(errno.EINVAL, "in a bucket no name can have ?versionId= in it: rename it", uri)
        if uri.encode("utf-8", "ignore").decode() != uri:
            raise OSError(errno.EILSEQ, "in a bucket names are UTF-8: rename it", printable(uri))
    return located(uri)


def _temporary(path: str) -> str:
    """The name of a local file while it is written."""
    folder, name = os.path.split(path)
    # A digest of the name, since with anything more to it that could become too long.
    return os.path.join(folder, UNFINISHED + hashlib.sha256(os.fsencode(name)).hexdigest()[:16])


def _give_name(temporary: str, name: str, new: bool) -> None:
    if new:
        try:
            os.link(temporary, name)  # fails where there is one
            os.remove(temporary)
            return
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if os.path.lexists(name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
    os.replace(temporary, name)


def settle(folder: str) -> None:
    """Wait until all that was written on the file system of ``folder`` outlives a power cut.

    Once for many files: it takes milliseconds, as much as for a single one, which would be a tenth of a photograph.
    """
    if not is_local(folder) or not hasattr(libc := ctypes.CDLL(None), "syncfs"):  # which Linux alone has
        return
    with contextlib.suppress(OSError):  # there is no such folder yet
        place = os.open(absolute(folder), os.O_RDONLY)
        try:
            libc.syncfs(place)
        finally:
            os.close(place)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[BinaryIO]:
    """A file to write, new or the leftover of a process that was killed. Whoever stores the same file waits: a worker
    that is given up for dead may still be at work."""
    while True:
        with open(path, "ab") as file:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                there = os.lstat(path)
            except FileNotFoundError:
                continue  # another process has finished it meanwhile, and it has its own name
            if stat.S_ISLNK(there.st_mode) or there.st_nlink > 1:
                os.remove(path)  # what is written to it would be in another file too
            elif os.path.samestat(there, os.fstat(file.fileno())):
                yield file
                return
