"""What a colouring job says while it runs."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
from rich import progress
from rich.console import Console

from jobs.cli import LINE_SECONDS


@dataclass(frozen=True, slots=True)
class Step:
    """Some photographs that are complete."""

    counts: Counter[str]
    """Of each status."""
    finished: list[datetime]
    """When, in any order; the first and the last are enough."""
    work: int
    """Their part of a job's total."""
    carried: int = 0
    """Of them, those that were complete before and took no time."""

    @classmethod
    def of_rows(cls, rows: pa.Table) -> "Step":
        """Of the catalogue; each counts as one."""
        times = pc.min_max(rows["finished_at"]).as_py()
        return cls(Counter(rows["status"].to_pylist()), [time for time in times.values() if time], len(rows))


class Progress:
    """Progress of a job: a bar on a terminal, a line every ten seconds in a log.

    Its ``total`` is one of photographs or, where those are in shards that nobody has counted, of bytes. The rate is
    that between the first and the last photograph, and leaves out the start of the actors.
    """

    def __init__(self, total: int, out: TextIO, in_bytes: bool = False):
        self.total, self.out, self.in_bytes = total, out, in_bytes
        self.counts: Counter[str] = Counter()  # of each status
        self.carried = 0
        self.done = 0  # of the total
        self.finished: list[datetime] = []  # the first and the last time
        self.shown = time.monotonic()
        self.bar = None
        if out.isatty():
            text = progress.TextColumn
            amount = text("{task.percentage:.1f} %") if in_bytes else progress.MofNCompleteColumn()
            cells = text("colouring"), progress.BarColumn(), amount, text("{task.fields[note]}")
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
        return (self.counts.total() - self.carried - 1) / (self.finished[1] - self.finished[0]).total_seconds()

    def advance(self, step: Step) -> None:
        self.counts.update(step.counts)
        self.carried += step.carried
        if times := [*self.finished, *step.finished]:
            self.finished = [min(times), max(times)]
        self.done = min(self.total, self.done + step.work)
        photographs, now = self.counts.total(), time.monotonic()
        note = f"{self.counts['error']:,} failed"
        if self.rate and self.done:
            left = (self.total - self.done) * photographs / (self.done * self.rate)
            note += f", {self.rate:.1f}/s, {duration(left)} left"
        amount = f"{photographs:,} photographs, {self.done / max(1, self.total):.1%}"
        if self.bar:
            self.bar.update(self.task, completed=self.done, note=f"{amount}, {note}" if self.in_bytes else note)
        elif now - self.shown >= LINE_SECONDS or self.done == self.total:
            self.shown = now
            print(f"{amount if self.in_bytes else f'{photographs:,}/{self.total:,} done'}, {note}",
                  file=self.out, flush=True)  # fmt: skip


def duration(seconds: float) -> str:
    """As a person says it: 45 s, 12 min, 3.5 h, 2.1 days."""
    for unit, length, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
