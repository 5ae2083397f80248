"""From a command to its exit, for a few photographs: in a process beside the driver, and through Ray.

    python -m benchmarks.few [--rounds 3]

Says for how many photographs which of the two is sooner, by which ``jobs.coloring.few`` chooses, and how long the round
from the review page to new colours takes: three photographs of an archive are done again.
"""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from benchmarks.speed import make_scans
from jobs.cli import OPTIONS
from jobs.storage.catalog import Catalog

CASES = {"500 x 375": (500, 375, (1, 8, 64, 256)), "12 MP": (4000, 3000, (1, 4, 16))}
REDONE = 3
BESIDE = "from jobs.coloring import few; few.MOST = few.MOST_BYTES = 1 << 60; from jobs import cli, colorize; "
BESIDE += "cli.command_line(colorize.app)"


@dataclass(kw_only=True)
class FewConfig:
    """Measure from a command to its exit."""

    rounds: int = 3
    """How often each is measured; the median counts."""


def main(config: Annotated[FewConfig, OPTIONS] = FewConfig()) -> None:  # noqa: B008
    table = Table(title="from the command to its exit, seconds, median", title_justify="left")
    for heading in ("", "MB", "in a process beside it", "through Ray"):
        table.add_column(heading, justify="right" if heading else "left")
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, height, counts) in CASES.items():
            for count in counts:
                scans, out = Path(folder, f"{width}-{count}"), Path(folder, f"out-{width}-{count}")
                size = sum(file.stat().st_size for file in make_scans(scans, width, height, count))
                rounds = [
                    (
                        _seconds("-c", BESIDE, scans, f"{out}-{i}"),
                        _seconds("-m", "jobs.colorize", scans, f"{out}-{i}-ray", "--actors", f"1:{os.cpu_count()}"),
                    )
                    for i in range(config.rounds)
                ]
                seconds = [f"{statistics.median(column):.1f}" for column in zip(*rounds, strict=True)]
                table.add_row(f"{count} of {name}", f"{size / 1e6:.1f}", *seconds)
        Console(width=110).print(table)
        again = [_again(*CASES["500 x 375"][:2], 64, Path(folder), i) for i in range(config.rounds)]
    print(f"{REDONE} photographs done again, by decisions: {statistics.median(again):.1f} s")


def _again(width: int, height: int, count: int, folder: Path, round: int) -> float:
    scans, out, decisions = folder / f"{width}-{count}", folder / f"out-{width}-{count}-{round}", folder / "redo.csv"
    with open(decisions, "w") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "decision"])
        writer.writerows([id, "redo"] for id in Catalog(str(out)).read(["id"])["id"].to_pylist()[:REDONE])
    return _seconds("-m", "jobs.colorize", scans, out, "--only", decisions, "--vividness", 0.3)


def _seconds(*command: object) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


if __name__ == "__main__":
    cyclopts.run(main)
