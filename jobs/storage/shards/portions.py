"""What goes through a shard: its photographs, a portion at a time, and what is made of them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from jobs.storage.catalog import SCHEMA
from jobs.storage.files import printable

PORTION_BYTES = 32 << 20
"""Of the photographs of a portion, and of what is carried along with them, unless a single one is larger."""
PORTION_PHOTOGRAPHS = 256

_NOTED = """
    id status error kind width height model colorfulness confidence source_sha256 output_sha256
"""
NOTE = pa.schema([SCHEMA.field(name) for name in _NOTED.split()])
"""What a shard says of each of its photographs, as the catalogue does."""
NOTED = "colorize"
"""The column of a Parquet file, and the extension of a WebDataset's member, that says it."""


class ShardError(ValueError):
    """A shard that is damaged, or is none; the message says what is wrong with it and what to do."""


@dataclass(slots=True)
class Photograph:
    """One of a shard's, as it is."""

    name: str
    """Unique within the shard: a member's name, or the number of a row."""
    label: str
    """What people call it: as its name, or the path that is kept beside it. Its suffix may tell its format."""
    data: bytes | None
    """Its file; None where there is a problem."""
    problem: str | None = None
    """A sentence, where it cannot be coloured."""


@dataclass(slots=True, frozen=True)
class Made:
    """What has become of a photograph."""

    data: bytes | None
    """The file that takes its place; None leaves the original."""
    suffix: str | None = None
    """Of a name, with its dot, where the file is in another format than the original."""
    note: dict = field(default_factory=dict)
    """Values of ``NOTE``."""


@dataclass(slots=True, kw_only=True)
class Portion:
    """Neighbours in a shard. One without photographs is to be written too: all else is in it."""

    photographs: list[Photograph]


class Names:
    """Names of photographs, the same in a shard and in what is made of it, whatever else either holds."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._count = 0

    def add(self, member: str) -> tuple[str, bool]:
        """A unique and printable name of the next photograph, and whether its own was another's before."""
        name = own = printable(member)
        while name in self._seen:
            name = f"{name}@{self._count}"
        self._seen.add(name)
        self._count += 1
        return name, name != own


def cut(sizes: list[int]) -> Iterator[slice]:
    """Neighbours that make a portion."""
    start = total = 0
    for i, size in enumerate(sizes):
        if i > start and (total + size > PORTION_BYTES or i - start == PORTION_PHOTOGRAPHS):
            yield slice(start, i)
            start, total = i, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))


def renamed(name: str, suffix: str | None) -> str:
    """With another suffix, if any."""
    return name if suffix is None else os.path.splitext(name)[0] + suffix
