"""What an earlier run has made of a shard, so that of a shard that is begun again only those photographs are coloured
that have to be: the others' rows and pictures are carried over.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from jobs.storage import shard_rows, shards
from jobs.storage.output import is_content
from jobs.storage.shards.portions import PORTION_PHOTOGRAPHS


class Past(NamedTuple):
    """Of one photograph."""

    row: dict
    """Of the catalogue."""
    picture: bytes | None
    """In colour, where the row has one and it is still there."""


@dataclass(slots=True)
class Before:
    """The rows of a shard, and the photographs of what was made of it, in its order."""

    rows: Iterator[dict]
    pictures: Iterator[bytes | None]
    changed: bool = False
    """Whether one of those that were taken is not what was written."""

    def take(self, count: int) -> list[Past | None]:
        """Of the next photographs of the shard."""
        found: list[Past | None] = []
        for _ in range(count):
            row, data = next(self.rows, None), next(self.pictures, None)
            if row is None:
                found.append(None)
            else:
                digest = row["output_sha256"]
                if data is not None and digest and not is_content(digest)(data):
                    self.changed, data = True, None
                found.append(Past(row, data if digest else None))
        return found


@contextlib.contextmanager
def before(output: str, id: str, version: str, made: str) -> Iterator[Before]:
    """What there is of this version of a shard; ``made`` is where its photographs in colour are."""
    with contextlib.ExitStack() as stack:
        found = Before(iter(()), iter(()))
        with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowException):
            file = stack.enter_context(shard_rows.opened(output, id))
            if shard_rows.Footer.parse(file.metadata.metadata[shard_rows.KEY]).version == version:
                found.rows = _rows(file)
                found.pictures = _pictures(stack.enter_context(shards.open_shard(made)))
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
