"""How fast jobs.train is beside a plain PyTorch loop that has its data, decoded and augmented, in memory.

    python -m benchmarks.training_speed

The network, batch size, precision and photographs are the same. "plain" is one process that uses every core; jobs.train
runs with one worker that does so, and with one worker per core; each run is compared with the mean of a plain loop
before and one after it. The speed of jobs.train is what it writes into metrics.jsonl from the second epoch on: reading,
decoding, augmentation and steps, but not its start, nor validation and checkpoints. The photographs are cut from
pictures that scikit-image ships.
"""

import contextlib
import io
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import cyclopts
import torch
from rich.console import Console
from rich.table import Table
from skimage import data

from colorize_core import network, training
from jobs import cli, cluster, train
from jobs.cli import OPTIONS
from jobs.training import logbook
from jobs.training.config import TrainConfig


@dataclass(kw_only=True, slots=True)
class SpeedConfig:
    """Measure the speed of training."""

    size: int = 128
    """Side of the crops, in pixels."""
    batch_size: int = 32
    photographs: int = 384
    """In each epoch."""
    rounds: int = 3
    """How often each contender runs."""


def main(config: Annotated[SpeedConfig, OPTIONS] = SpeedConfig()) -> int:  # noqa: B008
    with tempfile.TemporaryDirectory() as folder:
        source, storage = Path(folder, "photographs"), Path(folder, "runs")
        images = _write_photographs(source, config)
        cores = os.cpu_count() or 1
        cluster.start()
        plain = f"plain loop, {cores} threads"
        contenders = {f"jobs.train, 1 worker, {cores} threads": 1, f"jobs.train, {cores} one-thread workers": cores}
        rates: dict[str, list[float]] = {plain: [_plain(images, config)]} | {name: [] for name in contenders}
        ratios: dict[str, list[float]] = {name: [] for name in contenders}
        for round in range(config.rounds):
            for name, workers in contenders.items():
                rates[name].append(_train(source, storage, workers, config))
                rates[plain].append(_plain(images, config))
                ratios[name].append(rates[name][-1] / statistics.mean(rates[plain][-2:]))
                print(
                    f"round {round + 1}/{config.rounds}: {name}: {ratios[name][-1]:.2f} of the plain loop", flush=True
                )
    _print(rates, ratios, config)
    return cli.OK


def _write_photographs(folder: Path, config: SpeedConfig) -> list[bytes]:
    pictures = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    side, images = training.prepared_side(config.size), []
    folder.mkdir()
    for i in range(config.photographs + 16):
        picture = pictures[i % 4]
        height, width = picture.shape[:2]
        top, left = (7 * i) % (height - side), (11 * i) % (width - side)
        crop = cv2.cvtColor(picture[top : top + side, left : left + side], cv2.COLOR_RGB2BGR)
        images.append(cv2.imencode(".jpg", crop)[1].tobytes())
        (folder / f"{i:04d}.jpg").write_bytes(images[-1])
    return images


def _plain(images: list[bytes], config: SpeedConfig) -> float:
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    state = training.Training(network.build("resnet18"), training.Recipe(), 1000)
    lightness, ab = training.examples(images[: config.photographs], config.size)
    batches = list(zip(lightness.split(config.batch_size), ab.split(config.batch_size), strict=True))
    for batch in batches[:2]:
        state(*batch)
    started = time.monotonic()
    for batch in batches:
        state(*batch).item()
    return config.photographs / (time.monotonic() - started)


def _train(source: Path, storage: Path, workers: int, config: SpeedConfig) -> float:
    name = f"{workers}-{time.time_ns()}"
    options = {
        "network": "resnet18",
        "min_chroma": 0.0,
        "size": config.size,
        "batch_size": config.batch_size,
        "epochs": 3,
        "workers": str(workers),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        train.main(TrainConfig(source=str(source), storage=str(storage), name=name, **options))
    rows = [row for row in logbook.read(str(storage / name)) if "loss" in row]
    return statistics.median(row["images_per_second"] for row in rows[1:])


def _print(rates: dict[str, list[float]], ratios: dict[str, list[float]], config: SpeedConfig) -> None:
    table = Table()
    for heading in ("", "photographs/s, median", "of the plain loop: median", "lowest", "highest"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, values in rates.items():
        of_plain = ratios.get(name, [1.0])
        columns = (statistics.median(of_plain), min(of_plain), max(of_plain))
        table.add_row(name, f"{statistics.median(values):.1f}", *(f"{ratio:.2f}" for ratio in columns))
    print(f"resnet18, {config.size} x {config.size}, batches of {config.batch_size}, {config.rounds} rounds")
    Console(width=110).print(table)


if __name__ == "__main__":
    cli.run(partial(cyclopts.run, main))
