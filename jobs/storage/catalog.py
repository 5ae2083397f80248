"""The catalogue: one Parquet row per input, and the only truth about what is done."""

import hashlib
import re
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.cli import UsageError
from jobs.storage.files import write_bytes
from jobs.storage.output import Place, is_content
from jobs.storage.parts import WHOLE, Part, cover

HINTS = pa.list_(
    pa.struct([("x", pa.float64()), ("y", pa.float64()), ("color", pa.string()), ("radius", pa.float64())])
)
"""Colours that a person knows: pixels of the upright first page, and #rrggbb, or none for what has no colour."""
SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # hash of the source's path relative to SOURCE
        ("source", pa.string()),
        ("source_version", pa.string()),
        ("output", pa.string()),
        ("status", pa.string()),  # ok, skipped or error
        ("error", pa.string()),  # why it was skipped or failed, and what to do
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bits", pa.int8()),
        ("pages", pa.int32()),
        ("kind", pa.string()),  # grey, color, tinted or text
        ("source_sha256", pa.string()),
        ("output_sha256", pa.string()),
        ("model", pa.string()),  # weights' name and digest
        ("engine", pa.string()),  # what ran the network, its version and precision
        ("settings", pa.string()),  # digest of what else the output depends on; OUTPUT/settings/DIGEST.json names it
        ("provenance", pa.bool_()),  # whether the output says that its colours are machine-made
        ("hints", HINTS),  # null where it was coloured without
        ("colorfulness", pa.float32()),
        ("confidence", pa.float32()),  # null where the network gives none
        ("seconds", pa.float32()),
        ("finished_at", pa.timestamp("us", "UTC")),
        ("decision", pa.string()),  # keep, reject or redo, where a person has said so
    ]
)

# Number; part of the archive, and whether all its rows are there; digest, since version 0.2.
_OURS = re.compile(r"/part-(\d{20})(?:-(\d+)of(\d+)(-all)?)?(?:-([0-9a-f]{16}))?\.parquet$")
_SHARD = re.compile(r"/shard-([0-9a-f]{32})\.parquet$")
# Read as indices into those that there are, to save memory.
_FEW_VALUES = ["status", "kind", "model", "engine", "settings", "decision"]


class Damaged(UsageError):
    """A file of the catalogue that is not what was written."""


