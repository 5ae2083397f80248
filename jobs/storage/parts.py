"""Parts of an archive, so that independent jobs share it without a coordinator: of all ids there can be, an equal range
each. Ids are hashes, so that parts are of about the same size, whatever the photographs are called.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa
import pyarrow.compute as pc

from jobs.cli import UsageError

DIGITS = 12  # hexadecimal ones of an id, by which it belongs to a part


@dataclass(frozen=True, slots=True)
class Part:
    """One of several that an archive is divided into, such as 3/16."""

    number: int = 1
    """From 1 on."""
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Raises ``UsageError``."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--part must be one of 1/N to N/N, such as 3/16, not {text}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """As names of files have it."""
        return f"{self.number}of{self.of}"

    @property
    def begin(self) -> Fraction:
        return Fraction(self.number - 1, self.of)

    @property
    def end(self) -> Fraction:
        return Fraction(self.number, self.of)

    @property
    def least(self) -> str:
        """Of the ids that can belong to it."""
        return _least(self.begin)

    @property
    def beyond(self) -> str:
        """The least id that is too large for it; empty where none is."""
        return _least(self.end)

    def holds(self, ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Whether each of these strings belongs to this part; every string belongs to exactly one of N."""
        held = pc.greater_equal(ids, self.least)
        return pc.and_(held, pc.less(ids, self.beyond)) if self.beyond else held

    def divided(self, count: int) -> "list[Part]":
        """Into that many."""
        first = (self.number - 1) * count
        return [Part(first + place, self.of * count) for place in range(1, count + 1)]

    def rows(self, table: pa.Table) -> pa.Table:
        """Those of a table whose ``id`` belongs to it."""
        return table if self == WHOLE else table.filter(self.holds(table["id"]))

    def among(self, ids: Iterable[str]) -> set[str]:
        """Those that belong to it."""
        strings = pa.array(ids, pa.string())
        return {*strings.filter(self.holds(strings)).to_pylist()}

    def overlaps(self, other: "Part") -> bool:
        return self.begin < other.end and other.begin < self.end

    def covers(self, other: "Part") -> bool:
        return self.begin <= other.begin and other.end <= self.end


WHOLE = Part()


def cover(parts: list[Part], whole: Part) -> bool:
    """Whether these together are all of ``whole``."""
    reached = whole.begin
    for part in sorted(parts, key=lambda part: part.begin):
        if part.begin > reached:
            break
        reached = max(reached, part.end)
    return reached >= whole.end


def _least(share: Fraction) -> str:
    """Of the ids, hexadecimal numbers, the least that lies at this share of them; empty at their beginning and end."""
    return f"{-int(-share * 16**DIGITS // 1):0{DIGITS}x}" if share % 1 else ""
