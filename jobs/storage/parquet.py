"""Colour photographs as rows of Parquet files, instead of as millions of small files.

The column ``image`` is a struct {bytes, path}, which Hugging Face Datasets and DuckDB read as it is.
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.storage.catalog import Catalog
from jobs.storage.files import file_system, plain_errors, printable, write_bytes
from jobs.storage.output import Place, is_content

_OURS = re.compile(r"/part-([0-9a-f]{32})\.parquet$")  # digest of the content
_PLACE = r"/parquet/(?P<name>part-[0-9a-f]{32}\.parquet)$"  # of a photograph's file, as the catalogue has it

AT_A_TIME = 16  # photographs that a reader has in memory
FILE_BYTES = 128 << 20  # of photographs in a file, unless a single one is larger

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # as in the catalogue
        ("source", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


class ParquetWriter:
    """Collects photographs and writes them to files of a bounded size under ``OUTPUT/parquet``.

    A file is named after its content, so that the same photographs give the same file. Nothing is stored before
    ``flush``, which also tells the catalogue rows where their photographs are. Several threads may share one.
    """

    def __init__(self, output: str):
        self.folder = f"{output}/parquet"
        self._lock = threading.RLock()
        self._rows: list[dict] = []
        self._images: list[dict] = []
        self._bytes = 0

    def add(self, row: dict, path: str, data: bytes) -> None:
        """A photograph with its catalogue row; ``path`` is its name."""
        with self._lock:
            if self._bytes + len(data) > FILE_BYTES:
                self.flush()
            self._bytes += len(data)
            self._rows.append(row)
            self._images.append({"bytes": data, "path": printable(path)})

    def flush(self) -> None:
        with self._lock:
            rows, images = self._rows, self._images
            self._rows, self._images, self._bytes = [], [], 0
            if not rows:
                return
            columns = [[row[name] for row in rows] if name != "image" else images for name in SCHEMA.names]
            try:
                uri = _write(self.folder, pa.table(columns, schema=SCHEMA))
            except Exception as error:  # of many kinds, by the file system
                reason = f"its Parquet file could not be written ({error}): check permissions and free space"
                for row in rows:
                    row |= {"status": "error", "error": reason, "source_version": ""}  # done again by the same command
                return
            for row in rows:
                row["output"] = uri


def _write(folder: str, table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", row_group_size=64)  # what it holds is compressed already
    data = sink.getvalue().to_pybytes()
    uri = f"{folder}/part-{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    write_bytes(uri, data)
    return uri


def photographs(uri: str, ids: list[str]) -> Iterator[tuple[str, bytes]]:
    """Those of a file that have these ids, with what they hold. Raises ``OSError``, ``pa.ArrowInvalid``."""
    fs, path = file_system(uri)
    with plain_errors(), fs.open(path, "rb") as opened:
        file, wanted = pq.ParquetFile(opened), pa.array(ids)
        for group in range(file.num_row_groups):
            if not pc.any(pc.is_in(file.read_row_group(group, ["id"])["id"], value_set=wanted)).as_py():
                continue
            for some in file.iter_batches(AT_A_TIME, row_groups=[group], columns=["id", "image"]):
                for row in some.filter(pc.is_in(some["id"], value_set=wanted)).to_pylist():
                    yield row["id"], row["image"]["bytes"]


def is_named_by_us(path: str) -> bool:
    return _OURS.search(path) is not None


def is_ours(path: str, data: bytes) -> bool:
    """A name that fits the content is ours."""
    name = _OURS.search(path)
    return name is not None and is_content(name[1])(data)


def sweep(catalog: Catalog, output: str) -> None:
    """Leave every photograph in exactly one file, the one that its catalogue row names.

    A kill can leave photographs without a row, and a photograph that is coloured again supersedes one in an older
    file: such files are written anew without them, or deleted. Where a file is missing or torn, the source version in
    its rows is cleared, so that their photographs are coloured again.
    """
    folder, place = f"{output}/parquet", Place(output)
    present = {path.rpartition("/")[2]: path for path in place.files("parquet") if is_named_by_us(path)}
    rows = catalog.read(["id", "output"])
    names = pc.struct_field(pc.extract_regex(rows["output"], _PLACE), "name")  # OUTPUT may have another name now
    files = rows.append_column("name", names).filter(pc.is_valid(names)).group_by("name").aggregate([("id", "list")])
    current = {file["name"]: file["id_list"] for file in files.to_pylist()}

    def held(name: str) -> int:
        """Photographs in a file; -1 where it is missing or torn."""
        try:
            with place.fs.open(present[name], "rb") as file:
                return pq.read_metadata(file).num_rows
        except (KeyError, OSError, pa.ArrowInvalid):
            return -1

    with ThreadPoolExecutor(16) as threads:
        counts = dict(zip(current, threads.map(held, current), strict=True))
    lost = [id for name, ids in current.items() if counts[name] < len(ids) for id in ids]
    if lost:
        reason = "its Parquet file is missing or torn: the same command colours it again"
        catalog.append(
            _changed(catalog, lost, {"status": "error", "error": reason, "source_version": "", "output": None})
        )
    for name, ids in current.items():
        if counts[name] > len(ids):
            with place.fs.open(present[name], "rb") as file:
                table = pq.read_table(file)
            uri = _write(folder, table.filter(pc.is_in(table["id"], pa.array(ids))))
            catalog.append(_changed(catalog, ids, {"output": uri}))
    for name, path in present.items():
        needed = name in current and counts[name] == len(current[name])
        if not needed and not place.remove(path, partial(is_ours, path)):
            place.put_aside(path)  # it has our name and another content


def _changed(catalog: Catalog, ids: list[str], values: dict) -> pa.Table:
    """The current rows of ``ids`` with other values in some columns."""
    rows = catalog.read()
    rows = rows.filter(pc.is_in(rows["id"], pa.array(ids)))
    for name, value in values.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.array([value] * len(rows), rows.schema.field(at).type))
    return rows
