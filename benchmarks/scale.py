"""Is the colouring job as fast, and as small, over many photographs as over few?

    python -m benchmarks.scale [--photographs 2000 20000]

Runs the real command over that many scans of 500 x 375 (``benchmarks.speed`` makes a few hundred; the rest are links to
them) and prints photographs per second, from the first one on, and the peak memory of the driver and of the largest
worker: what they have for themselves, without the libraries that they map.
"""

import json
import os
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
from jobs import cli
from jobs.cli import OPTIONS

DISTINCT = 200


@dataclass(kw_only=True)
class ScaleConfig:
    """Colour a few photographs, and many."""

    photographs: Annotated[tuple[int, ...], cli.SEVERAL] = (2000, 20000)


def main(config: Annotated[ScaleConfig, OPTIONS] = ScaleConfig()) -> None:  # noqa: B008
    table = Table()
    for heading in ("photographs", "per second", "driver, MB", "largest worker, MB"):
        table.add_column(heading, justify="right")
    first = None
    for count in config.photographs:
        found = _measured(count)
        first = first or found
        table.add_row(f"{count:,}", f"{found[0]:.1f}", *(f"{n:,.0f}" for n in found[1:]))
    table.add_row("ratio", *(f"{last / few:.2f}" for last, few in zip(found, first, strict=True)))
    Console(width=110).print(table)


def _measured(count: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        distinct = make_scans(Path(folder, "distinct"), 500, 375, DISTINCT)
        scans = Path(folder, "scans")
        for i in range(count):
            box = scans / f"box-{i // 1000:03d}"
            box.mkdir(parents=True, exist_ok=True)
            os.link(distinct[i % DISTINCT], box / f"{i:06d}.jpg")
        command = [sys.executable, "-m", "jobs.colorize", str(scans), str(Path(folder, "out")), "--json", "--no-review"]
        job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        driver = worker = 0.0
        while job.poll() is None:
            driver = max(driver, memory_mb(job.pid))
            worker = max([worker, *(memory_mb(pid) for pid in _workers(job.pid))])
            time.sleep(0.2)
        if job.returncode:
            sys.exit(f"the job over {count:,} photographs failed: run {' '.join(command)}")
        return json.loads(job.stdout.read())["photographs_per_second"], driver, worker


def _workers(driver: int) -> list[int]:
    """Processes below the driver that run the job's actor."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                titles[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:  # it has ended meanwhile
                continue

    def below(pid: int) -> bool:
        while pid in parents and pid != driver:
            pid = parents[pid]
        return pid == driver

    return [pid for pid, title in titles.items() if "ColorizeActor" in title and below(pid)]


def memory_mb(pid: int) -> float:
    """That a process has for itself at present, without what it maps of files, its libraries; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("RssAnon")), 0.0)


if __name__ == "__main__":
    cyclopts.run(main)
