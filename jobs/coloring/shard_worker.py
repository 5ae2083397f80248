"""What each process of the colouring job does where photographs are in shards: it goes from one end of a shard to the
other, into another of the same shape, and writes a file of the catalogue for each.
"""

import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

import pyarrow as pa

from jobs.cli import JobFailed
from jobs.coloring import hinted, preflight, todo
from jobs.coloring.carrying import Before, before
from jobs.coloring.job import SUFFIX, container, holding, named, source_id
from jobs.coloring.pipeline import ATTEMPTS, DeviceError, Pipeline
from jobs.coloring.scan import Scan
from jobs.storage import files, shards
from jobs.storage.catalog import SCHEMA
from jobs.storage.listing import LISTING
from jobs.storage.output import Place
from jobs.storage.shard_rows import Footer, ShardRows
from jobs.storage.shards.portions import PORTION_BYTES

REPORT = pa.schema(
    [
        ("shard", pa.string()),  # id
        ("done", pa.bool_()),  # whether this is the last report of the shard
        ("bytes", pa.int64()),  # of the photographs that were gone through
        ("ok", pa.int64()),
        ("error", pa.int64()),
        ("skipped", pa.int64()),
        ("carried", pa.int64()),  # of all these, those that were taken over as they were
        ("first", pa.timestamp("us", "UTC")),
        ("last", pa.timestamp("us", "UTC")),  # when photographs were finished
        ("unstored", pa.string()),  # why OUTPUT does not hold the shard, where it could not be written
    ]
)
"""What a worker says of a shard on its way through it: the same reports whenever it goes through it, but for times."""
# About half a minute's work, since Ray takes 60 ms for each report, and the driver 3 KB of memory.
REPORTED_BYTES, REPORTED_PHOTOGRAPHS = 128 << 20, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be done with a shard that was gone through before."""

    retry_errors: bool = False
    only: list[str] | None = None
    """Photographs, by their ids, that are to be done, and no others."""
    hints: dict[str, list[dict]] = field(default_factory=dict)
    """Entries of the catalogue's column ``hints`` that were given now, by the photographs' ids."""

    def json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class Shard:
    """One on its way."""

    uri: str
    path: str
    version: str
    asked: Asked
    output: str
    """What is made of it."""
    id: str
    unreported: "Unreported" = field(default_factory=lambda: Unreported())
    deadly: list[str] = field(default_factory=list)
    """Photographs that processes have died with."""

    @property
    def footer(self) -> Footer:
        return Footer(files.printable(self.path), files.printable(self.uri), self.version)

    def report(self, done: bool = True, unstored: str | None = None) -> pa.Table:
        """Of what has not been reported yet."""
        some, self.unreported = self.unreported, Unreported()
        said = {"shard": self.id, "done": done, "unstored": unstored, "bytes": some.size, **some.counts}
        said["carried"] = some.carried
        return pa.Table.from_pylist([said | {"first": some.first, "last": some.last}], REPORT)


@dataclass(slots=True)
class Unreported:
    """Photographs that have been gone through since the last report."""

    counts: Counter[str] = field(default_factory=Counter)
    carried: int = 0
    size: int = 0
    first: datetime | None = None
    last: datetime | None = None

    @property
    def is_much(self) -> bool:
        return self.size > REPORTED_BYTES or self.counts.total() >= REPORTED_PHOTOGRAPHS

    def add(self, rows: list[dict], size: int, carried: list[dict] | None = None) -> None:
        """Rows of the catalogue: those that are new, and those that were there before."""
        self.counts.update(row["status"] for row in [*rows, *(carried or [])])
        self.carried += len(carried or [])
        self.size += size
        times = [row["finished_at"] for row in rows] + [time for time in (self.first, self.last) if time]
        if times:
            self.first, self.last = min(times), max(times)


class ShardActor(Pipeline):
    """One worker process: takes shards, and reports on each as it goes through it."""

    inputs: ClassVar = [*LISTING.names, "asked"]
    """Columns of what it is given: of ``listing.LISTING``, and an ``Asked``."""

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Columns of ``inputs`` to rows of ``REPORT``. Raises ``JobFailed`` as ``ColorizeActor`` does."""
        for source in batch.to_pylist():
            uri, path = os.fsdecode(source["uri"]), os.fsdecode(source["path"])
            asked = Asked(**json.loads(source["asked"]))
            output = output_of(self.job.output, path)
            yield from self._through(Shard(uri, path, source["version"], asked, output, source_id(path)))

    def _through(self, shard: Shard) -> Iterator[pa.Table]:
        if self.blind:
            raise JobFailed(self.blind)
        self.deaths.find()
        try:
            if self.deaths.count(shard.id) >= ATTEMPTS:
                raise shards.ShardError("going through it crashed the process, or used up its memory, three times")
            yield from self._rewritten(shard)
        except shards.ShardError as error:
            yield self._bad(shard, str(error))
        except OSError as error:
            reason = f"{self.job.output} cannot be written to ({error})"
            yield shard.report(unstored=reason)
        except (JobFailed, DeviceError):
            raise
        except Exception as error:
            yield self._bad(shard, f"it failed unexpectedly ({type(error).__name__}: {error}): please report this")
        for id in [shard.id, *shard.deadly]:
            self.deaths.forget(id)  # only now: if this process dies after all, the shard is begun again

    def _rewritten(self, shard: Shard) -> Iterator[pa.Table]:
        """Raises ``ShardError`` where it cannot be read, and ``OSError`` where what is made of it cannot be written."""
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            with self.deaths.counted([shard.id]), _reading():
                opened = stack.enter_context(shards.open_shard(shard.uri))
            past = stack.enter_context(before(self.job.output, shard.id, shard.version, shard.output))
            rows = stack.enter_context(ShardRows(self.job.output, shard.id, shard.footer))
            with shards.ShardWriter(shard.output, like=opened) as writer:
                portions = iter(opened)
                while self._portion(shard, portions, past, writer, rows):
                    if shard.unreported.is_much:
                        yield shard.report(done=False)
                if self.job.hold and (reason := preflight.missing(self.job.output, self.job.hold)):
                    raise JobFailed(f"another job has taken {self.job.output} ({reason}): it goes on there")
                past.look_through()
                if past.changed:  # somebody may have worked on what this takes the place of
                    Place(self.job.output).keep_aside(files.located(shard.output)[1])
            files.settle(self.job.output)  # before the catalogue says that it is there
            rows.footer.seconds = time.monotonic() - started
        yield shard.report()

    def _portion(self, shard: Shard, portions: Iterator, past: Before, writer, rows: ShardRows) -> bool:
        """Take one from its shard to where it belongs, if there is one."""
        with self.file_room.reserve(PORTION_BYTES):
            with self.deaths.counted([shard.id]), _reading():
                portion = next(portions, None)
            if portion is None:
                return False
            scans = [self._of_shard(shard, photograph) for photograph in portion.photographs]
            size = sum(scan.size for scan in scans)
            self._done_before(shard, scans, past)
            fresh = [scan for scan in scans if not scan.carried]
            with self._machine_apart(fresh):
                for some in self._apart(fresh):
                    with self.deaths.counted([scan.id for scan in some]):
                        self._colorize([scan for scan in some if not scan.failed])
            shard.deadly += [scan.id for scan in fresh if scan.failed and self.deaths.count(scan.id)]
            with self.deaths.counted([shard.id]):
                names = writer.write(portion, [self._made(scan, writer.most) for scan in scans])
        for scan, name in zip(scans, names, strict=True):
            if scan.picture is not None:
                scan.row["output"] = f"{files.printable(shard.output)}#{name}"
                if not scan.carried:
                    scan.row["decision"] = past.decision(scan.row)
        rows.add([scan.row for scan in scans], [scan.kept for scan in scans])
        self._keep_thumbnails(fresh)
        for scan in fresh:
            self.telemetry.done(scan.row)
        shard.unreported.add([scan.row for scan in fresh], size, [scan.row for scan in scans if scan.carried])
        return True

    def _of_shard(self, shard: Shard, photograph: shards.Photograph) -> Scan:
        data = photograph.data or b""
        path = f"{shard.path}/{photograph.name}"
        scan = self._scan(f"{shard.uri}#{photograph.name}", path, shard.version, len(data), None, holding(data))
        scan.row["source"] = f"{files.printable(shard.uri)}#{photograph.name}"  # which is printable as it is
        scan.stray, scan.data, scan.label = False, data, photograph.label
        if photograph.problem:
            scan.fail(photograph.problem)
        else:
            scan.row["source_sha256"] = hashlib.sha256(data).hexdigest()
        return scan

    def _done_before(self, shard: Shard, scans: list[Scan], past: Before) -> None:
        """Take over what need not be done again, and the hints that hold."""
        taken = past.take(len(scans))
        known = {scan.id: one for scan, one in zip(scans, taken, strict=True) if one and _is_of(one.row, scan)}
        wanted = self._wanted(shard, scans, [one.row for one in known.values()]) if known else set()
        for scan in scans:
            one = known.get(scan.id)
            lost = one is None or (one.row["output_sha256"] is not None and one.picture is None)
            if scan.id in wanted or lost:
                entries = shard.asked.hints.get(scan.id, past.hints(scan.row))
                scan.hints, scan.row["hints"] = entries or [], entries or None
            elif one:
                scan.carried, scan.row, scan.picture, scan.data = True, one.row, one.picture, b""

    def _wanted(self, shard: Shard, scans: list[Scan], rows: list[dict]) -> set[str]:
        if shard.asked.only is not None:
            return {*shard.asked.only}
        columns = {
            "id": [scan.id for scan in scans],
            "path": [f"a.{SUFFIX[scan.kept]}".encode() for scan in scans],
            "version": [shard.version] * len(scans),
        }
        sources = pa.table(columns, pa.schema([("id", pa.string()), ("path", pa.binary()), ("version", pa.string())]))
        there = pa.Table.from_pylist(rows, SCHEMA).select(todo.COLUMNS)
        sources = hinted.hinted(sources, there, shard.asked.hints)
        again = todo.todo(sources, there, self.colorizer.file.model, self.job, shard.asked.retry_errors)
        return {*again["id"].to_pylist()}

    def _keep(self, scan: Scan) -> None:
        scan.picture = self._picture(scan)

    def _made(self, scan: Scan, most: int) -> shards.Made:
        if scan.picture is not None and len(scan.picture) > most:
            scan.fail(f"in colour it has {len(scan.picture) / 1e9:.1f} GB, more than its shard holds: scale it down")
        format = container(self.job.format, scan.kept)
        as_named = scan.label.lower().endswith(".png") if format == "png" else named(scan.label) == format
        suffix = None if as_named else f".{SUFFIX[format]}"
        return shards.Made(scan.picture, suffix, {name: scan.row.get(name) for name in shards.NOTE.names})

    def _bad(self, shard: Shard, reason: str) -> pa.Table:
        """Its one row, where it cannot be gone through."""
        row = self._scan(shard.uri, shard.path, shard.version, 0, None, "png").row
        row |= {"status": "error", "error": reason, "finished_at": datetime.now(UTC)}
        try:
            with ShardRows(self.job.output, shard.id, shard.footer) as rows:
                rows.add([row], ["png"])
        except OSError as error:
            return shard.report(unstored=f"{self.job.output} cannot be written to ({error})")
        shard.unreported = Unreported()  # it has one row, whatever was gone through
        shard.unreported.add([row], 0)
        return shard.report()


def _is_of(row: dict, scan: Scan) -> bool:
    return row["id"] == scan.id and row["source_sha256"] == scan.row.get("source_sha256")


def output_of(output: str, path: str) -> str:
    """What is made of a shard."""
    return f"{output}/shards/{path}"


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise shards.ShardError(f"reading it failed ({error}): check that it is there, and its permissions") from error
