"""What it takes to list very many photographs and to find out that all of them are to be done.

    python -m benchmarks.listing [--inputs 1000000 10000000]

The photographs are names on a synthetic file system, which makes them up when it is asked. The catalogue is empty. Each
number of them has a process of its own, whose memory is what it has for itself, without its libraries' files.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import cyclopts
import fsspec
from rich.console import Console
from rich.table import Table

from benchmarks.scale import memory_mb
from jobs import cli
from jobs.cli import OPTIONS
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.inputs import Inputs
from jobs.coloring.sharded import work_over
from jobs.storage.output import Place

FOLDER = 1000  # photographs in each folder


@dataclass(kw_only=True)
class ListingConfig:
    """Time and memory of listing very many photographs."""

    inputs: Annotated[tuple[int, ...], cli.SEVERAL] = (1_000_000, 10_000_000)
    """Photographs in the archive."""


class MadeUp(fsspec.AbstractFileSystem):
    """``made-up://N`` holds N photographs, as ``made-up://N/box-0000012/scan-000000012345.tif``."""

    protocol = "made-up"

    def ls(self, path: str, detail: bool = True, **kwargs) -> list:
        entries = list(self._entries(self._strip_protocol(path)))
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **kwargs) -> dict:
        path = self._strip_protocol(path)
        return {"name": path, "type": "file" if path.endswith(".tif") else "directory", "size": 0}

    def _entries(self, path: str) -> Iterator[dict]:
        total, _, box = path.partition("/")
        if not box:
            for number in range(0, int(total), FOLDER):
                yield {"name": f"{path}/box-{number // FOLDER:07d}", "type": "directory", "size": 0}
            return
        begin = int(box.removeprefix("box-")) * FOLDER
        for number in range(begin, min(begin + FOLDER, int(total))):
            name = f"{path}/scan-{number:012d}.tif"
            yield {"name": name, "type": "file", "size": 20_000_000 + number, "mtime": 1.7e9 + number}


fsspec.register_implementation("made-up", MadeUp)


def main(config: Annotated[ListingConfig, OPTIONS] = ListingConfig()) -> None:  # noqa: B008
    table = Table()
    for heading in ("inputs", "parts", "seconds", "driver, MB", "to the first"):
        table.add_column(heading, justify="right")
    first = None
    for count in config.inputs:
        code = f"from benchmarks import listing; listing.find_out({count})"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started, peak = time.monotonic(), 0.0
        while process.poll() is None:
            peak = max(peak, memory_mb(process.pid))
            time.sleep(0.02)
        found, parts = process.communicate()[0].split()
        assert not process.returncode and int(found) == count, f"{found} of {count:,} are to be done"
        seconds, first = time.monotonic() - started, first or peak
        table.add_row(f"{count:,}", parts, f"{seconds:.1f}", f"{peak:,.0f}", f"{peak / first:.2f}")
    Console(width=80).print(table)


def find_out(count: int) -> None:
    """As the job does, up to the first photograph. Prints how many are to be done, and in how many parts."""
    with tempfile.TemporaryDirectory() as folder:
        config = ColorizeConfig(source=f"made-up://{count}", output=os.path.join(folder, "out"))
        place = Place(config.output)
        with Inputs(config.source, config.output, config.archive_part, place.folds_names) as inputs:
            wanted = (len(work_over(inputs.share(part), config.job, config, place).wanted()) for part in inputs.parts)
            print(sum(wanted), len(inputs.parts))


if __name__ == "__main__":
    cyclopts.run(main)
