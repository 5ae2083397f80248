"""What a colouring job says while it runs."""

import time
from collections import Counter
from datetime import datetime
from typing import TextIO

import pyarrow as pa
from rich import progress
from rich.console import Console

from jobs.cli import LINE_SECONDS


class Progress:
    """Progress of a job over ``total`` photographs: a bar on a terminal, a line every ten seconds in a log.

    The rate is that between the first and the last photograph, and leaves out the start of the actors.
    """

    def __init__(self, total: int, out: TextIO):
        self.total, self.out = total, out
        self.counts: Counter[str] = Counter()  # of each status
        self.finished: list[datetime] = []  # the first and the last time
        self.shown = time.monotonic()
        self.bar = None
        if out.isatty():
            text = progress.TextColumn
            cells = text("colouring"), progress.BarColumn(), progress.MofNCompleteColumn(), text("{task.fields[note]}")
            self.bar = progress.Progress(*cells, console=Console(file=out))
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
