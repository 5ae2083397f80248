"""The catalogue of more photographs than memory holds: its current rows in portions, and a few of them by place."""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.storage.catalog import SCHEMA, Catalog, complete

PORTION = 1 << 16  # rows
SMALL = 8 << 20  # bytes of a file that is fetched at once, while those before it are looked at
AHEAD = 16  # of these
FILE = 1 << 32  # a row's place is its number in its file, and this many times the file's number


class CatalogStream:
    """The files that there are when it is made."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog
        parts, shards = catalog.paths, catalog.shards
        self.paths = [*parts, *shards]
        found = {path: catalog.place.fs.info(path) for path in self.paths}
        self._sizes = [found[path]["size"] for path in self.paths]
        stamps = [(path, *map(found[path].get, ("ETag", "LastModified", "mtime"))) for path in shards]
        self.state = hashlib.sha256(f"{catalog.state} {stamps}".encode()).hexdigest()
        """Another one whenever rows were added or replaced."""
        self._superseded = self._find_superseded(range(len(parts)))

    def more_than(self, count: int) -> bool:
        """Whether there are more current rows than ``count``."""
        rows = -sum(map(len, self._superseded.values()))
        for number in range(len(self.paths)):
            with self._opened(number) as file:
                rows += file.metadata.num_rows
            if rows > count:
                return True
        return False

    def portions(self, columns: list[str]) -> Iterator[pa.Table]:
        """The current rows, with a column ``place`` beside these. Raises ``catalog.Damaged``."""
        for number, first, rows in self._portions(range(len(self.paths)), columns):
            places = np.arange(first, first + len(rows))
            if (gone := self._superseded.get(number)) is not None:
                current = ~np.isin(places, gone, assume_unique=True)
                rows, places = rows.filter(pa.array(current)), places[current]
            yield rows.append_column("place", pa.array(places + number * FILE))

    def rows(self, columns: list[str], places: list[int]) -> pa.Table:
        """Those at these places, in the order of their places. Raises ``catalog.Damaged``."""
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        by_file = {file: [place % FILE for place in group] for file, group in groupby(sorted(places), _file_of)}
        with ThreadPoolExecutor(AHEAD) as threads:
            found = threads.map(lambda file: self._some(file, by_file[file], columns), by_file)
            return pa.concat_tables([schema.empty_table(), *found])

    def _some(self, number: int, wanted: list[int], columns: list[str]) -> pa.Table:
        """Rows of a file by their numbers, which rise."""
        found, left = [], deque(wanted)
        with self._opened(number) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if left and left[0] < first + rows:
                    begin = first
                    for batch in _batches(file, columns, [group]):
                        here = []
                        while left and left[0] < begin + len(batch):
                            here.append(left.popleft() - begin)
                        found.append(batch.take(pa.array(here, pa.int64())))
                        begin += len(batch)
                first += rows
        return pa.concat_tables(found)

    def _find_superseded(self, files: range) -> dict[int, np.ndarray]:
        """Numbers of rows, by their file, that have another one of the same id in a later one of these files."""
        if self.catalog.is_disjoint:
            return {}
        keys, places = [], []
        for number, first, rows in self._portions(files, ["id"]):
            keys.append(numbers(rows["id"]))
            places.append(np.arange(first, first + len(rows)) + number * FILE)
        key, place = np.concatenate(keys)[::-1], np.concatenate(places)[::-1]
        newest = np.zeros(len(key), bool)
        newest[np.unique(key, return_index=True)[1]] = True
        gone = np.sort(place[~newest])
        return {number: np.array([*some]) % FILE for number, some in groupby(gone.tolist(), _file_of)}

    def _portions(self, files: range, columns: list[str]) -> Iterator[tuple[int, int, pa.Table]]:
        """Of these files: a file's number, that of a portion's first row in it, and the portion."""
        with ThreadPoolExecutor(AHEAD) as threads:
            waiting: deque[tuple[int, Future[pa.Table] | None]] = deque()
            for number in files:
                small = self._sizes[number] <= SMALL
                waiting.append((number, threads.submit(self._whole, number, columns) if small else None))
                if len(waiting) > AHEAD:
                    yield from self._of_file(*waiting.popleft(), columns)
            while waiting:
                yield from self._of_file(*waiting.popleft(), columns)

    def _of_file(
        self, number: int, whole: Future[pa.Table] | None, columns: list[str]
    ) -> Iterator[tuple[int, int, pa.Table]]:
        if whole:
            table = whole.result()
            yield from ((number, i, table.slice(i, PORTION)) for i in range(0, len(table), PORTION))
            return
        first = 0
        with self._opened(number) as file:
            for rows in _batches(file, columns, None):
                yield number, first, rows
                first += len(rows)

    def _whole(self, number: int, columns: list[str]) -> pa.Table:
        with self._opened(number) as file:
            return pa.concat_tables([SCHEMA.empty_table().select(columns), *_batches(file, columns, None)])

    @contextmanager
    def _opened(self, number: int) -> Iterator[pq.ParquetFile]:
        fs, path = self.catalog.place.fs, self.paths[number]
        try:
            if self._sizes[number] <= SMALL:
                yield pq.ParquetFile(pa.BufferReader(fs.cat_file(path)))
            else:
                with fs.open(path, "rb") as file:
                    yield pq.ParquetFile(file, pre_buffer=False)
        except (ValueError, KeyError, pa.ArrowException) as error:
            raise self.catalog.damage(path, error) from error


def _batches(file: pq.ParquetFile, columns: list[str], groups: list[int] | None) -> Iterator[pa.Table]:
    there = [name for name in columns if name in file.schema_arrow.names]  # an earlier version wrote fewer
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    for batch in file.iter_batches(PORTION, row_groups=groups, columns=there, use_threads=False):
        yield complete(pa.table(batch), columns).cast(schema)


def _file_of(place: int) -> int:
    return place // FILE


def numbers(ids: pa.ChunkedArray) -> np.ndarray:
    """The last 64 bits of ids, uint64: of hashes, so that an order by them is one by chance."""
    ends = pc.utf8_slice_codeunits(ids, -16).cast(pa.binary()).cast(pa.binary(16)).combine_chunks()
    digits = np.frombuffer(ends.buffers()[1], np.uint8)[16 * ends.offset : 16 * (ends.offset + len(ends))]
    values = (digits & 15) + 9 * (digits >> 6)  # of hexadecimal ones in ASCII
    return (values[0::2] << 4 | values[1::2]).view(">u8").astype(np.uint64)
