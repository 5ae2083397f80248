"""How fast the colouring job is beside the usual ways to do it, and beside what nobody can avoid.

    python -m benchmarks.speed [--rounds 3] [--only "500 x 375"]

Contenders run in turn, several rounds, each on the same grey JPEG scans, cut, enlarged and given grain from photographs
that scikit-image ships:

* ``notebook``: Pillow, scikit-image, the network in float32 one photograph at a time, Pillow's PNG;
* ``script``: the same with OpenCV;
* ``codecs``: decoding the scans and encoding as many colour pixels as PNG, on every core; no network, no colour;
* ``network``: the network alone, on every core, on what it sees of them, in memory;
* ``pool``: the job's own worker in plain processes, one per core, without Ray;
* ``jobs.colorize``: the real command, its rate from the first photograph on.

The network is the same for all. Notebook and script see a part of the scans, since their rate does not change. The
last table says what the start costs: one photograph, from the command to its exit, against starting Ray, importing
PyTorch and loading the weights alone.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import cv2
import cyclopts
import numpy as np
import pyarrow as pa
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from colorize_core import color, encoding, photo
from colorize_core.colorizer import Colorizer, network_input
from jobs.cli import OPTIONS
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.pool import BATCH
from jobs.coloring.worker import ColorizeActor
from jobs.storage import listing

CORES = os.cpu_count() or 1
PICTURES = ("astronaut", "chelsea", "coffee", "rocket")
GRAIN = 4.0  # standard deviation, in levels of 255
# Width, height, how many scans, and how many of them notebook and script see.
KINDS = {"500 x 375": (500, 375, 2000, 60), "2 MP": (1632, 1224, 200, 16), "12 MP": (4000, 3000, 24, 4)}
BARE_START = "import ray, torch; ray.init('local', num_cpus=4, include_dashboard=False, log_to_driver=False); "
BARE_START += "from colorize_core.colorizer import Colorizer; Colorizer.load()"


@dataclass(kw_only=True)
class SpeedConfig:
    """Compare the colouring job with other ways."""

    rounds: int = 3
    """How often each contender runs."""
    only: str | None = None
    """One size of scans alone."""


def main(config: Annotated[SpeedConfig, OPTIONS] = SpeedConfig()) -> None:  # noqa: B008
    print(f"{CORES} cores, {config.rounds} rounds, in turn", flush=True)
    for name, (width, height, count, few) in KINDS.items():
        if config.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                files = make_scans(Path(folder, "scans"), width, height, count)
                rates = _rates(files, files[:few], config.rounds)
            _print(name, len(files), rates)
    with tempfile.TemporaryDirectory() as folder:
        files = make_scans(Path(folder, "scans"), 500, 375, 1)
        starts = []
        for round in range(config.rounds):
            out = str(Path(folder, f"out-{round}"))
            starts.append((_seconds(colorize, files, out), _seconds(_bare_start)))
    whole, bare = (statistics.median(seconds) for seconds in zip(*starts, strict=True))
    ratio = statistics.median(one / other for one, other in starts)
    print(f"one photograph: {whole:.1f} s, a bare start {bare:.1f} s, ratio {ratio:.2f}")


def make_scans(folder: Path, width: int, height: int, count: int) -> list[Path]:
    """Grey JPEG scans, no two alike, with grain."""
    rng, files = np.random.default_rng(0), []
    folder.mkdir()
    greys = [color.grey_of(getattr(data, name)()) for name in PICTURES]
    for i in range(count):
        grey = greys[i % len(greys)]
        part = rng.uniform(0.7, 1)
        h, w = (round(part * n) for n in grey.shape)
        top, left = (int(rng.integers(n - m + 1)) for n, m in zip(grey.shape, (h, w), strict=True))
        scan = cv2.resize(grey[top : top + h, left : left + w], (width, height), interpolation=cv2.INTER_CUBIC)
        grain = np.empty(scan.shape, np.int8)
        cv2.setRNGSeed(i)
        cv2.randn(grain, 0, GRAIN)
        files.append(folder / f"{i:05d}.jpg")
        cv2.imwrite(str(files[-1]), cv2.add(scan, grain, dtype=cv2.CV_8U), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return files


def _rates(files: list[Path], few: list[Path], rounds: int) -> dict[str, list[float]]:
    """Photographs per second of each contender in each round."""
    contenders: dict[str, Callable[[str], float]] = {
        "notebook": lambda out: alone(notebook, few, out),
        "script": lambda out: alone(script, few, out),
        "codecs": lambda out: on_all_cores(codecs, files, out),
        "network": lambda out: on_all_cores(_network, files, out),
        "pool": lambda out: on_all_cores(colour_in_pool, files, out),
        "jobs.colorize": lambda out: colorize(files, out)["photographs_per_second"],
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for round in range(rounds):
        for name, measure in contenders.items():
            with tempfile.TemporaryDirectory() as out:
                rates[name].append(measure(out))
            print(f"round {round + 1}: {name} {rates[name][-1]:.2f}/s", flush=True)
    return rates


# Each contender is a generator in a process of its own: it yields once it is warm, and then with every few photographs.
Contender = Callable[[list[Path], str], Iterator[int | None]]


def alone(contender: Contender, files: list[Path], out: str) -> float:
    """The same of one process that may use every core."""
    return _run(contender, [files], out)


def on_all_cores(contender: Contender, files: list[Path], out: str) -> float:
    """Photographs per second of one process per core, once they are warm; their outputs go to the folder ``out``."""
    return _run(contender, [files[i::CORES] for i in range(CORES)], out)


def _run(contender: Contender, shares: list[list[Path]], out: str) -> float:
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(len(shares) + 1), context.SimpleQueue()
    processes = [context.Process(target=_work, args=(contender, share, out, barrier, times)) for share in shares]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.monotonic()
    ends = [times.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(map(len, shares)) / (max(ends) - started)


def _work(contender: Contender, files: list[Path], out: str, barrier, times) -> None:
    steps = contender(files, out)
    next(steps)
    barrier.wait()
    for _ in steps:
        pass
    times.put(time.monotonic())  # the same clock in every process


@cache
def _float32_network():
    """The network as it is, in the usual memory format, and the side that it likes."""
    import torch

    from colorize_core import network
    from colorize_core.weights_file import WeightsFile

    file = WeightsFile.read()
    model = network.of_file(file)

    def chroma(lightness: np.ndarray) -> np.ndarray:
        """L*, (side, side), to ab, (h, w, 2)."""
        with torch.no_grad():
            ab = model.chroma(model(torch.from_numpy(lightness.astype(np.float32))[None, None]))
        return ab[0].permute(1, 2, 0).numpy()

    return chroma, file.config["input_side"]


def notebook(files: list[Path], out: str) -> Iterator[None]:
    from skimage.color import lab2rgb, rgb2lab
    from skimage.transform import resize

    chroma, side = _float32_network()

    def colour(file: Path) -> None:
        lightness = rgb2lab(np.asarray(Image.open(file).convert("RGB")))[..., 0]
        ab = resize(chroma(resize(lightness, (side, side))), lightness.shape)
        rgb = lab2rgb(np.dstack([lightness, ab]))
        Image.fromarray((255 * rgb).astype(np.uint8)).save(f"{out}/{file.stem}.png")

    colour(files[0])
    yield
    for file in files:
        colour(file)


def script(files: list[Path], out: str) -> Iterator[None]:
    chroma, side = _float32_network()

    def colour(file: Path) -> None:
        bgr = cv2.imread(str(file)).astype(np.float32) / 255
        lightness = cv2.cvtColor(bgr, cv2.COLOR_BGR2Lab)[..., 0]
        ab = cv2.resize(chroma(cv2.resize(lightness, (side, side))), lightness.shape[::-1])
        bgr = cv2.cvtColor(np.dstack([lightness, ab]), cv2.COLOR_Lab2BGR)
        cv2.imwrite(f"{out}/{file.stem}.png", np.rint(255 * bgr).clip(0, 255).astype(np.uint8))

    colour(files[0])
    yield
    for file in files:
        colour(file)


def codecs(files: list[Path], out: str) -> Iterator[None]:
    cv2.setNumThreads(1)
    colorizer = Colorizer.load(device="cpu")
    coloured = [colorizer.colorize(photo.read(file.read_bytes())) for file in files[: len(PICTURES)]]
    yield
    for i, file in enumerate(files):
        photo.read(file.read_bytes())
        Path(out, f"{file.stem}.png").write_bytes(encoding.encode(coloured[i % len(coloured)], "png"))


def _network(files: list[Path], out: str) -> Iterator[None]:
    cv2.setNumThreads(1)
    colorizer = Colorizer.load(device="cpu")
    greys = [photo.read(file.read_bytes()).grey for file in files[: len(PICTURES)]]
    inputs = [network_input(grey, colorizer.input_side)[None, None] for grey in greys]
    colorizer.engine.colours(inputs[0], None, 0.5, 3.0)
    yield
    for i in range(len(files)):
        colorizer.engine.colours(inputs[i % len(inputs)], None, 0.5, 3.0)


def colour_in_pool(files: list[Path], out: str) -> Iterator[None]:
    actor = ColorizeActor(ColorizeConfig(source="", output=f"{out}/colour").job)
    rows = [
        {"uri": str(file).encode(), "path": file.name.encode(), "version": "", "bytes": file.stat().st_size}
        for file in files
    ]
    batches = [pa.Table.from_pylist(rows[i : i + BATCH], listing.LISTING) for i in range(0, len(rows), BATCH)]
    actor(batches[0].slice(0, 1))
    yield
    for batch in batches:
        actor(batch)
        yield


def colorize(files: list[Path], out: str, *options: str) -> dict:
    """The real command over the folder that the files lie in; what it says in the end."""
    command = [sys.executable, "-m", "jobs.colorize", str(files[0].parent), out, "--json", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout)


def _seconds(action: Callable, *arguments) -> float:
    started = time.monotonic()
    action(*arguments)
    return time.monotonic() - started


def _bare_start() -> None:
    subprocess.run([sys.executable, "-c", BARE_START], check=True, stderr=subprocess.DEVNULL)


def _print(name: str, count: int, rates: dict[str, list[float]]) -> None:
    table = Table(title=f"{count:,} scans of {name}", title_justify="left")
    for heading in ("", "photographs/s, median", "jobs.colorize to this: median", "lowest", "highest"):
        table.add_column(heading, justify="right" if heading else "left")
    rates["slower of codecs and network"] = [min(pair) for pair in zip(rates["codecs"], rates["network"], strict=True)]
    for contender, values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["jobs.colorize"], values, strict=True)]
        columns = (statistics.median(ratios), min(ratios), max(ratios))
        table.add_row(contender, f"{statistics.median(values):.2f}", *(f"{ratio:.2f}" for ratio in columns))
    Console(width=110).print(table)


if __name__ == "__main__":
    cyclopts.run(main)
