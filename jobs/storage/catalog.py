"""The catalogue: one Parquet row per input, and the only truth about what is done."""

import re
import time
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from jobs.storage.files import write_bytes

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
        ("settings", pa.string()),  # digest of what else the output depends on; OUTPUT/settings/DIGEST.json names it
        ("provenance", pa.bool_()),  # whether the output says that its colours are machine-made
        ("colorfulness", pa.float32()),
        ("confidence", pa.float32()),  # null where the network gives none
        ("seconds", pa.float32()),
        ("finished_at", pa.timestamp("us", "UTC")),
        ("decision", pa.string()),  # keep, reject or redo, where a person has said so
    ]
)

# Read as indices into those that there are, to save memory.
_FEW_VALUES = ["status", "kind", "model", "settings", "decision"]


class Catalog:
    """The Parquet files under ``OUTPUT/catalog``, written by the job's driver alone.

    Rows are appended in files of their own, each whole before it has its name; a later row of the same id
    supersedes an earlier one, and ``compact`` leaves one row per id.
    """

    def __init__(self, output: str):
        self.folder = f"{output}/catalog"
        self._fs, self._root = url_to_fs(self.folder)

    def create(self) -> None:
        """Make its folder, or raise ``OSError``. A bucket is not made, since its name may be mistyped."""
        bucket = self._root.partition("/")[0]
        if bucket and not self._fs.exists(bucket):
            raise FileNotFoundError(f"there is no {bucket}")
        if not bucket:
            self._fs.makedirs(self._root, exist_ok=True)

    def append(self, rows: pa.Table) -> None:
        # Time-ordered names: the newest file's rows win.
        sink = pa.BufferOutputStream()
        pq.write_table(rows.select(SCHEMA.names).cast(SCHEMA), sink, compression="zstd")
        write_bytes(f"{self.folder}/part-{time.time_ns():020d}.parquet", sink.getvalue().to_pybytes())

    def read(self, columns: Iterable[str] = SCHEMA.names) -> pa.Table:
        """The current row of every input. A file that is not whole counts as never written."""
        columns = list(columns)
        wanted = list(dict.fromkeys(["id", *columns]))
        tables = []
        for path in self._files():
            try:
                with self._fs.open(path, "rb") as file:
                    table = pq.read_table(file, columns=wanted, read_dictionary=_FEW_VALUES)
                    tables.append(_complete(table, wanted))
            except pa.ArrowInvalid:
                continue
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table().select(wanted)
        numbered = table.append_column("row", pa.array(np.arange(len(table))))
        newest = numbered.group_by("id").aggregate([("row", "max")])["row_max"]
        if len(newest) < len(table):
            table = table.take(newest)
        del numbered
        pa.default_memory_pool().release_unused()  # hundreds of megabytes for a million rows
        return table.select(columns).cast(pa.schema([SCHEMA.field(name) for name in columns]))

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
            self._fs.rm(files)

    def _files(self) -> list[str]:
        self._fs.invalidate_cache(self._root)
        if not self._fs.exists(self._root):  # object stores have no empty folders
            return []
        return sorted(path for path in self._fs.ls(self._root, detail=False) if path.endswith(".parquet"))


def without_details(reason: str) -> str:
    """A reason without what differs from file to file: numbers, and what a decoder said."""
    return re.sub(r"\(.*?\)(?=[:;])|[\d.,]+", "", reason)


def _complete(table: pa.Table, columns: list[str]) -> pa.Table:
    """With nulls for columns that an earlier version did not write."""
    for name in set(columns) - set(table.column_names):
        kind = pa.dictionary(pa.int32(), pa.string()) if name in _FEW_VALUES else SCHEMA.field(name).type
        table = table.append_column(name, pa.nulls(len(table), kind))
    return table.select(columns)
