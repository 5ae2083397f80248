"""What a million photographs cost, and a hundred million: hours and machines, from rates measured here.

    python -m benchmarks.cost [--hours 24] [--cores 16]

Measured are the job's own workers in plain processes, one per core, on scans as ``benchmarks.speed`` makes them, and
the size of what they read and write. Assumed are cores like these, storage that keeps up, and work that is spread
evenly. Ray's own share is what ``benchmarks.speed`` prints as jobs.colorize against pool; the start of a machine's
workers, some seconds, is left out.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.speed import CORES, KINDS, colour_in_pool, make_scans, on_all_cores

PHOTOGRAPHS = 10**6, 10**8
SAMPLES = {"500 x 375": 320, "2 MP": 64, "12 MP": 16}


@dataclass(kw_only=True)
class CostConfig:
    """Compute what large archives cost."""

    hours: float = 24.0
    """In which the work is to be done."""
    cores: int = 16
    """Of each machine."""


def main(config: CostConfig) -> None:
    table = Table()
    machines = f"machines of {config.cores} cores for {config.hours:g} h"
    for heading in ("scans", "each", "photographs/s and core", "core hours", machines, "TB read", "TB written as PNG"):
        table.add_column(heading, justify="right")
    for name, samples in SAMPLES.items():
        with tempfile.TemporaryDirectory() as folder:
            files = make_scans(Path(folder, "scans"), *KINDS[name][:2], samples)
            out = Path(folder, "out")
            rate = on_all_cores(colour_in_pool, files, str(out)) / CORES
            read = sum(file.stat().st_size for file in files) / samples
            written = sum(file.stat().st_size for file in out.rglob("*.png")) / samples
        for photographs in PHOTOGRAPHS:
            hours = photographs / rate / 3600
            needed = math.ceil(hours / config.hours / config.cores)
            terabytes = [f"{photographs * size / 1e12:,.1f}" for size in (read, written)]
            table.add_row(f"{photographs:,}", name, f"{rate:.1f}", f"{hours:,.0f}", f"{needed:,}", *terabytes)
    Console(width=120).print(table)


if __name__ == "__main__":
    main(tyro.cli(CostConfig))
