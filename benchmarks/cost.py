"""What a million photographs cost, and a hundred million: hours, machines and requests, from rates measured here.

    python -m benchmarks.cost [--hours 24] [--cores 16] [--shard 10000]

Measured are the job's own workers in plain processes, one per core, on scans as ``benchmarks.speed`` makes them, the
size of what they read and write, and the bytes that a listing and a catalogue hold for each photograph. Assumed are
cores like these, storage that keeps up, and work that is spread evenly. Ray's own share is what ``benchmarks.speed``
prints as jobs.colorize against pool; the start of a machine's workers, some seconds, is left out.

The second table is of JPEG scans of 500 x 375 that stay JPEGs, as files of their own and in shards. Their rates are
those of whole jobs here. Requests are counted at a store on this machine, over few and over more photographs and
shards; for the bytes of a shard there is one for each piece that is read ahead or sent.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from benchmarks.requests import counted, counting, store
from benchmarks.resume_cost import finish
from benchmarks.simulation import make, make_shards
from benchmarks.speed import CORES, KINDS, colour_in_pool, make_scans, on_all_cores
from jobs.cli import OPTIONS
from jobs.storage import listing
from jobs.storage.files import PART
from jobs.storage.shards.reading import AHEAD

PHOTOGRAPHS = 10**6, 10**8
SAMPLES = {"500 x 375": 320, "2 MP": 64, "12 MP": 16}
DISTINCT = 32  # scans, which others repeat
COUNTED = 32, 96  # photographs over which requests are counted
SHARDS = 2, 6  # and shards
LISTED = 20_000  # photographs from which the size of a listing and of a catalogue is known


@dataclass(kw_only=True)
class CostConfig:
    """Compute what large archives cost."""

    hours: float = 24.0
    """In which the work is to be done."""
    cores: int = 16
    """Of each machine."""
    shard: int = 10_000
    """Photographs in each shard."""
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
    Console(width=120).print(work)

    listing, catalogue = _bytes_each()
    requests = Table(title=f"in files of their own, and in shards of {config.shard:,}", box=None)
    for heading in ("scans", "as", "scans/s and core", "core hours", "list", "get", "put", "dollars",
                    "get, put per s", "listed, GB", "rows, GB"):  # fmt: skip
        requests.add_column(heading, justify="right")
    with counting():
        asked_of = {1: _each_file(), config.shard: _each_shard(config.shard)}
    for photographs in PHOTOGRAPHS:
        for held, asked in asked_of.items():
            layout = "files" if held == 1 else "shards"
            units = photographs / held
            rate = _rate("files" if held == 1 else "parquet") / CORES
            lists, gets, puts = (math.ceil(units * asked[kind]) for kind in ("list", "get", "put"))
            price = (lists + puts) / 1000 * config.put_price + gets / 1000 * config.get_price
            counts = [f"{count:,}" for count in (lists, gets, puts)]
            sizes = [f"{units * listing / 1e9:,.1f}", f"{photographs * catalogue / 1e9:,.1f}"]
            per_second = f"{(gets + puts) / config.hours / 3600:,.0f}"
            hours = f"{photographs / rate / 3600:,.0f}"
            requests.add_row(
                f"{photographs:,}", layout, f"{rate:.1f}", hours, *counts, f"{price:,.2f}", per_second, *sizes
            )
    Console(width=132).print(requests)


@cache
def _scans() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [file.read_bytes() for file in make_scans(Path(folder, "scans"), *KINDS["500 x 375"][:2], DISTINCT)]


@cache
def _rate(layout: str) -> float:
    """Photographs per second of a whole job on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        scans, count = Path(folder, "scans"), SAMPLES["500 x 375"] * 2
        if layout == "files":
            make(scans, _scans(), count)
        else:
            make_shards(scans, _scans(), count, 4, layout)
        command = [sys.executable, "-m", "jobs.colorize", str(scans), str(Path(folder, "out")), "--format", "keep"]
        done = subprocess.run([*command, "--json", "--no-review"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["photographs_per_second"]


def _each_file() -> Counter[str]:
    """Requests for a photograph: those for many, less those for few."""
    few, many = (counted(store("files", _scans(), count, 1), count)[0] for count in COUNTED)
    more = COUNTED[1] - COUNTED[0]
    # Whoever lists asks once for a thousand names.
    return Counter({kind: (many[kind] - few[kind]) / more for kind in ("get", "put")} | {"list": 1 / 1000})


def _each_shard(photographs: int) -> Counter[str]:
    """Requests for a shard of so many photographs: those for a small one, and those that its bytes take."""
    few, many = (counted(store("parquet", _scans(), 8 * shards, shards), 8 * shards)[0] for shards in SHARDS)
    more, size = SHARDS[1] - SHARDS[0], photographs * sum(map(len, _scans())) / DISTINCT
    small = {kind: (many[kind] - few[kind]) / more for kind in ("get", "put")} | {"list": 1 / 1000}
    return Counter(small) + Counter({"get": size / AHEAD, "put": size / PART})


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
