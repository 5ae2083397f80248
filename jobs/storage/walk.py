"""Every file below a folder, as it is found: never all of them in memory."""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from datetime import datetime

import fsspec
from fsspec.archive import AbstractArchiveFileSystem
from fsspec.implementations.local import LocalFileSystem

PAGE = 1000  # objects that S3 names at a time, at most

Entry = tuple[str, dict]
"""A path, and what the file system tells of it: ``type``, ``size``, and what its version is made of."""


def below(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[Entry]:
    """In no order. Of object stores other than S3 one folder's files are in memory, of those that lie in ``folder``."""
    if isinstance(fs, LocalFileSystem):
        return _local(folder)
    if hasattr(fs, "call_s3"):
        return _s3(fs, folder)
    if isinstance(fs, AbstractArchiveFileSystem):  # it knows all of its members, and looks through them for each folder
        return iter(fs.find(folder, detail=True).items())
    return _each(fs, folder)


def local(path: str) -> Entry:
    """What is to be known of a local file, or of a link that leads nowhere: that is accounted for too."""
    try:
        found = os.stat(path)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError) and not os.path.islink(path)
        return path, {"type": "gone" if gone else "file", "size": 0}
    kind = "file" if stat.S_ISREG(found.st_mode) else "other"
    return path, {"type": kind, "size": found.st_size, "mtime": found.st_mtime}


def _local(folder: str) -> Iterator[Entry]:
    """Many times as fast as fsspec. Links are followed: to files, and to each folder that has not been walked yet, once
    all others have been, so that a folder within has its own name and not a link's.
    """
    walked, links = set(), [folder]
    while links:
        folders, links = sorted(links, reverse=True), []
        while folders:
            folder = folders.pop()
            found = os.stat(folder)
            if (found.st_dev, found.st_ino) in walked:
                continue
            walked.add((found.st_dev, found.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_symlink() and os.path.isdir(entry.path):
                        links.append(entry.path)
                    else:
                        yield local(entry.path)


def _s3(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[Entry]:
    """Page by page; s3fs itself keeps a dictionary for each object, a gigabyte for a million of them."""
    bucket, key, _ = fs.split_path(folder)
    where = {"Bucket": bucket, "Prefix": f"{key.rstrip('/')}/" if key else "", "MaxKeys": PAGE, **fs.req_kw}
    more: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_objects_v2", **where, **more)
        for found in page.get("Contents", []):
            yield f"{bucket}/{found['Key']}", {"type": "file", "size": found["Size"], "ETag": found["ETag"]}
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def modified(fs: fsspec.AbstractFileSystem, paths: Collection[str]) -> dict[str, datetime | None]:
    """When those of the files that are there were stored last; None where the store does not say."""
    if hasattr(fs, "call_s3"):
        return _s3_modified(fs, paths)
    fs.invalidate_cache()
    found: dict[str, datetime | None] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            times = [time for time in fs.info(path).values() if isinstance(time, datetime)]
            found[path] = max(times) if times and all(time.tzinfo for time in times) else None
    return found


def _s3_modified(fs: fsspec.AbstractFileSystem, paths: Collection[str]) -> dict[str, datetime | None]:
    """From as few pages as they lie in, since keys are listed in their order: one for some that are neighbours."""
    found: dict[str, datetime | None] = {}
    left = sorted(paths, key=str.encode, reverse=True)
    while left:
        bucket, key, _ = fs.split_path(left[-1])
        # Who may list no more is asked for no more; of keys, which are no paths.
        prefix = os.path.commonprefix(left).partition("/")[2]  # noqa: RUF071
        where = {"Bucket": bucket, "Prefix": prefix, "StartAfter": key[:-1], "MaxKeys": PAGE, **fs.req_kw}
        page = fs.call_s3("list_objects_v2", **where)
        there = {f"{bucket}/{one['Key']}": one["LastModified"] for one in page.get("Contents", [])}
        last = max(there, key=str.encode, default="") if page.get("IsTruncated") else None
        while left and (last is None or left[-1].encode() <= last.encode()):
            if (path := left.pop()) in there:
                found[path] = there[path]
    return found


def _each(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[Entry]:
    for entry in fs.ls(folder, detail=True):
        if entry["type"] != "directory":
            yield entry["name"], entry
        elif entry["name"].rstrip("/") != folder.rstrip("/"):  # some stores name a folder among what it holds
            yield from fs.find(entry["name"], detail=True).items()
            fs.invalidate_cache()  # which keeps all that was ever listed
