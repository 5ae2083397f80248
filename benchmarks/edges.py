"""Does colour bleed over edges? Enlarging chroma along the edges of luminance, beside plain bilinear enlargement.

    python -m benchmarks.edges PHOTOS [--weights default]

Each photograph's central 256 x 256 pixels are coloured with chroma of 48 x 48, once with the true chroma, averaged, so
that nothing but the enlargement errs, and once with the network's. Measured is the distance from the truth in ab near
the edges of the truth's colours (``metrics.near_edges``), and over all pixels.
"""

import cv2
import cyclopts
import numpy as np
from rich.console import Console
from rich.table import Table

from colorize_core import color, metrics, photo, training
from colorize_core.colorizer import Colorizer
from jobs.storage import files, listing

SIDE, SMALL = 256, 48  # pixels


def main(photographs: str, *, weights: str = "default"):
    """Compare two ways to enlarge chroma.

    Args:
        photographs: Folder, file or glob of colour photographs.
        weights: `default`, the name of weights that ship, or a path or URI.
    """
    colorizer = Colorizer.load(weights)
    errors: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for source in listing.list_sources(photographs):
        truth = training.centre_square(photo.read(files.read_bytes(source.uri)).rgb_8bit, SIDE)
        grey, true = color.grey_of(truth), color.rgb_to_lab(truth)[..., 1:]
        chroma = {
            "the true colours": cv2.resize(true, (SMALL, SMALL), interpolation=cv2.INTER_AREA),
            weights: colorizer.predict([grey])[0].chroma[0],
        }
        for colors, small in chroma.items():
            large = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
            for way, ab in (("bilinear", large), ("along edges", small)):
                image = color.merge(grey, ab)
                everywhere = np.linalg.norm(color.rgb_to_lab(image)[..., 1:] - true, axis=2).mean()
                errors.setdefault((colors, way), []).append((metrics.near_edges(truth, image), everywhere))
    table = Table()
    for heading in ("colours", "enlarged", "error near edges", "error everywhere"):
        table.add_column(heading, justify="left" if heading in ("colours", "enlarged") else "right")
    for (colors, way), values in errors.items():
        near, everywhere = np.mean(values, axis=0)
        table.add_row(colors, way, f"{near:.3f}", f"{everywhere:.3f}")
    print(f"{len(values)} photographs, {SIDE} x {SIDE}")
    Console(width=110).print(table)


if __name__ == "__main__":
    cyclopts.run(main)
