"""Whether a worker's memory grows with the set it trains on.

    python -m benchmarks.training_memory PHOTOS

Trains for an epoch on all of the photographs and then on a tenth of them, and compares the peak memory (resident set)
of the worker's process, as jobs.train writes it into metrics.jsonl.
"""

import tempfile
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Annotated

import cyclopts

from jobs import cli, train
from jobs.cli import OPTIONS
from jobs.training import logbook, shards
from jobs.training.config import TrainConfig


@dataclass(slots=True)
class MemoryConfig:
    """Measure the memory of training."""

    source: str
    """Colour photographs, as for jobs.train."""
    _: KW_ONLY
    size: int = 64
    """Side of the crops, in pixels."""


def main(config: Annotated[MemoryConfig, OPTIONS]) -> int:
    peaks, photographs = {}, 0
    with tempfile.TemporaryDirectory() as storage:
        for share in ("all", "a tenth"):
            split = f"{photographs // 10}/32/0" if photographs else "0.999/0.001/0"
            options = {
                "storage": storage,
                "name": share.replace(" ", "-"),
                "epochs": 1,
                "workers": "1",
                "network": "resnet18",
            }
            train.main(TrainConfig(source=config.source, split=split, size=config.size, **options))
            run = f"{storage}/{options['name']}"
            photographs = shards.read(f"{run}/data").counts["train"]
            peaks[share] = logbook.read(run)[-1]["memory_mb"]
            print(f"{share}: {photographs:,} photographs, peak {peaks[share]:,.0f} MB", flush=True)
    print(f"peak memory with all of the photographs / with a tenth: {peaks['all'] / peaks['a tenth']:.3f}")
    return cli.OK


if __name__ == "__main__":
    cli.run(partial(cyclopts.run, main))
