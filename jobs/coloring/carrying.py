"""What an earlier run has made of a shard, so that of a shard that is begun again only those photographs are coloured
that have to be: the others' rows and pictures are carried over.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from jobs.pages import decisions
from jobs.storage import shard_rows, shards
from jobs.storage.output import is_content
from jobs.storage.shards.portions import PORTION_PHOTOGRAPHS

SAID = ["id", "source_sha256", "output_sha256", "hints", "decision"]
"""Columns of the catalogue."""


class Past(NamedTuple):
    """Of one photograph."""

    row: dict
    """Of the catalogue."""
    picture: bytes | None
    """In colour, where the row has one and it is still there."""


@dataclass(slots=True)
class Before:
    """The rows of a shard, and the photographs of what was made of it, in its order."""

    rows: Iterator[dict] = field(default_factory=lambda: iter(()))
    pictures: Iterator[bytes | None] = field(default_factory=lambda: iter(()))
    said: dict[str, dict] = field(default_factory=dict)
    """Of photographs of which people have said something, ``SAID``, by their ids."""
    is_same: bool = False
    """Whether the shard has not changed since."""
    is_there: bool = False
    """Whether there is something in the place of what was made of it."""
    changed: bool = False
    """Whether one of the photographs so far is not what was written."""

    def take(self, count: int) -> list[Past | None]:
        """Of the next photographs of the shard; nothing where it has changed."""
        found = [self._next() for _ in range(count)]
        return found if self.is_same else [None] * count

    def look_through(self) -> None:
        """See whether any of the photographs that are left is ``changed``."""
        while self._next():
            pass

    def _next(self) -> Past | None:
        row, data = next(self.rows, None), next(self.pictures, None)
        if row is None:
            return None
        if not (digest := row["output_sha256"]):
            return Past(row, None)
        if data is None or not is_content(digest)(data):
            self.changed, data = self.is_there, None
        return Past(row, data)

    def hints(self, row: dict) -> list[dict] | None:
        """That hold for the photograph of a new row, since its file is the same."""
        said = self.said.get(row["id"])
        return said["hints"] if said and said["source_sha256"] == row.get("source_sha256") else None

    def decision(self, row: dict) -> str | None:
        """That holds for it, since its colours came out the same."""
        said = self.said.get(row["id"])
        if said is None or said["output_sha256"] != row["output_sha256"]:
            return None
        return None if said["decision"] == decisions.REDO else said["decision"]


@contextlib.contextmanager
def before(output: str, id: str, version: str, made: str) -> Iterator[Before]:
    """What there is of a shard that has this version now; ``made`` is where its photographs in colour are."""
    with contextlib.ExitStack() as stack:
        found = Before()
        with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowException):
            file = stack.enter_context(shard_rows.opened(output, id))
            found.is_same = shard_rows.Footer.parse(file.metadata.metadata[shard_rows.KEY]).version == version
            said = file.read(SAID)
            said = said.filter(pc.or_(pc.is_valid(said["hints"]), pc.is_valid(said["decision"])))
            found.said = {row["id"]: row for row in said.to_pylist()}
            found.rows = _rows(file)
        try:
            found.pictures = _pictures(stack.enter_context(shards.open_shard(made)))
            found.is_there = True
        except FileNotFoundError:
            pass
        except (OSError, shards.ShardError):
            found.is_there = True
        yield found


def _rows(file) -> Iterator[dict]:
    """As far as the file is sound."""
    with contextlib.suppress(OSError, pa.ArrowException):
        for batch in file.iter_batches(PORTION_PHOTOGRAPHS):
            yield from batch.to_pylist()


def _pictures(opened) -> Iterator[bytes | None]:
    with contextlib.suppress(OSError, shards.ShardError):
        for portion in opened:
            for photograph in portion.photographs:
                yield photograph.data