class Catalog:
    """The Parquet files under ``OUTPUT/catalog``, written by the job's driver alone, which holds OUTPUT's lease.

    Rows are appended in files of their own, each whole before it has its name; a later row of the same id supersedes
    an earlier one, and ``compact`` leaves one row per id. A file's name has a number, which rises whatever the clock
    does, and the beginning of its content's SHA-256, so that damage is found and nobody else's file taken for ours.

    That of a ``part`` of the archive sees the rows of that part alone, and its files say so in their names; several
    drivers may write, each a part that no other one has.
    """

    def __init__(self, output: str, part: Part = WHOLE):
        self.folder = f"{output}/catalog"
        self.place = Place(output)
        self.part = part

    def append(self, rows: pa.Table) -> None:
        self._append(rows, whole=False)

    def _append(self, rows: pa.Table, whole: bool) -> None:
        """``whole`` says that these are all the rows of the part."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows.select(SCHEMA.names).cast(SCHEMA), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        last = max((file.number for file in self._files(WHOLE)), default=0)
        part = "" if self.part == WHOLE else f"-{self.part.name}{'-all' if whole else ''}"
        name = f"part-{last + 1:020d}{part}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        write_bytes(f"{self.folder}/{name}", data, lasting=True)

    def read(self, columns: Iterable[str] = SCHEMA.names) -> pa.Table:
        """The current row of every input, and of every photograph in shards. Raises ``Damaged`` for a file that is not
        what was written.
        """
        columns = list(columns)
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        paths = self._paths()
        within = [self._table(file, columns).cast(schema) for file in self._shards(paths)]
        return pa.concat_tables([self._newest(columns, paths), *within])

    def read_files(self) -> pa.Table:
        """The same of every input with a file of its own."""
        return self._newest(SCHEMA.names)

    def history(self, columns: list[str], least: int = 1) -> pa.Table:
        """All rows of inputs with a file of their own since ``compact``, also those that others supersede, in the order
        in which they were written; none where the catalogue has not even so many files.
        """
        paths = self._paths()
        tables = self._tables(columns, paths) if len(self._files(paths=paths)) >= least else []
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table().select(columns)
        return table.cast(pa.schema([SCHEMA.field(name) for name in columns]))

    def _newest(self, columns: list[str], paths: list[str] | None = None) -> pa.Table:
        """The current row of every input with a file of its own."""
        wanted = list(dict.fromkeys(["id", *columns]))
        tables = self._tables(wanted, self._paths() if paths is None else paths)
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table().select(wanted)
        # Numbers in Arrow's memory: its threads may let go of NumPy's when the interpreter has gone already, and abort.
        numbered = table.append_column("row", pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(table))))
        newest = numbered.group_by("id").aggregate([("row", "max")])["row_max"]
        if len(newest) < len(table):
            table = table.take(pc.subtract(newest, 1))
        del numbered
        pa.default_memory_pool().release_unused()  # hundreds of megabytes for a million rows
        return table.select(columns).cast(pa.schema([SCHEMA.field(name) for name in columns]))

    def _tables(self, columns: list[str], paths: list[str]) -> list[pa.Table]:
        for attempt in range(5):
            try:
                return [self._table(file, columns, self.part) for file in self._files(paths=paths)]
            except FileNotFoundError:  # a job has compacted the catalogue since it was listed
                if attempt == 4:
                    raise
                paths = self._paths()
        raise AssertionError("unreachable")

    def _table(self, file: "_File", columns: list[str], part: Part = WHOLE) -> pa.Table:
        """A file's rows of a part; of a larger file no more than a row group of others is in memory."""
        data = self.place.fs.cat_file(file.path)
        try:
            if file.digest and not is_content(file.digest)(data):
                raise ValueError("its content does not fit its name")
            there = pq.read_schema(pa.BufferReader(data)).names  # an earlier version wrote fewer columns
            few = [name for name in _FEW_VALUES if name in there]
            names = [name for name in columns if name in there]
            opened = pq.ParquetFile(pa.BufferReader(data), read_dictionary=few)
            if part.covers(file.part):
                return complete(opened.read(names), columns)
            groups = (opened.read_row_group(group, names) for group in range(opened.num_row_groups))
            return pa.concat_tables([part.rows(complete(group, columns)) for group in groups])
        except (ValueError, OSError, KeyError, pa.ArrowException) as error:
            raise self.damage(file.path, error) from error

    def damage(self, path: str, error: Exception) -> Damaged:
        """What is to be said of a file that cannot be read."""
        reason = " ".join(str(error).split())
        return Damaged(
            f"{self.folder}/{path.rpartition('/')[2]} is damaged ({reason}): bring it back from a copy, or let "
            f"`colorize verify {self.place.uri} --mend` put it aside, after which the photographs that only it names "
            "are coloured again"
        )

    def damaged(self) -> list[str]:
        """The paths of files that are not what was written."""
        found = []
        for file in self._all():
            try:
                self._table(file, ["id"])
            except Damaged:
                found.append(file.path)
        return found

    def decide(self, decisions: dict[str, str]) -> None:
        """Record what people say of photographs, by their ids."""
        rows = self._newest(SCHEMA.names)
        at = pc.index_in(rows["id"], value_set=pa.array(list(decisions), pa.string()))
        said = pa.array(list(decisions.values()), pa.string()).take(at)
        changed = pc.fill_null(pc.not_equal(said, pc.fill_null(rows["decision"], "")), False)
        rows = rows.set_column(rows.schema.get_field_index("decision"), SCHEMA.field("decision"), said)
        if len(rows := rows.filter(changed)):
            self.append(rows)

    @property
    def state(self) -> str:
        """Another one whenever rows were added; empty where there are none."""
        return ",".join(file.name for file in self._all())

    @property
    def paths(self) -> list[str]:
        """Of its files but those of shards, in the order in which they were written."""
        return [file.path for file in self._files()]

    @property
    def shards(self) -> list[str]:
        """The paths of its files of shards."""
        return [file.path for file in self._shards()]

    @property
    def is_disjoint(self) -> bool:
        """Whether no two of its files have a share in the same part, so that no row supersedes another."""
        parts = sorted((file.part for file in self._files()), key=lambda part: part.begin)
        return all(one.end <= other.begin for one, other in pairwise(parts))

    def compact(self) -> None:
        """Leave one file with one row per input. Of a part that is one of its own; a file that others have a share in
        goes with the last of them, once each has all its rows in a later one.
        """
        files = self._files()
        if all(file.part == self.part for file in files) and len(files) < 2:
            return
        self._append(self._newest(SCHEMA.names), whole=True)
        for file in files:
            if self.part.covers(file.part):
                self.place.remove(file.path, partial(_is_ours, file))
        there = self._files(WHOLE)
        for file in there:
            later = [other.part for other in there if other.whole and other.number > file.number]
            if file.part != self.part and cover(later, file.part):
                self.place.remove(file.path, partial(_is_ours, file))

    def _paths(self) -> list[str]:
        """All that lies in the folder: a listing for both kinds of files."""
        return self.place.files("catalog")

    def _all(self) -> list["_File"]:
        paths = self._paths()
        return [*self._files(paths=paths), *self._shards(paths)]

    def _shards(self, paths: list[str] | None = None) -> list["_File"]:
        """The files of shards, none of which has a row that another one has."""
        found = shard_paths(self.place, paths)
        return [_File(found[id], 0, self.part, True, "") for id in sorted(self.part.among(found))]

    def _files(self, part: Part | None = None, paths: list[str] | None = None) -> list["_File"]:
        """Those with a share in a part, this one's by default, in the order in which they were written; others in the
        folder are left alone.
        """
        part = part or self.part
        found = [_file(path) for path in (self._paths() if paths is None else paths) if _OURS.search(path)]
        return [file for file in found if file.part.overlaps(part)]


