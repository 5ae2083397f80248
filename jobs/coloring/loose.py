"""A job over photographs in files of their own: a row of the catalogue for each, which the driver writes."""

import time

import pyarrow as pa
import pyarrow.compute as pc

from jobs.coloring import hinted, refusal, superseded, todo
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.identity import from_elsewhere
from jobs.coloring.inputs import Share
from jobs.coloring.job import Job
from jobs.coloring.progress import Step
from jobs.coloring.summary import summary
from jobs.coloring.work import Work
from jobs.storage import listing, parquet
from jobs.storage.catalog import Catalog
from jobs.storage.output import Lease, Place
from jobs.storage.parts import WHOLE

CATALOG_SECONDS = 10.0  # rows wait at most this long for their catalogue file: what a kill makes us do again
ENOUGH_UNSTORED = 20  # photographs that cannot be stored, before a job gives up


class Files(Work):
    noun = "inputs"

    def __init__(self, share: Share, job: Job, config: ColorizeConfig, place: Place):
        super().__init__(share, job, config, place)
        self.photographs = "parquet" if job.format == "parquet" else "images"
        if not config.moved and listing.is_list(config.source):
            self.files, bad = from_elsewhere(self.files, self.catalog.read(["id", "source", "output"]))
            self.refused = pa.concat_tables([self.refused, bad.select(self.refused.column_names)])
        if config.only:
            self._hear(todo.decided(self.files, config.only, config.source, self.part))
            self._check_said()
        self.hints = (self.said.hints if self.said else {}) | (
            hinted.read(config.hints, self.files, self.part) if config.hints else {}
        )
        self._before: pa.Table | None = None
        self._waiting: list[pa.Table] = []
        self._lost: list[str] = []

    def _check_said(self) -> None:
        """Raises ``UsageError`` for what was said of other files; what was said of other colours is left out."""
        assert self.said
        rows = self.catalog.read(["id", "source", "source_version", "output_sha256"])
        known = {*self.files["id"].to_pylist(), *rows["id"].to_pylist()}
        if lost := self.said.decisions.keys() - known:
            raise self.said.not_held(lost, self.config.source, str(self.config.only))
        rows = rows.filter(pc.is_in(rows["id"], value_set=self.files["id"]))
        if not self.config.moved:
            self.said.check(rows, str(self.config.only))
            hinted.check_versions(self.said.hints, self.files, rows, str(self.config.only))
        self._hear(self.said.of_present(rows))

    def record(self) -> None:
        self._sweep()
        if self.said:
            self._say_left_out()
            self.catalog.decide(self.said.decisions)
        refusal.record(self.refused, self.catalog, self.job)

    def wanted(self) -> pa.Table:
        """With columns ``hints`` and ``hinted_sha256`` as well."""
        rows = self.catalog.read(todo.COLUMNS)  # once: of a large archive it takes seconds
        files = hinted.hinted(self.files, rows, self.hints)
        if self.said:
            wanted = todo.marked(files, self.said.decisions)
        else:
            wanted = todo.todo(files, rows, self.job.weights_file.model, self.job, self.config.retry_errors)
        if wanted["hints"].null_count < len(wanted):
            self._check_hints()
        self._before = superseded.coloured(self.catalog, wanted)
        return superseded.made(hinted.of_scans(wanted, self.catalog, self.hints), self.catalog)

    def begin(self, wanted: pa.Table, lease: Lease) -> None:
        self._lease, self._stored = lease, time.monotonic()

    def take(self, rows: pa.Table) -> Step:
        self._waiting.append(rows)
        lost = rows.filter(pc.and_(pc.equal(rows["status"], "error"), pc.equal(rows["source_version"], "")))
        self._lost += lost["error"].to_pylist()
        if time.monotonic() - self._stored > CATALOG_SECONDS:
            self.flush()
        return Step.of_rows(rows)

    @property
    def unstored(self) -> str | None:
        return self._lost[-1] if len(self._lost) >= ENOUGH_UNSTORED else None

    def flush(self) -> None:
        if self._waiting:
            self._lease.check()  # or rows of a job that was held up would supersede those of one that goes on here
            self.catalog.append(pa.concat_tables(self._waiting))
        self._waiting, self._stored = [], time.monotonic()

    def finish(self) -> None:
        if self._before is not None:
            superseded.settle(self._before, self.catalog, self.place)
        self._sweep()

    def summary(self) -> dict:
        ids = pa.chunked_array([*self.files["id"].chunks, *self.refused["id"].chunks], pa.string())
        return summary(self.catalog, ids)

    def _sweep(self) -> None:
        if self.job.format == "parquet" or (self.part == WHOLE and self.place.files("parquet")):
            parquet.sweep(Catalog(self.job.output), self.job.output)  # its files have no parts
