"""A whole colouring job over very many tiny photographs: does it slow down, or grow, on the way?

    python -m benchmarks.simulation [--photographs 200000] [--shards 200] [--kind webdataset]

The photographs are of 1 KB, and the network, the ``resnet18`` weights told to look at 32 pixels, takes next to no time.
What remains is what a job does for each photograph whatever its size: listing, scheduling, reading, storing, the
catalogue, all but the review page. With ``--shards`` they are in that many shards instead of files of their own, and
the same command is run again, to find that nothing is to be done. The driver's memory, without the libraries that it
maps, includes PyTorch's, since it checks weights that do not ship.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cv2
import cyclopts
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.scale import memory_mb
from benchmarks.speed import make_scans
from colorize_core.colorizer import Colorizer
from jobs.cli import OPTIONS
from jobs.machine import granted

DISTINCT = 500
FOLDER = 1000  # photographs in each folder
PARTS = 10


@dataclass(kw_only=True)
class SimulationConfig:
    """Colour very many tiny photographs."""

    photographs: int = 200_000
    shards: int | None = None
    """In which they are, instead of in files of their own."""
    kind: Literal["parquet", "webdataset"] = "parquet"
    """Of the shards."""


def main(config: Annotated[SimulationConfig, OPTIONS] = SimulationConfig()) -> None:  # noqa: B008
    with tempfile.TemporaryDirectory() as folder:
        scans, output, weights = (Path(folder, name) for name in ("scans", "out", "tiny.safetensors"))
        some = pictures()
        if config.shards:
            make_shards(scans, some, config.photographs, config.shards, config.kind)
        else:
            make(scans, some, config.photographs)
        colorizer = Colorizer.load("resnet18", "cpu")
        colorizer.input_side = 32
        weights.write_bytes(colorizer.pack())
        command = [sys.executable, "-m", "jobs.colorize", str(scans), str(output), "--weights", str(weights)]
        command += ["--json", "--no-review", "--actors", str(granted.cores())]  # through Ray, also where they are few
        summary, seconds, memory = _watched(command)
        finished = pq.read_table(output / "catalog", columns=["finished_at"])["finished_at"].to_numpy()
        stored = sum(path.stat().st_size for path in Path(output, "catalog").iterdir())
        again = _watched(command) if config.shards else None
    finished = np.sort(finished.astype("datetime64[us]").astype(np.int64)) / 1e6
    assert summary["status"]["ok"] == len(finished) == config.photographs, summary
    _print(finished, *memory)
    print(
        f"{config.photographs:,} coloured, none lost, none twice; {seconds:.0f} s from the command to its "
        f"exit; catalogue {stored / len(finished):.0f} bytes a photograph"
    )
    if again:
        assert again[0]["already_done"] == config.shards, again[0]
        print(f"the same command again: {again[1]:.1f} s, at most {again[2][1].max():,.0f} MB")


def _watched(command: list[str]) -> tuple[dict, float, np.ndarray]:
    """What a job says in the end, its seconds, and its driver's megabytes: times and sizes."""
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    began, memory = time.time(), []
    while job.poll() is None:
        memory.append((time.time(), memory_mb(job.pid)))
        time.sleep(0.1)
    return json.loads(job.stdout.read()), time.time() - began, np.array(memory).T


def pictures() -> list[bytes]:
    with tempfile.TemporaryDirectory() as some:
        distinct = [cv2.imread(str(file)) for file in make_scans(Path(some, "a"), 64, 48, DISTINCT)]
    return [cv2.imencode(".jpg", scan[..., 0], [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes() for scan in distinct]


def make(folder: Path, pictures: list[bytes], count: int) -> None:
    for i in range(count):
        if i % FOLDER == 0:
            Path(folder, f"box-{i // FOLDER:04d}").mkdir(parents=True)
        with open(os.path.join(folder, f"box-{i // FOLDER:04d}", f"{i:06d}.jpg"), "wb") as file:
            file.write(pictures[i % len(pictures)])
    print(f"{count:,} photographs of {np.mean([len(data) for data in pictures]):,.0f} bytes", flush=True)


def make_shards(folder: Path, pictures: list[bytes], count: int, shards: int, kind: str) -> None:
    folder.mkdir()
    for shard in range(shards):
        numbers = range(count * shard // shards, count * (shard + 1) // shards)
        if kind == "parquet":
            images = [{"bytes": pictures[i % len(pictures)], "path": f"{i:09d}.jpg"} for i in numbers]
            pq.write_table(pa.table({"image": images, "number": [*numbers]}), folder / f"{shard:05d}.parquet")
            continue
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for i in numbers:
                member = tarfile.TarInfo(f"{i:09d}.jpg")
                member.size = len(pictures[i % len(pictures)])
                archive.addfile(member, io.BytesIO(pictures[i % len(pictures)]))
    size = np.mean([len(data) for data in pictures])
    print(f"{count:,} photographs of {size:,.0f} bytes in {shards:,} shards ({kind})", flush=True)


def _print(finished: np.ndarray, times: np.ndarray, memory: np.ndarray) -> None:
    table = Table()
    for heading in ("photographs", "per second", "driver, MB", ""):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("start", "", f"{memory[times < finished[0]].max():,.0f}", "")
    for part in np.array_split(finished, PARTS):
        rate = len(part) / (part[-1] - part[0])
        at = memory[(times >= part[0]) & (times <= part[-1])].max()
        done = np.searchsorted(finished, part[-1], "right")
        table.add_row(f"{done:,}", f"{rate:.0f}", f"{at:,.0f}", "#" * round(at / 25))
    Console(width=110).print(table)


if __name__ == "__main__":
    cyclopts.run(main)