class _File(NamedTuple):
    """What its name says."""

    path: str
    number: int
    part: Part
    whole: bool
    """Whether it has all rows of a part that there were when it was written."""
    digest: str
    """Empty where an earlier version wrote it."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def _file(path: str) -> _File:
    found = _OURS.search(path)
    assert found, path
    part = Part(int(found[2]), int(found[3])) if found[2] else WHOLE
    return _File(path, int(found[1]), part, bool(found[4]), found[5] or "")


def _is_ours(file: _File, data: bytes) -> bool:
    """By the digest in its name, or, of an earlier version, by its columns."""
    if file.digest:
        return is_content(file.digest)(data)
    return {"id", "source_version", "output_sha256", "settings"} <= set(pq.read_schema(pa.BufferReader(data)).names)


def shard_paths(place: Place, paths: list[str] | None = None) -> dict[str, str]:
    """The files of shards that there are, or are among ``paths``, by their shards' ids."""
    paths = place.files("catalog") if paths is None else paths
    return {found[1]: path for path in paths if (found := _SHARD.search(path))}


def without_details(reason: str) -> str:
    """A reason without what differs from file to file: numbers, and what a decoder said."""
    return re.sub(r"\(.*?\)(?=[:;])|[\d.,]+", "", reason)


def complete(table: pa.Table, columns: list[str]) -> pa.Table:
    """With nulls for columns that an earlier version did not write."""
    for name in set(columns) - set(table.column_names):
        kind = pa.dictionary(pa.int32(), pa.string()) if name in _FEW_VALUES else SCHEMA.field(name).type
        table = table.append_column(name, pa.nulls(len(table), kind))
    return table.select(columns)
