"""The network on a processor: OpenVINO, as colouring uses it, beside PyTorch, as it did and as training does.

    python -m benchmarks.engine ../shared/data/eval [--rounds 40]

One thread, the default weights, 192 x 192 and two photographs for each turn, the engines in turn: the network, its
probabilities and ab. Then, each in a process of its own, what a worker takes in memory once it has coloured one
photograph; how far the colours of photographs are from those of PyTorch in float32; and whether the same bytes come out
for a photograph alone, among 63 others, and on 16 threads at once.
"""

import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from typing import Annotated, get_args

import cv2
import cyclopts
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from colorize_core import photo
from colorize_core.colorizer import Colorizer
from colorize_core.engine import Precision
from colorize_core.openvino_engine import OpenVinoEngine
from colorize_core.pytorch_engine import PyTorchEngine
from colorize_core.weights_file import WeightsFile
from jobs.cli import OPTIONS
from jobs.storage import files, listing

ENGINES = {"PyTorch": PyTorchEngine, "OpenVINO": OpenVinoEngine}
LOAD = """
from jobs.coloring import pipeline
from colorize_core.colorizer import Colorizer
from colorize_core.distribution import Calibration
from colorize_core.{module} import {engine}
from colorize_core.weights_file import WeightsFile
file = WeightsFile.read()
Colorizer(file, Calibration(), {engine}(file, {arguments})).predict([pipeline.BLANK])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""
PROCESSES = {
    "PyTorch": {"module": "pytorch_engine", "engine": "PyTorchEngine", "arguments": "'cpu', 'fast'"},
    "OpenVINO": {"module": "openvino_engine", "engine": "OpenVinoEngine", "arguments": "'fast'"},
}


@dataclass
class EngineConfig:
    """Compare what runs the network on a processor."""

    photographs: str
    """Colour or grey photographs."""
    _: KW_ONLY
    rounds: int = 40
    """How often each engine takes its turn."""
    count: int = 300
    """Photographs whose colours are compared."""


def main(config: Annotated[EngineConfig, OPTIONS]) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    file = WeightsFile.read()
    calibration = Colorizer.from_file(file, "cpu").calibration
    colorizers = {
        (name, precision): Colorizer(file, calibration, make(file, *(["cpu"] * (name == "PyTorch")), precision))
        for precision in get_args(Precision)
        for name, make in ENGINES.items()
    }
    _speed(colorizers, config.rounds)
    _memory()
    sources = listing.list_sources(config.photographs)
    step = max(1, len(sources) // config.count)
    greys = [photo.read(files.read_bytes(source.uri)).grey for source in islice(sources, 0, None, step)][: config.count]
    _colours(colorizers, greys)
    _bytes(colorizers, greys[:64])


def _speed(colorizers: dict[tuple[str, str], Colorizer], rounds: int) -> None:
    lightness = np.random.default_rng(0).uniform(0, 100, (2, 1, 192, 192)).astype(np.float32)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in colorizers}
    for round in range(rounds + 3):
        for key, colorizer in colorizers.items():
            began = time.perf_counter()
            for few in np.split(lightness, 2 // colorizer.engine.batch):
                colorizer.engine.colours(few, None, 0.5, colorizer.calibration.amplification)
            if round >= 3:  # they are warm
                seconds[key].append((time.perf_counter() - began) / 2)
    table = Table(title=f"{rounds} rounds in turn, one thread", title_justify="left")
    for heading in ("", "precision", "ms a photograph, median", "lowest", "PyTorch's time / this: median", "of lowest"):
        table.add_column(heading, justify="right" if heading.endswith("t") and heading else "left")
    for (name, precision), each in seconds.items():
        other = seconds["PyTorch", precision]
        ratio = statistics.median(theirs / ours for theirs, ours in zip(other, each, strict=True))
        figures = f"{statistics.median(each) * 1e3:.2f}", f"{min(each) * 1e3:.2f}", f"{ratio:.2f}"
        engine = colorizers[name, precision].engine.name
        table.add_row(engine, precision, *figures, f"{min(other) / min(each):.2f}")
    Console(width=130).print(table)


def _memory() -> None:
    sizes = {}
    for name, parts in PROCESSES.items():
        done = subprocess.run([sys.executable, "-c", LOAD.format(**parts)], check=True, capture_output=True, text=True)
        sizes[name] = int(done.stdout.split()[-1]) * 1024
    told = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items())
    print(f"a worker that has coloured one photograph: {told}, ratio {sizes['OpenVINO'] / sizes['PyTorch']:.2f}")


def _colours(colorizers: dict[tuple[str, str], Colorizer], greys: list[np.ndarray]) -> None:
    found = {key: colorizer.predict(greys) for key, colorizer in colorizers.items()}
    truth = found["PyTorch", "float32"]
    for key, colourings in found.items():
        pairs = list(zip(colourings, truth, strict=True))
        apart = [np.linalg.norm(one.chroma[0] - other.chroma[0], axis=2).ravel() for one, other in pairs]
        each = np.concatenate(apart)
        sure = max(abs((one.confidence or 0) - (other.confidence or 0)) for one, other in pairs)
        print(
            f"{colorizers[key].engine.name} from PyTorch float32, {len(greys)} photographs, CIE units in ab: mean "
            f"{each.mean():.4f}, 99th percentile {np.quantile(each, 0.99):.4f}, largest {each.max():.4f}; confidence: "
            f"largest {sure:.4f}"
        )


def _bytes(colorizers: dict[tuple[str, str], Colorizer], greys: list[np.ndarray]) -> None:
    for (name, precision), colorizer in colorizers.items():
        if name != "OpenVINO":
            continue
        among = [colouring.chroma[0].tobytes() for colouring in colorizer.predict(greys)]
        alone = [colorizer.predict([grey])[0].chroma[0].tobytes() for grey in greys]
        with ThreadPoolExecutor(16) as threads:
            each = threads.map(colorizer.predict, [[grey] for grey in greys])
            at_once = [colourings[0].chroma[0].tobytes() for colourings in each]
        same = among == alone == at_once
        print(f"{precision}: {len(greys)} photographs alone, among the others, on 16 threads: same bytes: {same}")


if __name__ == "__main__":
    cyclopts.run(main)
