"""WebDataset's tar files: ``key.jpg`` and whatever stands beside it.

Python's ``tarfile`` takes the first damaged header for the end of the archive, and keeps no headers as they are; it is
used for single headers only.
"""

import json
import sys
import tarfile
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from colorize_core import photo
from colorize_core.formats import is_named_like_a_photograph
from jobs.storage.files import printable
from jobs.storage.shards.portions import (
    NOTE,
    NOTED,
    PORTION_BYTES,
    PORTION_PHOTOGRAPHS,
    Made,
    Names,
    Photograph,
    Portion,
    ShardError,
    renamed,
)
from jobs.storage.shards.reading import ShardFile

BLOCK, RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_COPIED = 4 << 20  # bytes at a time of what is not held in memory
_MOST_HEADER = 1 << 20  # bytes of a member's long name, or of its other records
_ENCODING = ("utf-8", "surrogateescape")
_LONG = {tarfile.GNUTYPE_LONGNAME: "name", tarfile.GNUTYPE_LONGLINK: "linkname"}
_SPARSE_MORE, _SPARSE_MORE_STILL = 482, 504  # where GNU's header, or one that continues it, says that another follows
_REPLACED = {"path", "size", "linkpath", "hdrcharset"}
EXTENSION = f".{NOTED}.json"


@dataclass(slots=True)
class Member:
    """One of an archive's, as it is there."""

    info: tarfile.TarInfo
    header: bytes
    """All of its blocks: of long names and other records too."""
    at: int
    """Where its content begins in the archive."""
    size: int
    """Bytes of its content."""
    records: dict[str, str] = field(default_factory=dict)
    """Those of POSIX's extended header."""
    data: bytes | None = None
    """Its content, unless it stays in the archive until it is copied."""
    photograph: Photograph | None = None

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def is_photograph(self) -> bool:
        return self.info.isreg() and is_named_like_a_photograph(self.name)

    @property
    def is_sparse(self) -> bool:
        return self.info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in self.records)


@dataclass(slots=True, kw_only=True)
class Members(Portion):
    members: list[Member]


