"""How much memory a worker needs for a scan of 100 megapixels.

    python -m benchmarks.large_scan [--only grey.jpg]

Makes black-and-white scans of 10,000 x 10,000 pixels (a photograph enlarged, with the noise of a scanner) in a
temporary folder, colours each with the job's own worker code in a process of its own, and prints the highest resident
set of that process beside what it was once weights and libraries were loaded.
"""

import multiprocessing
import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import cyclopts
import imagecodecs
import numpy as np
import tifffile
from skimage import data

from colorize_core import photo
from jobs.cli import OPTIONS
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.worker import ColorizeActor
from jobs.storage import listing

SIDE = 10_000
CASES = [
    ("uncompressed.tif", "tiff"), ("uncompressed.tif", "png"),
    ("deflate.tif", "tiff"), ("deflate.tif", "png"),
    ("rgb.tif", "tiff"), ("grey.jpg", "jpeg"), ("grey.jpg", "png"),
]  # fmt: skip


def make_scans(folder: Path) -> None:
    """The files that CASES names: 16-bit TIFF, grey and as a tinted RGB master, and 8-bit JPEG."""
    rng = np.random.default_rng(0)
    small = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY).astype(np.float32) * 257
    scan = np.empty((SIDE, SIDE), np.uint16)
    for row, line in zip(scan, cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), strict=True):
        row[:] = (line + rng.normal(0, 300, SIDE)).clip(0, 65535)
    tifffile.imwrite(folder / "uncompressed.tif", scan, photometric="minisblack", rowsperstrip=64)
    options = {"compression": "zlib", "predictor": True, "rowsperstrip": 64}
    tifffile.imwrite(folder / "deflate.tif", scan, photometric="minisblack", **options)
    with tifffile.TiffWriter(folder / "rgb.tif") as writer:
        rows = (np.stack([row, row // 10 * 9, row // 10 * 7], axis=-1)[None] for row in scan)
        shape = (SIDE, SIDE, 3)
        writer.write(rows, shape=shape, dtype=np.uint16, photometric="rgb", rowsperstrip=1)
    (folder / "grey.jpg").write_bytes(imagecodecs.jpeg8_encode((scan >> 8).astype(np.uint8), level=90))


def colour(path: Path, format: str, result) -> None:
    """Sends megabytes before, megabytes at the highest, megabytes of output, and seconds."""
    with tempfile.TemporaryDirectory() as output:
        actor = ColorizeActor(ColorizeConfig(source=str(path), output=output, format=format).job)
        actor.colorizer.colorize(photo.Photo(np.zeros((64, 64), np.uint16)))  # the first time allocates what stays
        before, started = peak_mb(), time.monotonic()
        row = actor(listing.listing(str(path))).to_pylist()[0]
        assert row["status"] == "ok", row["error"]
        size = os.path.getsize(row["output"]) / 1e6
        result.send((before, peak_mb(), size, time.monotonic() - started))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB


@dataclass(kw_only=True)
class LargeScanConfig:
    """Measure the memory that a worker needs for scans of 100 megapixels."""

    only: str | None = None
    """One of the scans alone."""


def main(config: Annotated[LargeScanConfig, OPTIONS] = LargeScanConfig()) -> None:  # noqa: B008
    print(f"{SIDE:,} x {SIDE:,} pixels{'before, MB':>28} {'peak, MB':>9} {'output, MB':>11} {'seconds':>8}")
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        maker = fresh.Process(target=make_scans, args=(Path(folder),))
        maker.start()
        maker.join()
        for name, format in [case for case in CASES if config.only in (None, case[0])]:
            receiver, sender = fresh.Pipe(duplex=False)
            process = fresh.Process(target=colour, args=(Path(folder) / name, format, sender))
            process.start()
            sender.close()
            before, peak, size, seconds = receiver.recv()
            process.join()
            print(f"{f'{name} -> {format}':38} {before:10,.0f} {peak:9,.0f} {size:11,.0f} {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    cyclopts.run(main)
