"""What a colouring job says while it runs and when it ends."""

import re
import sys
import time
from collections import Counter
from datetime import datetime
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobs.catalog import Catalog

LINE_SECONDS = 10
DOUBTFUL = 3  # photographs that the summary names


class Report:
    """Progress of a job over ``total`` photographs: a bar on a terminal, a line every ten seconds in a log.

    The rate is that between the first and the last photograph, and leaves out the start of the actors.
    """

    def __init__(self, total: int, out: TextIO):
        self.total, self.out, self.counts = total, out, Counter()
        self.finished: list[datetime] = []  # the first and the last time
        self.shown = time.monotonic()
        self.bar = None
        if out.isatty():
            columns = TextColumn("colouring"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
            self.bar = Progress(*columns, console=Console(file=out))
            self.task = self.bar.add_task("", total=total, note="starting")

    def __enter__(self):
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error):
        if self.bar:
            self.bar.stop()

    @property
    def rate(self) -> float | None:
        """Photographs per second."""
        if not self.finished or self.finished[0] == self.finished[1]:
            return None
        return (self.counts.total() - 1) / (self.finished[1] - self.finished[0]).total_seconds()

    def advance(self, rows: pa.Table) -> None:
        """``rows`` of the catalogue are complete."""
        self.counts.update(rows["status"].to_pylist())
        times = [*self.finished, *rows["finished_at"].to_pylist()]
        self.finished = [min(times), max(times)]
        done, now = self.counts.total(), time.monotonic()
        note = f"{self.counts['error']:,} failed"
        if self.rate:
            note += f", {self.rate:.1f}/s, {duration((self.total - done) / self.rate)} left"
        if self.bar:
            self.bar.update(self.task, completed=done, note=note)
        elif now - self.shown >= LINE_SECONDS or done == self.total:
            self.shown = now
            print(f"{done:,}/{self.total:,} done, {note}", file=self.out, flush=True)


def duration(seconds: float) -> str:
    """As a person says it: 45 s, 12 min, 3.5 h, 2.1 days."""
    for unit, length, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def summary(catalog: Catalog, ids: pa.Array | pa.ChunkedArray) -> dict:
    """Of the current rows of ``ids``: counts by status and kind, the reasons of what is not ``ok``, grouped, and the
    photographs whose colours are the most doubtful, by the network's own account.
    """
    rows = catalog.read(["id", "status", "kind", "confidence"])
    rows = rows.filter(pc.is_in(rows["id"], value_set=ids))
    problems, doubtful = [], []
    if len(unsure := rows.filter(pc.is_valid(rows["confidence"]))):
        unsure = unsure.take(pc.select_k_unstable(unsure, DOUBTFUL, [("confidence", "ascending")]))
        doubtful = catalog.read(["id", "source", "confidence"])
        doubtful = doubtful.filter(pc.is_in(doubtful["id"], value_set=unsure["id"])).sort_by("confidence")
        doubtful = doubtful.select(["source", "confidence"]).to_pylist()
    if len(bad := rows.filter(pc.not_equal(rows["status"], "ok"))):
        problems = catalog.read(["id", "source", "status", "error"])
        problems = problems.filter(pc.is_in(problems["id"], value_set=bad["id"])).sort_by("source").to_pylist()
    reasons: dict[tuple[str, str], dict] = {}
    for row in problems:
        group = reasons.setdefault((row["status"], kind_of(row["error"])), {
            "status": row["status"], "reason": row["error"], "count": 0, "examples": [],
        })  # fmt: skip
        group["count"] += 1
        if len(group["examples"]) < 3:
            group["examples"].append(row["source"])
    return {
        "status": {"ok": 0, "error": 0, "skipped": 0} | _counts(rows["status"]),
        "kind": _counts(rows["kind"]),
        "doubtful": doubtful,
        "reasons": sorted(reasons.values(), key=lambda group: -group["count"]),
    }


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {pair["values"]: pair["counts"] for pair in pc.value_counts(column.drop_null()).to_pylist()}


def kind_of(reason: str) -> str:
    """A reason without what differs from file to file: numbers, and what a decoder said."""
    return re.sub(r"\(.*?\)(?=[:;])|[\d.,]+", "", reason)


def print_summary(found: dict, seconds: float, rate: float | None, out: TextIO = sys.stdout) -> None:
    for group in found["reasons"][:20]:
        example = group["examples"][0]
        more = f" (and {group['count'] - 1:,} more for the same reason)" if group["count"] > 1 else ""
        print(f"{group['status']}: {example}: {group['reason']}{more}", file=out)
    if len(found["reasons"]) > 20:
        print(f"... and {len(found['reasons']) - 20:,} more reasons in the catalogue", file=out)
    if found["doubtful"]:
        named = ", ".join(f"{row['source']} ({row['confidence']:.2f})" for row in found["doubtful"])
        print(f"the most doubtful colours, with their confidence: {named}", file=out)
    status, kinds = found["status"], sorted(found["kind"].items(), key=lambda pair: -pair[1])
    speed = f", {rate:.1f} photographs/s" if rate else ""
    print(
        f"{status['ok']:,} coloured, {status['error']:,} failed, {status['skipped']:,} skipped, in "
        f"{duration(seconds)}{speed}\n"
        f"kinds: {', '.join(f'{count:,} {kind}' for kind, count in kinds) or 'none'}",
        file=out,
    )
