"""What it costs to find that nothing is to be done.

    python -m benchmarks.resume_cost [--inputs 250000 1000000]

Makes that many (empty) files in a temporary folder and the catalogue of a finished job over them, runs the real
`jobs.colorize` on both, without the review page, and prints its time and peak memory.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from colorize_core.weights_file import WeightsFile
from jobs import cli
from jobs.cli import OPTIONS
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.job import source_id
from jobs.storage import listing
from jobs.storage.catalog import SCHEMA, Catalog

FOLDER = 1000  # files in each folder

# Runs a command and says on its last line how long it took and how much memory it used at its peak.
_MEASURE = """
import resource, subprocess, sys, time
started = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)
print(done.stdout)
print(time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclass(kw_only=True)
class ResumeConfig:
    """Time and memory of finding that nothing is to be done."""

    inputs: Annotated[tuple[int, ...], cli.SEVERAL] = (100_000, 1_000_000)
    """Photographs in the finished job."""


def main(config: Annotated[ResumeConfig, OPTIONS] = ResumeConfig()) -> None:  # noqa: B008
    table = Table()
    for heading in ("inputs", "seconds", "peak MiB", "catalogue MB"):
        table.add_column(heading, justify="right")
    for inputs in (0, *config.inputs):
        with tempfile.TemporaryDirectory() as folder:
            scans, output = Path(folder, "scans"), Path(folder, "out")
            for i in range(max(1, inputs)):
                if i % FOLDER == 0:
                    Path(scans, f"box-{i // FOLDER:06d}").mkdir(parents=True)
                Path(scans, f"box-{i // FOLDER:06d}", f"photograph-{i:09d}.tif").touch()
            finish(str(scans), str(output))
            command = [sys.executable, "-m", "jobs.colorize", str(scans), str(output), "--no-review"]
            measured = subprocess.run([sys.executable, "-c", _MEASURE, *command], capture_output=True, text=True)
            *said, figures = measured.stdout.strip().splitlines()
            assert f"{max(1, inputs):,} already done" in " ".join(said), measured.stdout + measured.stderr
            seconds, peak = (float(figure) for figure in figures.split())
            size = sum(path.stat().st_size for path in Path(output, "catalog").iterdir())
            table.add_row(f"{max(1, inputs):,}", f"{seconds:.1f}", f"{peak / 1024:,.0f}", f"{size / 1e6:.1f}")
    Console(width=80).print(table)


def finish(scans: str, output: str) -> None:
    """The catalogue that a finished job over ``scans`` would leave."""
    files = listing.listing(scans)
    count = len(files)
    config = ColorizeConfig(source=scans, output=output)
    same = {
        "status": "ok", "model": WeightsFile.read().model, "settings": config.job.digest("recolor"),
        "kind": "grey", "provenance": True, "width": 4000, "height": 3000, "bits": 8, "pages": 1,
        "colorfulness": 20.0, "seconds": 1.0, "finished_at": int(time.time() * 1e6),
    }  # fmt: skip
    paths = [path.decode() for path in files["path"].to_pylist()]
    ids = [source_id(path) for path in paths]
    columns = {
        "id": ids,
        "source": [f"{scans}/{path}" for path in paths],
        "source_version": files["version"],
        "output": [f"{output}/images/{path}.png" for path in paths],
        "source_sha256": [2 * id for id in ids],  # as incompressible as real ones
        "output_sha256": [2 * id[::-1] for id in ids],
    }
    arrays = [
        pa.array(columns[field.name], field.type) if isinstance(columns.get(field.name), list)
        else columns[field.name].cast(field.type) if field.name in columns
        else pa.array([same.get(field.name)] * count, field.type)
        for field in SCHEMA
    ]  # fmt: skip
    Catalog(output).append(pa.table(arrays, schema=SCHEMA))


if __name__ == "__main__":
    cyclopts.run(main)
