"""The catalogue's files of shards: OUTPUT/catalog/shard-ID.parquet has a row for each photograph of one shard, and says
in its footer what they amount to. A shard is done when that file is whole: it is written last, and at once.

Its name is the shard's, so that a shard that is done again replaces its rows, and all of the folder is one table. A job
goes by the footers alone, some kilobytes for each shard, however many photographs it holds.
"""

import contextlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from colorize_core import encoding
from jobs.storage import files
from jobs.storage.catalog import SCHEMA, shard_paths, without_details
from jobs.storage.output import Place

KEY = b"colorize"  # of the footer's metadata, in JSON
TAIL = 64 << 10  # bytes at a file's end that hold most footers
GROUP = 1 << 14  # rows in a row group
DOUBTFUL = 3  # photographs whose colours are the most doubtful
REASONS = 100  # different ones of what is not ``ok``
EXAMPLES = 3  # of each
THREADS = 32  # that read footers: an object store answers each in milliseconds


class Group(NamedTuple):
    """Photographs that what is to be done makes no difference between."""

    kept: encoding.Format
    """The format that ``--format keep`` keeps."""
    kind: str | None
    status: str
    model: str | None
    settings: str | None


@dataclass(slots=True)
class Footer:
    """What the rows of a shard amount to."""

    shard: str
    """Its path, relative to SOURCE."""
    source: str
    version: str
    groups: Counter[Group] = field(default_factory=Counter)
    doubtful: list[dict] = field(default_factory=list)
    """``source`` and ``confidence`` of the most doubtful, these first."""
    reasons: dict[str, dict] = field(default_factory=dict)
    """Of what is not ``ok``, those that differ by more than details: ``status``, ``reason``, ``count``, ``examples``.
    """
    seconds: float = 0.0

    def add(self, row: dict, kept: encoding.Format) -> None:
        self.groups[Group(kept, row.get("kind"), row["status"], row.get("model"), row.get("settings"))] += 1
        self.seconds += row["seconds"]
        if row.get("confidence") is not None and row["status"] == "ok":
            self.doubtful = least([*self.doubtful, {name: row[name] for name in ("source", "confidence")}])
        if row["status"] != "ok":
            reason = {"status": row["status"], "reason": row["error"], "count": 1, "examples": [row["source"]]}
            merge(self.reasons, reason)

    @property
    def photographs(self) -> int:
        return self.groups.total()

    def json(self) -> str:
        groups = [{**group._asdict(), "count": count} for group, count in sorted(self.groups.items(), key=str)]
        return json.dumps(asdict(self) | {"groups": groups, "reasons": [*self.reasons.values()]}, ensure_ascii=False)

    @classmethod
    def parse(cls, text: bytes | str) -> "Footer":
        said = json.loads(text)
        counts = [group.pop("count") for group in said["groups"]]
        said["groups"] = Counter(dict(zip((Group(**group) for group in said["groups"]), counts, strict=True)))
        said["reasons"] = {f"{one['status']} {without_details(one['reason'])}": one for one in said["reasons"]}
        return cls(**said)


def least(entries: list[dict]) -> list[dict]:
    """The most doubtful of these."""
    return heapq.nsmallest(DOUBTFUL, entries, key=lambda entry: (entry["confidence"], entry["source"]))


def merge(reasons: dict[str, dict], reason: dict) -> None:
    """Add a reason to others, to which it may be alike."""
    key = f"{reason['status']} {without_details(reason['reason'])}"
    if key not in reasons and len(reasons) >= REASONS:
        key = f"{reason['status']} others"
        reason = reason | {"reason": "for other reasons, which the catalogue has"}
    known = reasons.setdefault(key, reason | {"count": 0, "examples": []})
    known["count"] += reason["count"]
    known["examples"] = [*known["examples"], *reason["examples"]][:EXAMPLES]


