"""Members of a tar archive as they are, one after the other.

Python's ``tarfile`` takes the first damaged header for the end of the archive, and keeps no headers as they are; it is
used for single headers only.
"""

import tarfile
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import BinaryIO

from jobs.storage.files import printable
from jobs.storage.shards.portions import ShardError
from jobs.storage.shards.reading import ShardFile

BLOCK, RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_COPIED = 4 << 20  # bytes at a time of what is not held in memory
_MOST_HEADER = 1 << 20  # bytes of a member's long name, or of its other records
_ENCODING = ("utf-8", "surrogateescape")
_LONG = {tarfile.GNUTYPE_LONGNAME: "name", tarfile.GNUTYPE_LONGLINK: "linkname"}
_SPARSE_MORE, _SPARSE_MORE_STILL = 482, 504  # where GNU's header, or one that continues it, says that another follows
_REPLACED = {"path", "size", "linkpath", "hdrcharset"}


@dataclass(slots=True)
class Member:
    """One of an archive's."""

    info: tarfile.TarInfo
    header: bytes
    """All of its blocks: of long names and other records too."""
    at: int
    """Where its content begins in the archive."""
    size: int
    """Bytes of its content."""
    records: dict[str, str] = field(default_factory=dict)
    """Those of POSIX's extended header."""

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def is_sparse(self) -> bool:
        return self.info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in self.records)


class TarReader:
    """Raises ``ShardError`` where the archive is damaged, and ``OSError``."""

    def __init__(self, file: ShardFile, uri: str):
        self._file, self._uri = file, uri

    def members(self) -> Iterator[Member]:
        """Without their contents. The archive must be whole, and end where readers take it to end."""
        at = count = 0
        while (block := self._block(at, count)).strip(b"\0"):
            member = self._member(block, at)
            yield member
            at = member.at + _padded(member.size)
            count += 1
        while rest := self._file.read_ahead(_COPIED):
            if rest.strip(b"\0"):
                raise ShardError(
                    f"{self._uri} goes on after its end, {at:,} bytes from its beginning, where readers stop: "
                    "if archives were put one behind another, unpack and pack them anew"
                )

    def content(self, member: Member) -> bytes:
        self._file.seek(member.at)
        return self._file.read_ahead(member.size)

    def copy(self, member: Member, sink: BinaryIO) -> None:
        """Its content, a little at a time."""
        for start in range(member.at, member.at + member.size, _COPIED):
            self._file.seek(start)
            sink.write(self._file.read(min(_COPIED, member.at + member.size - start)))

    def _block(self, at: int, count: int) -> bytes:
        """The one at which a member begins, or with nothing in it the end."""
        self._file.seek(at)
        block = self._file.read_ahead(BLOCK)
        if not block and not at:
            raise ShardError(f"{self._uri} is empty (0 bytes): copy it again")
        if not block:
            raise ShardError(
                f"{self._uri} has no end-of-archive marker behind its {count:,} members, so that some may be missing: "
                "copy it again, or, if it is whole, append 1,024 zero bytes (truncate --size=+1024)"
            )
        return block

    def _member(self, block: bytes, at: int) -> Member:
        """That which begins ``at`` this block."""
        header = block
        records: dict[str, str] = {}
        long: dict[str, str] = {}
        while True:
            info = self._parsed(block, at)
            if info.type not in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, *_LONG):
                break
            if info.size > _MOST_HEADER:
                raise self._damaged(at, "a header of over a megabyte")
            content = self._read(at + len(header), _padded(info.size), at)
            block = self._read(at + len(header) + len(content), BLOCK, at)
            header += content + block
            if info.type in _LONG:
                long[_LONG[info.type]] = content[: info.size].rstrip(b"\0").decode(*_ENCODING)
            else:
                records |= self._records(content[: info.size], at)
        more = block[_SPARSE_MORE] if info.type == tarfile.GNUTYPE_SPARSE else 0
        while more:
            header += (extension := self._read(at + len(header), BLOCK, at))
            more = extension[_SPARSE_MORE_STILL]
        for key, value in long.items():
            setattr(info, key, value)
        info.name, info.linkname = records.get("path", info.name), records.get("linkpath", info.linkname)
        try:
            size = int(records.get("size", info.size)) if _has_content(info) else 0
        except ValueError:
            size = -1
        start = at + len(header)
        if size < 0:
            raise self._damaged(at, "a size that is no number")
        if start + _padded(size) > self._file.size:
            raise ShardError(f"{self._uri} is cut short, within its member {printable(info.name)}: copy it again")
        return Member(info, header, start, size, records)

    def _parsed(self, block: bytes, at: int) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(block, *_ENCODING)
        except tarfile.HeaderError as error:
            raise self._damaged(at, str(error)) from error

    def _records(self, content: bytes, at: int) -> dict[str, str]:
        """Of POSIX's extended header: LENGTH KEY=VALUE, a line each."""
        records = {}
        while content.strip(b"\0"):
            length, _, rest = content.partition(b" ")
            size = int(length) if length.isdigit() and len(length) < 10 else 0
            key, equals, value = rest[: max(size - len(length) - 2, 0)].partition(b"=")
            try:
                records[key.decode()] = value.decode(*_ENCODING)
            except UnicodeDecodeError:
                equals = b""
            if not equals or size > len(content):
                raise self._damaged(at, "a damaged extended header")
            content = content[size:]
        return records

    def _read(self, start: int, size: int, at: int) -> bytes:
        self._file.seek(start)
        if len(data := self._file.read_ahead(size)) < size:
            raise self._damaged(at, "a header that is cut short")
        return data

    def _damaged(self, at: int, what: str) -> ShardError:
        if at == 0:
            return ShardError(f"{self._uri} is no tar archive ({what}): copy it again, or check what it is")
        return ShardError(f"{self._uri} is damaged {at:,} bytes from its beginning ({what}): copy it again")


def begins_like_one(head: bytes) -> bool:
    try:
        return bool(tarfile.TarInfo.frombuf(head[:BLOCK], *_ENCODING).name)
    except tarfile.HeaderError:
        return False


def changed(member: Member, name: str, size: int, target: str = "") -> bytes:
    """A header as the member's own, for another name, size and target of a link."""
    info = copy(member.info)
    info.name, info.size, info.linkname = name, size, target
    info.pax_headers = {key: value for key, value in member.records.items() if key not in _REPLACED}
    gnu = member.header[257:265] == tarfile.GNU_MAGIC and not member.records
    return info.tobuf(tarfile.GNU_FORMAT if gnu else tarfile.PAX_FORMAT, *_ENCODING)


def plain(like: tarfile.TarInfo, name: str, size: int) -> bytes:
    """The header of a file with the owner, mode and time of another one."""
    info = copy(like)
    info.name, info.size, info.type, info.linkname, info.pax_headers = name, size, tarfile.REGTYPE, "", {}
    return info.tobuf(tarfile.PAX_FORMAT, *_ENCODING)


def padding(size: int) -> bytes:
    """What follows a content."""
    return bytes(-size % BLOCK)


def end(at: int) -> bytes:
    """What follows the last member, that many bytes from the archive's beginning."""
    return bytes(-(at + 2 * BLOCK) % RECORD + 2 * BLOCK)


def _has_content(info: tarfile.TarInfo) -> bool:
    return info.isreg() or info.type not in tarfile.SUPPORTED_TYPES


def _padded(size: int) -> int:
    return size + -size % BLOCK
