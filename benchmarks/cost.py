"""What a million photographs cost, and a hundred million: hours, machines and requests, from rates measured here.

    python -m benchmarks.cost [--hours 24] [--cores 16]

Measured are the job's own workers in plain processes, one per core, on scans as ``benchmarks.speed`` makes them, the
size of what they read and write, and the bytes that a listing and a catalogue hold for each photograph. Assumed are
cores like these, storage that keeps up, and work that is spread evenly. Ray's own share is what ``benchmarks.speed``
prints as jobs.colorize against pool; the start of a machine's workers, some seconds, is left out. Object stores answer
a listing with a thousand names at a time; each photograph is got once and put once.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from benchmarks.resume_cost import finish
from benchmarks.speed import CORES, KINDS, colour_in_pool, make_scans, on_all_cores
from jobs.cli import OPTIONS
from jobs.storage import listing

PHOTOGRAPHS = 10**6, 10**8
SAMPLES = {"500 x 375": 320, "2 MP": 64, "12 MP": 16}
LISTED = 20_000  # photographs from which the size of a listing and of a catalogue is known


@dataclass(kw_only=True)
class CostConfig:
    """Compute what large archives cost."""

    hours: float = 24.0
    """In which the work is to be done."""
    cores: int = 16
    """Of each machine."""
    put_price: float = 0.005
    """Dollars for a thousand requests that store or list."""
    get_price: float = 0.0004
    """Dollars for a thousand requests that read."""


def main(config: Annotated[CostConfig, OPTIONS] = CostConfig()) -> None:  # noqa: B008
    work = Table()
    machines = f"machines of {config.cores} cores for {config.hours:g} h"
    for heading in ("scans", "each", "photographs/s and core", "core hours", machines, "TB read", "TB written as PNG"):
        work.add_column(heading, justify="right")
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
            work.add_row(f"{photographs:,}", name, f"{rate:.1f}", f"{hours:,.0f}", f"{needed:,}", *terabytes)
    console = Console(width=120)
    console.print(work)

    listing, catalogue = _bytes_each()
    requests = Table()
    for heading in ("scans", "list", "get", "put", "dollars", "get and put per s", "listing, GB", "catalogue, GB"):
        requests.add_column(heading, justify="right")
    for photographs in PHOTOGRAPHS:
        lists = math.ceil(photographs / 1000)
        price = (lists + photographs) / 1000 * config.put_price + photographs / 1000 * config.get_price
        counts = [f"{count:,}" for count in (lists, photographs, photographs)]
        sizes = [f"{photographs * size / 1e9:,.1f}" for size in (listing, catalogue)]
        per_second = f"{2 * photographs / config.hours / 3600:,.0f}"
        requests.add_row(f"{photographs:,}", *counts, f"{price:,.0f}", per_second, *sizes)
    console.print(requests)


def _bytes_each() -> tuple[float, float]:
    """For each photograph: in the driver's memory as a listing, and stored as a row of the catalogue."""
    with tempfile.TemporaryDirectory() as folder:
        scans, output = Path(folder, "scans"), Path(folder, "out")
        scans.mkdir()
        for i in range(LISTED):
            Path(scans, f"photograph-{i:09d}.tif").touch()
        finish(str(scans), str(output))
        stored = sum(path.stat().st_size for path in Path(output, "catalog").iterdir())
        return listing.listing(str(scans)).nbytes / LISTED, stored / LISTED


if __name__ == "__main__":
    cyclopts.run(main)
