"""What each process of the colouring job does where photographs are files: a row of the catalogue for each."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from typing import ClassVar

import cv2
import numpy as np
import pyarrow as pa

from colorize_core import photo
from jobs.coloring import superseded
from jobs.coloring.handwork import HandWork
from jobs.coloring.job import Job, named, output_name
from jobs.coloring.pipeline import Pipeline, neighbours
from jobs.coloring.scan import NotStored, Scan, sniff
from jobs.storage import files
from jobs.storage.catalog import SCHEMA
from jobs.storage.listing import LISTING
from jobs.storage.parquet import ParquetWriter

FETCHED = 64 << 20  # bytes of files that are read ahead of decoding
BAD_NAMES = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
"""What a file system says of a photograph's name, rather than of itself."""


class ColorizeActor(Pipeline):
    """One worker process: takes batches of sources and returns their catalogue rows."""

    inputs: ClassVar = [*LISTING.names, "hints", "hinted_sha256", *superseded.MADE.names]
    """Columns of what it is given: of ``listing.LISTING``, the catalogue's hints, which scans they were said of, and
    what was made before."""

    def __init__(self, job: Job):
        super().__init__(job)
        self.parquet = ParquetWriter(job.output) if job.format == "parquet" else None
        self.handwork = HandWork(job.output)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Columns of ``inputs`` to rows of ``catalog.SCHEMA``.

        Raises ``JobFailed`` where this machine is at fault, and no photograph.
        """
        scans = [self._of_file(source) for source in batch.to_pylist()]
        with self._machine_apart(scans):
            if not self.parquet:
                self.handwork.look({self._name(scan): scan.made_at for scan in scans if scan.made_at})
            for portion in self._portions(scans):
                with self.file_room.reserve(_size(portion)), self.deaths.counted([scan.id for scan in portion]):
                    list(self.threads.map(self._read, portion))
                    self._colorize([scan for scan in portion if not scan.failed])
        if self.parquet:
            self.parquet.flush()
        self._keep_thumbnails(scans)
        files.settle(self.job.output)  # before the rows say that it is there
        for scan in scans:
            self.deaths.forget(scan.id)  # only now: if this process dies after all, its batch is done again
            self.telemetry.done(scan.row)
        return pa.Table.from_pylist([scan.row for scan in scans], SCHEMA)

    def _of_file(self, source: dict) -> Scan:
        uri, path = os.fsdecode(source["uri"]), os.fsdecode(source["path"])
        scan = self._scan(uri, path, source["version"], source["bytes"], source.get("hints"), named(path))
        scan.hinted_sha256 = source.get("hinted_sha256")
        scan.made_sha256, scan.made_of, scan.made_at, scan.decision = map(source.get, superseded.MADE.names)
        return scan

    def _name(self, scan: Scan) -> str:
        return output_name(self.job.format, scan.path)

    def _portions(self, scans: list[Scan]) -> Iterator[list[Scan]]:
        """What is read and coloured at a time."""
        for some in self._apart(scans):
            yield from neighbours(some, lambda scan: _size([scan]), FETCHED)

    def _read(self, scan: Scan) -> None:
        with scan.accounted("reading"), self.telemetry.timed("read"):
            scan.data = self.telemetry.moved("read", files.read_bytes(scan.uri, sniff, photo.MAX_BYTES))
            scan.row["source_sha256"] = hashlib.sha256(scan.data).hexdigest()
            if scan.hinted_sha256 not in (None, scan.row["source_sha256"]):
                scan.hints, scan.row["hints"] = [], None

    def _keep(self, scan: Scan) -> None:
        name = self._name(scan)
        beside = []
        for i in range(1, len(scan.colourings[0].chroma)):
            beside.append(f"{self.job.output}/variants/{i + 1}/{name}")
            _keep(beside[-1], self._encoded(scan, i))
        if self.job.confidence_map and (confidence := scan.colourings[0].confidence_map) is not None:
            picture = _confidence_picture(confidence, (scan.row["height"], scan.row["width"]))
            beside.append(f"{self.job.output}/confidence/{scan.path}.png")
            _keep(beside[-1], picture)
        data = self._picture(scan)
        scan.row["decision"] = scan.decision if scan.row["output_sha256"] == scan.made_sha256 else None
        if self.parquet:
            self.parquet.add(scan.row, name, data)
        else:
            uri = f"{self.job.output}/images/{name}"
            with _storing():
                self.handwork.keep(name, {scan.made_sha256, scan.row["output_sha256"]})
            _keep(uri, data)
            if scan.made_at and scan.made_of != scan.row["source_sha256"]:
                with _storing():
                    self.handwork.clear(scan.path, beside)
            scan.row["output"] = files.printable(uri)


def _confidence_picture(confidence: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """A grey PNG of ``shape``, (H, W), of probabilities (h, w): 255 where the colour is surely right, 0 where it is a
    guess.
    """
    height, width = shape
    levels = np.rint(255 * confidence).astype(np.uint8)
    return cv2.imencode(".png", cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR))[1].tobytes()


def _size(scans: list[Scan]) -> int:
    """Bytes that are read of their files."""
    return sum(scan.size if scan.size <= photo.MAX_BYTES else files.HEAD for scan in scans)


def _keep(uri: str, data: bytes) -> None:
    """Store what was made of a photograph. Raises as ``_storing`` does."""
    with _storing():
        files.write_bytes(uri, data)


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """Raises ``NotStored`` where something cannot be stored, and that is the storage's fault."""
    try:
        yield
    except OSError as error:
        if error.errno in BAD_NAMES:
            raise
        raise NotStored from error