class WebDatasetShard:
    """An open one, to be read once. Iterating raises ``ShardError`` where it is damaged, and ``OSError``."""

    kind = "webdataset"

    def __init__(self, file: ShardFile, uri: str):
        self.uri, self.file = uri, file

    def __iter__(self) -> Iterator[Members]:
        held: list[Member] = []
        total = photographs = 0
        for member in self._named():
            size = member.size if self._is_held(member) else 0
            if held and (total + size > PORTION_BYTES or photographs == PORTION_PHOTOGRAPHS):
                ready = _samples_before(held, member)
                yield _portion(held[:ready])
                held = held[ready:]
                total = sum(len(one.data or b"") for one in held)
                photographs = sum(one.photograph is not None for one in held)
            if self._is_held(member):
                self.file.seek(member.at)
                member.data = self.file.read_ahead(member.size)
            if member.photograph:
                photographs += 1
                if not member.photograph.problem:
                    member.photograph.data = member.data
            held.append(member)
            total += size
        if held:
            yield _portion(held)

    def read_one(self, name: str) -> bytes:
        for member in self._named():
            if member.photograph and member.photograph.name == name:
                self.file.seek(member.at)
                return self.file.read(member.size)
        raise ShardError(f"{self.uri} has no photograph called {name}")

    def copy(self, member: Member, sink: BinaryIO) -> None:
        """Its content, a little at a time."""
        for start in range(member.at, member.at + member.size, _COPIED):
            self.file.seek(start)
            sink.write(self.file.read(min(_COPIED, member.at + member.size - start)))

    @staticmethod
    def _is_held(member: Member) -> bool:
        """In memory: what will be coloured, and what is small."""
        return member.size <= PORTION_BYTES or (member.photograph is not None and not member.photograph.problem)

    def _named(self) -> Iterator[Member]:
        """Its members, and what photographs are called, without their contents."""
        names = Names()
        for member in self._members():
            if member.is_photograph:
                name, occurs = names.add(member.name)
                member.photograph = Photograph(name, printable(member.name), None, _problem(member, occurs))
            yield member

    def _members(self) -> Iterator[Member]:
        at = count = 0
        while (block := self._block(at, count)).strip(b"\0"):
            member = self._member(block, at)
            yield member
            at = member.at + _padded(member.size)
            count += 1
        while rest := self.file.read_ahead(_COPIED):
            if rest.strip(b"\0"):
                raise ShardError(
                    f"{self.uri} goes on after its end, {at:,} bytes from its beginning, where readers stop: "
                    "if archives were put one behind another, unpack and pack them anew"
                )

    def _block(self, at: int, count: int) -> bytes:
        """The one at which a member begins, or with nothing in it the end."""
        self.file.seek(at)
        block = self.file.read_ahead(BLOCK)
        if not block and not at:
            raise ShardError(f"{self.uri} is empty (0 bytes): copy it again")
        if not block:
            raise ShardError(
                f"{self.uri} has no end-of-archive marker behind its {count:,} members, so that some may be missing: "
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
        if start + _padded(size) > self.file.size:
            raise ShardError(f"{self.uri} is cut short, within its member {printable(info.name)}: copy it again")
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
        self.file.seek(start)
        if len(data := self.file.read_ahead(size)) < size:
            raise self._damaged(at, "a header that is cut short")
        return data

    def _damaged(self, at: int, what: str) -> ShardError:
        if at == 0:
            return ShardError(f"{self.uri} is no tar archive ({what}): copy it again, or check what it is")
        return ShardError(f"{self.uri} is damaged {at:,} bytes from its beginning ({what}): copy it again")


class WebDatasetWriter:
    """The members of ``like`` with other photographs, and behind each of those ``KEY.colorize.json``."""

    most = sys.maxsize
    """Bytes of a photograph that it can hold."""

    def __init__(self, sink: BinaryIO, like: WebDatasetShard):
        self._sink, self._source = sink, like
        self._names = Names()
        self._taken: set[str] = set()
        self._renamed: dict[str, str] = {}

    def write(self, portion: Portion, made: Sequence[Made]) -> list[str]:
        """Returns the photographs' names in this shard."""
        assert isinstance(portion, Members) and len(made) == len(portion.photographs)
        self._taken |= {member.name for member in portion.members}
        names, remaining = [], iter(made)
        for member in portion.members:
            if member.name.endswith(EXTENSION):
                raise ShardError(
                    f"{self._source.uri} has a member {printable(member.name)} already, as what this program makes "
                    "has: point the job to the originals"
                )
            if not member.photograph:
                self._carry(member)
                continue
            one = next(remaining)
            name = member.name
            if one.data is None:
                self._carry(member)
            else:
                if one.suffix and renamed(name, one.suffix) != name:
                    name = self._free(renamed(name, one.suffix), name, one.suffix)
                    self._renamed[member.name] = name
                self._put(_header(member, name, len(one.data)), one.data)
            note = _json(one.note)
            beside = self._free(renamed(member.name, EXTENSION), member.name, EXTENSION)
            self._put(_plain_header(member.info, beside, len(note)), note)
            names.append(self._names.add(name)[0])
        return names

    def close(self) -> None:
        at = self._sink.tell()
        self._sink.write(bytes(-(at + 2 * BLOCK) % RECORD + 2 * BLOCK))

    def abandon(self) -> None:
        pass

    def _free(self, name: str, original: str, suffix: str) -> str:
        """A name that no other member has, so far as can be known: this one, or else one of the original's."""
        stem = original
        while name in self._taken:
            name, stem = stem + suffix, f"{stem}{suffix}"
        self._taken.add(name)
        return name

    def _carry(self, member: Member) -> None:
        header = member.header
        if member.info.islnk() and (target := self._renamed.get(member.info.linkname)):
            header = _header(member, member.name, 0, target)
        if member.data is None:
            self._sink.write(header)
            self._source.copy(member, self._sink)
            self._sink.write(bytes(-member.size % BLOCK))
        else:
            self._put(header, member.data)

    def _put(self, header: bytes, data: bytes) -> None:
        self._sink.write(header)
        self._sink.write(data)
        self._sink.write(bytes(-len(data) % BLOCK))


def _json(note: dict) -> bytes:
    """With numbers as exact as in the catalogue, so that a row from there says the same."""
    said = {
        field.name: float(np.float32(value)) if pa.types.is_float32(field.type) and value is not None else value
        for field in NOTE
        for value in [note.get(field.name)]
    }
    return json.dumps(said, ensure_ascii=False).encode()


def begins_like_a_tar(head: bytes) -> bool:
    try:
        return bool(tarfile.TarInfo.frombuf(head[:BLOCK], *_ENCODING).name)
    except tarfile.HeaderError:
        return False


def _problem(member: Member, occurs: bool) -> str | None:
    if occurs:
        return f"a photograph before it in this shard is called {printable(member.name)} too: give it another name"
    if member.is_sparse:
        return "it is stored with holes (a sparse file): pack the shard anew without them (tar without --sparse)"
    if member.size > photo.MAX_BYTES:
        return (
            f"it has {member.size / 1e9:,.1f} GB, more than any photograph takes: cut it into parts, "
            "or check what it is"
        )
    return None


def _portion(members: list[Member]) -> Members:
    return Members(photographs=[one.photograph for one in members if one.photograph], members=members)


def _samples_before(held: list[Member], member: Member) -> int:
    """How many of those held are of other samples than a member that follows: all, where it would be none."""
    ready, key = len(held), _key(member.name)
    while ready and _key(held[ready - 1].name) == key:
        ready -= 1
    return ready or len(held)


def _key(name: str) -> str:
    """By which WebDataset tells samples apart: to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _has_content(info: tarfile.TarInfo) -> bool:
    return info.isreg() or info.type not in tarfile.SUPPORTED_TYPES


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _header(member: Member, name: str, size: int, target: str = "") -> bytes:
    """As the member's own, for another name, size and target of a link."""
    info = copy(member.info)
    info.name, info.size, info.linkname = name, size, target
    info.pax_headers = {key: value for key, value in member.records.items() if key not in _REPLACED}
    gnu = member.header[257:265] == tarfile.GNU_MAGIC and not member.records
    return info.tobuf(tarfile.GNU_FORMAT if gnu else tarfile.PAX_FORMAT, *_ENCODING)


def _plain_header(like: tarfile.TarInfo, name: str, size: int) -> bytes:
    """Of a file with the owner, mode and time of another one."""
    info = copy(like)
    info.name, info.size, info.type, info.linkname, info.pax_headers = name, size, tarfile.REGTYPE, "", {}
    return info.tobuf(tarfile.PAX_FORMAT, *_ENCODING)
