"""What a job is pointed at: the files of SOURCE, listed once, and handed out in parts that fit into memory."""

import contextlib
import math
import tempfile
from typing import NamedTuple

import pyarrow as pa

from jobs.cli import UsageError
from jobs.coloring import todo
from jobs.coloring.identity import like_outputs, with_ids
from jobs.storage import listing
from jobs.storage.parts import Part
from jobs.storage.spool import Spool

MOST = 1_000_000  # files in memory, a few hundred bytes each


class Share(NamedTuple):
    """What there is of a part of the archive."""

    part: Part
    files: pa.Table
    """Those of the part, sorted by path, and of others where all are in memory."""
    folders: set[bytes]
    """Those of the archive that are ``like_outputs``."""
    listed: int
    """Files of the archive."""


class Inputs(contextlib.AbstractContextManager):
    """The files of SOURCE, tables of ``LISTING``'s columns and an ``id``.

    Up to ``MOST`` of them are in memory; more are spooled to this machine's disk, those of ``part`` alone. Raises
    ``UsageError`` where some lie in OUTPUT, or where there are none.
    """

    def __init__(self, source: str, output: str, part: Part, folds_names: bool):
        """Where OUTPUT's file system ``folds_names``, all are in memory, however many: any two may share an output."""
        self.part, self.total = part, 0
        self.folders: set[bytes] = set()
        self.whole: pa.Table | None = None
        """The files of all parts, sorted by path, where they are in memory."""
        self._spool: Spool | None = None
        with contextlib.ExitStack() as stack:
            try:
                self._list(source, output, math.inf if folds_names else MOST, stack)
            except UsageError:
                raise
            except OSError as error:
                raise UsageError(
                    f"{source} has more files than fit into memory, and their list not into {tempfile.gettempdir()} "
                    f"({error}): see to its free space, or set TMPDIR to another folder"
                ) from error
            self._stack = stack.pop_all()

    def _list(self, source: str, output: str, most: float, stack: contextlib.ExitStack) -> None:
        tables: list[pa.Table] = []
        for table in listing.streamed(source):
            todo.check_outside(table, source, output)
            tables.append(with_ids(table))
            self.total += len(table)
            self.folders |= like_outputs(table)
            if self.total > most:
                self._spool = self._spool or stack.enter_context(Spool(self.part, tables[0].schema))
                while tables:
                    self._spool.add(tables.pop())
        if self._spool:
            self._spool.end()
        else:
            self.whole = _in_order(pa.concat_tables(tables))

    def __exit__(self, *error) -> None:
        self._stack.close()

    @property
    def parts(self) -> list[Part]:
        """Those to do one after the other."""
        return self._spool.parts(MOST) if self._spool else [self.part]

    def share(self, part: Part) -> Share:
        """Of one of ``parts``."""
        if self.whole is not None:
            return Share(part, self.whole, self.folders, self.total)
        assert self._spool
        return Share(part, _in_order(self._spool.rows(part)), self.folders, self.total)


def _in_order(files: pa.Table) -> pa.Table:
    files = files.sort_by("path")
    pa.default_memory_pool().release_unused()  # the unsorted one: hundreds of megabytes for a million files
    return files
