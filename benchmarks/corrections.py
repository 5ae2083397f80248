"""Does an archive's review teach its own weights? Colours that nobody could guess, before and after training on them.

    python -m benchmarks.corrections PHOTOS --archive basset_hound beagle --storage runs

The photographs of the classes that ``--archive`` names get other colours, their hue turned by 90 degrees: what is brown
is green there, as a regiment's coats may be. Half of them, by a hash of their names, are reviewed: once kept in their
true colours, once with hints alone, five true colours at random places. ``colorize train --reviewed`` learns from
either, and from the other classes' photographs as they are. Measured is the mean CIEDE2000 at vividness 0, of 64 x 64
pixels, on the archive's other half, and on other photographs that training has not seen.
"""

import hashlib
import tempfile
from pathlib import Path

import cv2
import cyclopts
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from skimage.color import deltaE_ciede2000

from colorize_core import color, photo, training
from colorize_core.colorizer import Colorizer
from jobs import train
from jobs.storage import files, listing
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.training.config import TrainConfig
from jobs.training.shards import class_of

SIDE, HINTS, RADIUS = 192, 5, 6.0  # pixels; places; pixels
MEASURED = 150  # other photographs, at most


def main(
    photographs: str,
    *,
    archive: list[str],
    storage: str | None = None,
    epochs: int = 6,
    size: int = 128,
    weight: float = 3,
):
    """Train on an archive's corrections, and measure on photographs that were not corrected.

    Args:
        photographs: Folder of colour photographs.
        archive: Classes whose photographs are the archive: names of folders, or what stands before a number.
        storage: Folder for the runs. Default: one that is deleted.
        epochs: Passes over the photographs.
        size: Side of the crops, in pixels.
        weight: How much more often than others a corrected photograph is seen.
    """
    with tempfile.TemporaryDirectory() as folder:
        storage = storage or f"{folder}/runs"
        corrected, held_out, ordinary, unseen = [], [], [], []
        for source in listing.list_sources(photographs):
            first = _of(source.path) < 0.5
            if class_of(source.path) in archive:
                (corrected if first else held_out).append(_turned(_truth(source.uri)))
            elif first:
                ordinary.append(source.uri)
            elif len(unseen) < MEASURED:
                unseen.append(_truth(source.uri))
        Path(folder, "ordinary.txt").write_text("\n".join(ordinary))
        rows = {"as they ship": _measured("default", held_out, unseen)}
        for name, kept in (("kept ones", True), ("hints alone", False)):
            output = f"{folder}/{name.replace(' ', '-')}"
            _review(output, corrected, kept)
            config = TrainConfig(
                f"{folder}/ordinary.txt", storage=storage, name=Path(output).name, weights="default", epochs=epochs,
                size=size, input_side=192, batch_size=16, learning_rate=3e-4, encoder_rate=0.3, split="0.97/0.03/0",
                reviewed=(output,), emphasis={"reviewed": weight},
            )  # fmt: skip
            train.main(config)
            rows[name] = _measured(f"{storage}/{config.name}/weights.safetensors", held_out, unseen)
    table = Table()
    for heading in ("weights", "the archive's other half", "other photographs"):
        table.add_column(heading, justify="left" if heading == "weights" else "right")
    for name, values in rows.items():
        table.add_row(name, *(f"{value:.2f}" for value in values))
    print(
        f"{len(corrected)} photographs corrected, {len(ordinary)} others to train on; CIEDE2000 on {len(held_out)} of "
        f"the archive, {len(unseen)} others"
    )
    Console(width=110).print(table)


def _of(path: str) -> float:
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:4]) / 2**32


def _truth(uri: str) -> np.ndarray:
    return training.centre_square(photo.read(files.read_bytes(uri)).rgb_8bit, SIDE)


def _turned(rgb: np.ndarray) -> np.ndarray:
    """The same lightness, and hues turned by 90 degrees."""
    a, b = np.moveaxis(color.rgb_to_lab(rgb)[..., 1:], 2, 0)
    return color.merge(color.grey_of(rgb), np.ascontiguousarray(np.stack([-b, a], 2)))


def _review(output: str, pictures: list[np.ndarray], kept: bool) -> None:
    """An OUTPUT as a reviewed job leaves it."""
    rows, rng = [], np.random.default_rng(0)
    for number, rgb in enumerate(pictures):
        uri = f"{output}/images/{number}.png"
        files.write_bytes(uri, cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes())
        row = {"id": f"{number:032x}", "output": uri, "status": "ok", "decision": "keep" if kept else None}
        places = rng.integers(8, SIDE - 8, (HINTS, 2)).tolist()
        hints = [
            {"x": x, "y": y, "color": "#{:02x}{:02x}{:02x}".format(*rgb[y, x].tolist()), "radius": RADIUS}
            for x, y in places
        ]
        rows.append(row | {"hints": None if kept else hints})
    Catalog(output).append(pa.Table.from_pylist(rows, SCHEMA))


def _measured(weights: str, *sets: list[np.ndarray]) -> list[float]:
    colorizer = Colorizer.load(weights)
    means = []
    for truths in sets:
        differences = []
        for truth in truths:
            grey = color.grey_of(truth)
            image = color.merge(grey, colorizer.predict([grey], 0.0)[0].chroma[0])
            labs = (color.rgb_to_lab(np.ascontiguousarray(rgb[::3, ::3])) for rgb in (truth, image))
            differences.append(deltaE_ciede2000(*labs).mean())
        means.append(float(np.mean(differences)))
    return means


if __name__ == "__main__":
    cyclopts.run(main)
