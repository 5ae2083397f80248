"""How often triage mistakes what a scan is, on photographs whose kind is known, and how long a large scan takes.

    python -m benchmarks.triage PHOTOGRAPHS --others EVAL PETS --historic SCANS

PHOTOGRAPHS are colour photographs, in files or Parquet shards. Every other one, by a hash of its name, only serves for
choosing thresholds, which are printed beside those in the code; the rest, and the sets in --others, are what the tables
are made of. Each photograph is judged as it is, and as what is made of it:

* grey: its grey scan with noise and a slight cast, as a JPEG of quality 50 to 95;
* tinted: that with sepia, cyanotype, selenium and other hues, which drift between shadows and highlights and fade
  unevenly over the picture.

Text are pages in Pillow's own font and line drawings, bilevel or scanned askew with shadows and noise, half of them on
yellowed paper, and the two pages that scikit-image ships. Photographs whose mean absolute ab is below 1 CIE unit are
grey files among the colour ones and left out. Sepia and toned ones among them are not, nor are pages: they count as
mistakes. Of the scans in --historic no truth is known: what they are found to be is printed, by name where
it is neither grey nor tinted.
"""

import time
import zlib
from collections import Counter
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Annotated, get_args

import cv2
import cyclopts
import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from skimage import data

from colorize_core import color, photo, triage
from colorize_core.photo import Photo
from jobs import cli
from jobs.cli import OPTIONS
from jobs.storage import files, listing
from tests.pictures import pages, scanned, tinted

KINDS = get_args(triage.Kind)


@dataclass(slots=True)
class TriageConfig:
    """Measure how often triage is wrong."""

    source: str
    """Colour photographs, or Parquet shards of them, to choose thresholds on and to report on."""
    _: KW_ONLY
    others: Annotated[tuple[str, ...], cli.SEVERAL] = ()
    """More colour photographs, to report on alone."""
    historic: str | None = None
    """Real scans of black-and-white photographs."""
    photographs: int = 800
    """At most, of each set, drawn by the hash of their names."""
    pages: int = 150


def main(config: Annotated[TriageConfig, OPTIONS]) -> int:
    cv2.setNumThreads(1)
    names = _photographs(config.source)
    choosing = [name for name in names if name[0] % 2 == 0][: config.photographs]
    reported = {config.source: [name for name in names if name[0] % 2][: config.photographs]}
    reported |= {other: _photographs(other)[: config.photographs] for other in config.others}

    _choose(choosing)
    for source, photographs in reported.items():
        found, grey = {}, 0
        for key, _, encoded in photographs:
            rgb = photo.read(encoded).rgb_8bit
            if np.abs(color.rgb_to_lab(rgb)[..., 1:]).mean() < 1:
                grey += 1
                continue
            for true, pixels in made_of(rgb, np.random.default_rng(key)).items():
                found.setdefault(true, Counter())[triage.kind(Photo(pixels))] += 1
        _print(f"{source}: {len(photographs) - grey:,} photographs ({grey} grey files left out)", found)
    found = {"text": Counter(triage.kind(Photo(page)) for page in pages(config.pages))}
    _print("pages", found)
    print(f"a 16-bit scan of 24 megapixels takes {_seconds_of_a_large_scan():.3f} s of processor time\n", flush=True)
    if config.historic:
        scans = {file.path: photo.read(files.read_bytes(file.uri)) for file in listing.list_sources(config.historic)}
        kinds = {path: triage.kind(scan) for path, scan in scans.items()}
        _print(config.historic, {"scans": Counter(kinds.values())})
        for path, kind in kinds.items():
            if kind not in ("grey", "tinted"):
                print(f"{kind}: {path}")
    return cli.OK


def _photographs(source: str) -> list[tuple[int, str, bytes]]:
    """Hash of the name, name, and encoded bytes of each photograph, in the order of the hashes."""
    found = []
    for file in listing.list_sources(source):
        if file.uri.endswith(".parquet"):
            table = pq.read_table(file.uri)
            images = table["image"].to_pylist()
            names = table["path"].to_pylist() if "path" in table.column_names else range(len(images))
            photographs = [(str(name), image) for name, image in zip(names, images, strict=True)]
        else:
            photographs = [(file.path, files.read_bytes(file.uri))]
        found += [(zlib.crc32(name.encode()), name, encoded) for name, encoded in photographs]
    return sorted(found)


def made_of(rgb: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """True kind -> (H, W, 3) uint8, of a colour photograph (H, W, 3) uint8."""
    grey = color.grey_of(rgb) / np.float32(255)
    return {
        "color": rgb,
        "grey": scanned(np.repeat(grey[..., None], 3, axis=2) + rng.normal(0, 0.003, 3), rng),
        "tinted": scanned(tinted(grey, rng), rng),
    }


def _seconds_of_a_large_scan() -> float:
    large = Photo(np.repeat(np.repeat(data.coffee().astype(np.uint16) * 257, 10, axis=0), 10, axis=1))
    began = time.process_time()
    triage.kind(large)
    return time.process_time() - began


def _choose(photographs: list[tuple[int, str, bytes]]) -> None:
    """Print the thresholds that fit these photographs best, beside those that triage has."""
    measures = {}
    for key, _, encoded in photographs:
        for true, pixels in made_of(photo.read(encoded).rgb_8bit, np.random.default_rng(key)).items():
            measures.setdefault(true, []).append(triage.hue_deviation(color.rgb_to_lab(triage.reduced(pixels))))
    measures = {true: np.array(rows) for true, rows in measures.items()}
    deviations = np.linspace(0, 6, 121)
    wrong = [(measures["color"][:, 0] <= d).mean() + (measures["tinted"][:, 0] > d).mean() for d in deviations]
    neutral = np.quantile(measures["grey"][:, 1], 0.99)
    print(f"chosen on {len(photographs):,} photographs of the first set | in the code")
    print(f"deviation with the fewest mistakes: {deviations[np.argmin(wrong)]:.2f} | {triage.MAX_DEVIATION}")
    print(f"mean chroma of 99 % of greys: {neutral:.2f} | {triage.MAX_NEUTRAL}\n", flush=True)


def _print(title: str, found: dict[str, Counter]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("found ->", *KINDS):
        table.add_column(heading, justify="right" if heading in KINDS else "left")
    for true, counts in found.items():
        cells = [f"{counts[kind]:,}  {counts[kind] / counts.total():6.1%}" for kind in KINDS]
        table.add_row(true, *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    cli.run(partial(cyclopts.run, main))
