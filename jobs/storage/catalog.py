"""The catalogue: one Parquet row per input, and the only truth about what is done."""

import hashlib
import re
from collections.abc import Iterable
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.cli import UsageError
from jobs.storage.files import write_bytes
from jobs.storage.output import Place, is_content

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

_OURS = re.compile(r"/part-(\d{20})(?:-([0-9a-f]{16}))?\.parquet$")  # number; digest, since version 0.2
# Read as indices into those that there are, to save memory.
_FEW_VALUES = ["status", "kind", "model", "engine", "settings", "decision"]


class Damaged(UsageError):
    """A file of the catalogue that is not what was written."""


class Catalog:
    """The Parquet files under ``OUTPUT/catalog``, written by the job's driver alone, which holds OUTPUT's lease.

    Rows are appended in files of their own, each whole before it has its name; a later row of the same id supersedes
    an earlier one, and ``compact`` leaves one row per id. A file's name has a number, which rises whatever the clock
    does, and the beginning of its content's SHA-256, so that damage is found and nobody else's file taken for ours.
    """

    def __init__(self, output: str):
        self.folder = f"{output}/catalog"
        self.place = Place(output)

    def append(self, rows: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(rows.select(SCHEMA.names).cast(SCHEMA), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        last = max((_name(path)[0] for path in self._files()), default=0)
        name = f"part-{last + 1:020d}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        write_bytes(f"{self.folder}/{name}", data, lasting=True)

    def read(self, columns: Iterable[str] = SCHEMA.names) -> pa.Table:
        """The current row of every input. Raises ``Damaged`` for a file that is not what was written."""
        columns = list(columns)
        wanted = list(dict.fromkeys(["id", *columns]))
        tables = self._tables(wanted)
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table().select(wanted)
        # Numbers in Arrow's memory: its threads may let go of NumPy's when the interpreter has gone already, and abort.
        numbered = table.append_column("row", pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(table))))
        newest = numbered.group_by("id").aggregate([("row", "max")])["row_max"]
        if len(newest) < len(table):
            table = table.take(pc.subtract(newest, 1))
        del numbered
        pa.default_memory_pool().release_unused()  # hundreds of megabytes for a million rows
        return table.select(columns).cast(pa.schema([SCHEMA.field(name) for name in columns]))

    def _tables(self, columns: list[str]) -> list[pa.Table]:
        for attempt in range(5):
            try:
                return [self._table(path, columns) for path in self._files()]
            except FileNotFoundError:  # a job has compacted the catalogue since it was listed
                if attempt == 4:
                    raise
        raise AssertionError("unreachable")

    def _table(self, path: str, columns: list[str]) -> pa.Table:
        data = self.place.fs.cat_file(path)
        digest = _name(path)[1]
        try:
            if digest and not is_content(digest)(data):
                raise ValueError("its content does not fit its name")
            there = pq.read_schema(pa.BufferReader(data)).names  # an earlier version wrote fewer columns
            few = [name for name in _FEW_VALUES if name in there]
            file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=few)
            return _complete(file.read([name for name in columns if name in there]), columns)
        except (ValueError, OSError, KeyError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise Damaged(
                f"{self.folder}/{path.rpartition('/')[2]} is damaged ({reason}): bring it back from a copy, or let "
                f"`colorize verify {self.place.uri} --mend` put it aside, after which the photographs that only it "
                "names are coloured again"
            ) from error

    def damaged(self) -> list[str]:
        """The paths of files that are not what was written."""
        found = []
        for path in self._files():
            try:
                self._table(path, ["id"])
            except Damaged:
                found.append(path)
        return found

    def decide(self, decisions: dict[str, str]) -> None:
        """Record what people say of photographs, by their ids. A photograph that is coloured again is undecided."""
        rows = self.read()
        at = pc.index_in(rows["id"], value_set=pa.array(list(decisions), pa.string()))
        said = pa.array(list(decisions.values()), pa.string()).take(at)
        changed = pc.fill_null(pc.not_equal(said, pc.fill_null(rows["decision"], "")), False)
        rows = rows.set_column(rows.schema.get_field_index("decision"), SCHEMA.field("decision"), said)
        if len(rows := rows.filter(changed)):
            self.append(rows)

    @property
    def state(self) -> str:
        """Another one whenever rows were added; empty where there are none."""
        return ",".join(path.rpartition("/")[2] for path in self._files())

    def compact(self) -> None:
        """Leave one file with one row per input."""
        files = self._files()
        if len(files) > 1:
            self.append(self.read())
            for path in files:
                self.place.remove(path, partial(_is_ours, path))

    def _files(self) -> list[str]:
        """In the order in which they were written; others in the folder are left alone."""
        return [path for path in self.place.files("catalog") if _OURS.search(path)]


def _name(path: str) -> tuple[int, str]:
    """The number and the digest in a file's name; an earlier version had no digests."""
    found = _OURS.search(path)
    assert found, path
    return int(found[1]), found[2] or ""


def _is_ours(path: str, data: bytes) -> bool:
    """By the digest in its name, or, of an earlier version, by its columns."""
    digest = _name(path)[1]
    if digest:
        return is_content(digest)(data)
    return {"id", "source_version", "output_sha256", "settings"} <= set(pq.read_schema(pa.BufferReader(data)).names)


def without_details(reason: str) -> str:
    """A reason without what differs from file to file: numbers, and what a decoder said."""
    return re.sub(r"\(.*?\)(?=[:;])|[\d.,]+", "", reason)


def _complete(table: pa.Table, columns: list[str]) -> pa.Table:
    """With nulls for columns that an earlier version did not write."""
    for name in set(columns) - set(table.column_names):
        kind = pa.dictionary(pa.int32(), pa.string()) if name in _FEW_VALUES else SCHEMA.field(name).type
        table = table.append_column(name, pa.nulls(len(table), kind))
    return table.select(columns)
