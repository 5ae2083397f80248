"""How fast a shard is read and written anew without being coloured, and how much memory that takes.

    python -m benchmarks.shards [--megabytes 1000]

Makes shards of random bytes in a temporary folder: of photographs of 100 KB as WebDataset's writer and Hugging Face
Datasets store them, as one row group, and of scans of 200 MB. Each goes through a process of its own.
"""

import io
import multiprocessing
import os
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.cli import OPTIONS
from jobs.storage import shards

PHOTOGRAPH, SCAN = 100_000, 200_000_000  # bytes
SCHEMA = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("caption", pa.string())])


def photographs(total: int, each: int) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    return (rng.bytes(each) for _ in range(max(total // each, 1)))


def tar(path: Path, total: int, each: int) -> None:
    with tarfile.open(path, "w") as archive:
        for i, data in enumerate(photographs(total, each)):
            for name, content in ((f"{i:06}.jpg", data), (f"{i:06}.txt", b"a caption")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def parquet(path: Path, total: int, each: int, group: int) -> None:
    rows = [
        {"image": {"bytes": data, "path": f"{i:06}.jpg"}, "caption": "a caption"}
        for i, data in enumerate(photographs(total, each))
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=group)


def groups_of_100(path: Path, total: int, each: int) -> None:
    parquet(path, total, each, 100)


def one_group(path: Path, total: int, each: int) -> None:
    parquet(path, total, each, 1 << 20)


def groups_of_1(path: Path, total: int, each: int) -> None:
    parquet(path, total, each, 1)


CASES: list[tuple[str, Callable[[Path, int, int], None], int]] = [
    ("tar", tar, PHOTOGRAPH),
    ("Parquet, 100 rows a group", groups_of_100, PHOTOGRAPH),
    ("Parquet, one group", one_group, PHOTOGRAPH),
    ("tar", tar, SCAN),
    ("Parquet, a row a group", groups_of_1, SCAN),
]


def through(source: str, output: str, result) -> None:
    """Sends photographs, megabytes of the process before and at the highest, and seconds."""
    before, started, count = peak_mb(), time.monotonic(), 0
    with shards.open_shard(source) as shard, shards.ShardWriter(output, like=shard) as writer:
        for portion in shard:
            count += len(portion.photographs)
            writer.write(portion, [shards.Made(one.data, None, {"status": "ok"}) for one in portion.photographs])
            del portion
    result.send((count, before, peak_mb(), time.monotonic() - started))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB


@dataclass(kw_only=True)
class ShardsConfig:
    """Measure how fast shards are read and written anew, and in how much memory."""

    megabytes: int = 1000
    """Of each shard."""


def main(config: Annotated[ShardsConfig, OPTIONS] = ShardsConfig()) -> None:  # noqa: B008
    context = multiprocessing.get_context("spawn")
    print(f"{'shard':26} {'photographs':>19} {'MB':>6} {'MB/s':>6} {'MB before':>10} {'MB at most':>11}")
    for name, make, each in CASES:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "in")
            maker = context.Process(target=make, args=(source, config.megabytes * 1_000_000, each))
            maker.start()
            maker.join()
            size = os.path.getsize(source) / 1e6
            result, sent = context.Pipe(duplex=False)
            process = context.Process(target=through, args=(str(source), f"{folder}/out", sent))
            process.start()
            count, before, peak, seconds = result.recv()
            process.join()
            sized = f"{count:,} of {each / 1e6:g} MB"
            print(
                f"{name:26} {sized:>19} {size:6,.0f} {size / seconds:6,.0f} {before:10,.0f} {peak:11,.0f}", flush=True
            )


if __name__ == "__main__":
    cyclopts.run(main)