class ShardRows:
    """The file of one shard while it is written, some rows at a time; discarded where there is an exception."""

    def __init__(self, output: str, id: str, footer: Footer):
        self.uri, self.footer = uri_of(output, id), footer
        self._waiting: list[pa.Table] = []
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "ShardRows":
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(files.stored(self.uri))
            self._writer = _writer(file)
            self._held = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if error is None:
                self._flush()
                self._writer.add_key_value_metadata({KEY: self.footer.json().encode()})
                self._writer.close()
            else:
                with contextlib.suppress(Exception):
                    self._writer.close()  # or it would later, when its file is gone
        except BaseException as failure:
            self._held.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._held.__exit__(kind, error, trace)

    def add(self, rows: list[dict], kept: Iterable[encoding.Format]) -> None:
        """Rows of ``SCHEMA``, and the format that each one's photograph would be kept in."""
        for row, format in zip(rows, kept, strict=True):
            self.footer.add(row, format)
        self._waiting.append(pa.Table.from_pylist(rows, SCHEMA))
        if sum(map(len, self._waiting)) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting = []


def uri_of(output: str, id: str) -> str:
    return f"{output}/catalog/shard-{id}.parquet"


def footers(place: Place) -> dict[str, Footer | None]:
    """What there is of all shards, by their ids; None where a file is damaged."""
    there = shard_paths(place)
    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip(there, threads.map(lambda path: footer(place, path), there.values()), strict=True))


def footer(place: Place, path: str) -> Footer | None:
    try:
        tail = place.fs.cat_file(path, start=-TAIL)
        size = int.from_bytes(tail[-8:-4], "little") + 8
        if size > len(tail):
            tail = place.fs.cat_file(path, start=-size)
        return Footer.parse(pq.read_metadata(pa.BufferReader(tail)).metadata[KEY])
    except (ValueError, KeyError, TypeError, pa.ArrowException):
        return None


@contextlib.contextmanager
def opened(output: str, id: str) -> Iterator[pq.ParquetFile]:
    """The file of a shard. Raises ``OSError`` and ``ArrowInvalid``."""
    fs, path = files.file_system(uri_of(output, id))
    with fs.open(path, "rb") as file:
        yield pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)


def where(place: Place, ids: Iterable[str]) -> dict[str, list[str]]:
    """The shards that these photographs are in, by the shards' ids. Looks through one file after the other."""
    wanted, there = pa.array(ids, pa.string()), shard_paths(place)

    def among(path: str) -> list[str]:
        with place.fs.open(path, "rb") as file:
            found = pq.read_table(file, columns=["id"])["id"]
        return found.filter(pc.is_in(found, value_set=wanted)).to_pylist()

    if not len(wanted):
        return {}
    with ThreadPoolExecutor(THREADS) as threads:
        found = zip(there, threads.map(among, there.values()), strict=True)
        return {shard: some for shard, some in found if some}


def decide(output: str, shard: str, decisions: dict[str, str]) -> None:
    """Record in a shard's file what people say of its photographs, by their ids."""
    ids, said = pa.array(list(decisions), pa.string()), pa.array(list(decisions.values()), pa.string())

    def decided(rows: pa.Table) -> pa.Table:
        now = pc.coalesce(said.take(pc.index_in(rows["id"], value_set=ids)), rows["decision"])
        return rows.set_column(rows.schema.get_field_index("decision"), SCHEMA.field("decision"), now)

    rewrite(output, shard, decided)


def rewrite(output: str, shard: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Put others in the place of a shard's rows, some at a time, which amount to the same."""
    with opened(output, shard) as file, files.stored(uri_of(output, shard)) as sink, _writer(sink) as writer:
        for batch in file.iter_batches(GROUP):
            writer.write_table(change(pa.table(batch)).cast(SCHEMA))
        writer.add_key_value_metadata({KEY: file.metadata.metadata[KEY]})


def _writer(file: BinaryIO) -> pq.ParquetWriter:
    return pq.ParquetWriter(file, SCHEMA, compression="zstd", write_statistics=False, write_page_checksum=True)
