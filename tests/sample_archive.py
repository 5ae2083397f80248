"""A small archive of black-and-white photographs, made from pictures that scikit-image ships.

    python -m tests.sample_archive FOLDER

writes FOLDER/scans (8-bit JPEG and PNG, a 16-bit TIFF, a sideways scan with EXIF, one truncated file, a stray
text file) and FOLDER/originals (the colour pictures that the scans were made from).
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import ExifTags, Image
from skimage import data

from colorize_core import color

COLOUR = ("astronaut", "chelsea", "coffee", "rocket")


def write(folder: Path) -> None:
    scans, originals = folder / "scans", folder / "originals"
    for path in (scans / "portraits", scans / "places", originals):
        path.mkdir(parents=True, exist_ok=True)
    colour = {name: getattr(data, name)() for name in COLOUR}
    colour["motorcycle"] = np.asarray(Image.open(Path(data.__file__).parent / "motorcycle_left.png").convert("RGB"))
    for name, rgb in colour.items():
        Image.fromarray(rgb).save(originals / f"{name}.png")
    grey = {name: color.grey_of(rgb) for name, rgb in colour.items()}

    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = "1969:07:20 20:17:40"
    Image.fromarray(grey["astronaut"]).save(scans / "portraits/astronaut.jpg", quality=95, exif=exif)
    exif[ExifTags.Base.Orientation] = 6  # stored lying on its left side
    sideways = Image.fromarray(np.ascontiguousarray(np.rot90(grey["chelsea"])))
    sideways.save(scans / "portraits/chelsea.jpg", quality=95, exif=exif)
    Image.fromarray(data.camera()).save(scans / "portraits/cameraman.png")
    deep = color.grey_of(colour["coffee"].astype(np.uint16) * 257)
    tifffile.imwrite(scans / "coffee-16-bit.tif", deep, resolution=(600, 600), resolutionunit="INCH")
    Image.fromarray(grey["rocket"]).save(scans / "places/rocket.jpg", quality=95)
    Image.fromarray(grey["motorcycle"]).save(scans / "places/motorcycle.png")
    whole = (scans / "places/rocket.jpg").read_bytes()
    (scans / "places/rocket-cut-short.jpg").write_bytes(whole[: len(whole) // 2])
    (scans / "notes.txt").write_text("Scanned in 1998.\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
