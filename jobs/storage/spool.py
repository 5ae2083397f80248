"""The rows of a table too large for memory, on this machine's disk, by the part of the archive that they belong to."""

import contextlib
import tempfile
from bisect import bisect_left
from typing import BinaryIO, cast

import pyarrow as pa

from jobs.storage.parts import Part

DIVISIONS = 256  # of the part that is spooled, each with a file; a power of two


class Spool(contextlib.AbstractContextManager):
    """Its files have no names, so that nothing is left of them whatever ends the process."""

    def __init__(self, part: Part, schema: pa.Schema):
        """Rows have a column ``id``."""
        self._part, self._divisions, self._sizes = part, part.divided(DIVISIONS), [0] * DIVISIONS
        self._files = [cast(BinaryIO, tempfile.TemporaryFile(prefix="colorize-")) for _ in self._divisions]  # noqa: SIM115
        packed = pa.ipc.IpcWriteOptions(compression="zstd")
        self._writers = [pa.ipc.new_stream(file, schema, options=packed) for file in self._files]

    def __exit__(self, *error) -> None:
        for file in self._files:
            file.close()

    def add(self, rows: pa.Table) -> None:
        """Keep those of the part."""
        rows = self._part.rows(rows).sort_by("id").combine_chunks()
        ids, begin = rows["id"].to_pylist(), 0
        for place, division in enumerate(self._divisions):
            end = bisect_left(ids, division.beyond, begin) if division.beyond else len(ids)
            if end > begin:
                self._writers[place].write_table(rows.slice(begin, end - begin))
            self._sizes[place] += end - begin
            begin = end

    def end(self) -> None:
        """After the last row, before the first is read."""
        for writer in self._writers:
            writer.close()

    def parts(self, most: int) -> list[Part]:
        """Of about the same size, as few as hold no more than ``most`` rows each, or else as many as there can be."""
        count = 1
        while count < DIVISIONS and max(map(self._size, self._part.divided(count))) > most:
            count *= 2
        return self._part.divided(count)

    def rows(self, part: Part) -> pa.Table:
        """Of one of ``parts``."""
        tables = []
        for division, file in zip(self._divisions, self._files, strict=True):
            if part.covers(division):
                file.seek(0)
                with pa.ipc.open_stream(file) as reader:
                    tables.append(reader.read_all())
        return pa.concat_tables(tables)

    def _size(self, part: Part) -> int:
        sizes = zip(self._divisions, self._sizes, strict=True)
        return sum(size for division, size in sizes if part.covers(division))
