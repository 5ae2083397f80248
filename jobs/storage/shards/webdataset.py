"""WebDataset's tar archives: ``key.jpg`` and whatever stands beside it."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from colorize_core import photo
from colorize_core.formats import is_named_like_a_photograph
from jobs.storage.files import printable
from jobs.storage.shards import tar
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

EXTENSION = f".{NOTED}.json"


@dataclass(slots=True)
class Item:
    """A member on its way."""

    member: tar.Member
    photograph: Photograph | None
    """If it is one."""
    data: bytes | None = None
    """Its content, unless it stays in the archive until it is copied."""

    @property
    def is_held(self) -> bool:
        """In memory: what will be coloured, and what is small."""
        return self.member.size <= PORTION_BYTES or (self.photograph is not None and not self.photograph.problem)


@dataclass(slots=True, kw_only=True)
class Members(Portion):
    items: list[Item]


class WebDatasetShard:
    """An open one, to be read once. Iterating raises ``ShardError`` where it is damaged, and ``OSError``."""

    kind = "webdataset"

    def __init__(self, file: ShardFile, uri: str):
        self.uri, self.archive = uri, tar.TarReader(file, uri)

    def __iter__(self) -> Iterator[Members]:
        held: list[Item] = []
        total = photographs = 0
        for item in self._items():
            size = item.member.size if item.is_held else 0
            if held and (total + size > PORTION_BYTES or photographs == PORTION_PHOTOGRAPHS):
                ready = _samples_before(held, item)
                yield _portion(held[:ready])
                held = held[ready:]
                total = sum(len(one.data or b"") for one in held)
                photographs = sum(one.photograph is not None for one in held)
            if item.is_held:
                item.data = self.archive.content(item.member)
            if item.photograph:
                photographs += 1
                item.photograph.data = None if item.photograph.problem else item.data
            held.append(item)
            total += size
        if held:
            yield _portion(held)

    def read_one(self, name: str) -> bytes:
        for item in self._items():
            if item.photograph and item.photograph.name == name:
                return self.archive.content(item.member)
        raise ShardError(f"{self.uri} has no photograph called {name}")

    def _items(self) -> Iterator[Item]:
        """Without their contents."""
        names = Names()
        for member in self.archive.members():
            photograph = None
            if member.info.isreg() and is_named_like_a_photograph(member.name):
                name, occurs = names.add(member.name)
                photograph = Photograph(name, printable(member.name), None, _problem(member, occurs))
            yield Item(member, photograph)


class WebDatasetWriter:
    """The members of ``like`` with other photographs, and behind each of those ``KEY.colorize.json``."""

    most = sys.maxsize
    """Bytes of a photograph that it can hold."""

    def __init__(self, sink: BinaryIO, like: WebDatasetShard):
        self._sink, self._like = sink, like
        self._names = Names()
        self._taken: set[str] = set()
        self._invented: set[str] = set()
        self._renamed: dict[str, str] = {}

    def write(self, portion: Portion, made: Sequence[Made]) -> list[str]:
        """Returns the photographs' names in this shard."""
        assert isinstance(portion, Members) and len(made) == len(portion.photographs)
        self._taken |= {item.member.name for item in portion.items}
        names, remaining = [], iter(made)
        for item in portion.items:
            if item.member.name.endswith(EXTENSION):
                raise ShardError(
                    f"{self._like.uri} has a member {printable(item.member.name)} already, as what this program makes "
                    "has: point the job to the originals"
                )
            if item.photograph:
                names.append(self._replace(item, next(remaining)))
            else:
                self._carry(item)
        return names

    def close(self) -> None:
        self._sink.write(tar.end(self._sink.tell()))

    def abandon(self) -> None:
        pass

    def _replace(self, item: Item, one: Made) -> str:
        """Returns what the photograph is called now."""
        member, name = item.member, item.member.name
        suffix = one.suffix if one.data is not None else None
        if (suffix and renamed(name, suffix) != name) or name in self._invented:
            self._renamed[name] = name = self._free(name, suffix or os.path.splitext(name)[1])
        if one.data is None:
            self._carry(item, name)
        else:
            self._put(tar.changed(member, name, len(one.data)), one.data)
        note = _json(one.note)
        self._put(tar.plain(member.info, self._free(member.name, EXTENSION), len(note)), note)
        return self._names.add(name)[0]

    def _free(self, original: str, suffix: str) -> str:
        """A name with this suffix that no other member has, so far as can be known."""
        name = renamed(original, suffix)
        while name in self._taken:
            original += suffix
            name = original
        self._taken.add(name)
        self._invented.add(name)
        return name

    def _carry(self, item: Item, name: str | None = None) -> None:
        member, header = item.member, item.member.header
        if name not in (None, member.name):
            header = tar.changed(member, str(name), member.size)
        if member.info.islnk() and (target := self._renamed.get(member.info.linkname)):
            header = tar.changed(member, member.name, 0, target)
        if item.data is None:
            self._sink.write(header)
            self._like.archive.copy(member, self._sink)
            self._sink.write(tar.padding(member.size))
        else:
            self._put(header, item.data)

    def _put(self, header: bytes, data: bytes) -> None:
        self._sink.write(header)
        self._sink.write(data)
        self._sink.write(tar.padding(len(data)))


def _json(note: dict) -> bytes:
    """With numbers as exact as in the catalogue, so that a row from there says the same."""
    said = {
        field.name: float(np.float32(value)) if pa.types.is_float32(field.type) and value is not None else value
        for field in NOTE
        for value in [note.get(field.name)]
    }
    return json.dumps(said, ensure_ascii=False).encode()


def _problem(member: tar.Member, occurs: bool) -> str | None:
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


def _portion(items: list[Item]) -> Members:
    return Members(photographs=[one.photograph for one in items if one.photograph], items=items)


def _samples_before(held: list[Item], item: Item) -> int:
    """How many of those held are of other samples than one that follows: all, where it would be none."""
    ready, key = len(held), _key(item.member.name)
    while ready and _key(held[ready - 1].member.name) == key:
        ready -= 1
    return ready or len(held)


def _key(name: str) -> str:
    """By which WebDataset tells samples apart: to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]
