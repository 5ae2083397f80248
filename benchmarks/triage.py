"""How often triage mistakes what a scan is, on photographs whose kind is known.

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

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Annotated, get_args

import cv2
import cyclopts
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from skimage import data

from colorize_core import color, photo, triage
from colorize_core.photo import Photo
from jobs import cli
from jobs.cli import OPTIONS
from jobs.storage import files, listing

KINDS = get_args(triage.Kind)
HUES = (70, 80, 95, 140, 230, 260, 300, 40)  # degrees in the ab plane: sepia, yellowed, green, cyanotype, selenium
SENTENCE = (
    "the archive has kept this letter since the house by the river was sold and the plates were lost dear sir we have "
    "the honour to inform you that no. 1912 of the register shows the street near the old church in summer"
)


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
        "grey": _scanned(np.repeat(grey[..., None], 3, axis=2) + rng.normal(0, 0.003, 3), rng),
        "tinted": _scanned(tinted(grey, rng), rng),
    }


def tinted(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey levels, (H, W) float32 in [0, 1], in shades of one hue: (H, W, 3) sRGB in [0, 1]."""
    lightness = color.lightness(np.rint(255 * grey).astype(np.uint8))
    tone = lightness / 100
    hue = np.deg2rad(rng.choice(HUES) + rng.normal(0, 8) + rng.normal(0, 12) * (2 * tone - 1))
    strongest = rng.uniform(0.3, 0.9)
    falling = 1 - rng.uniform(0.2, 1) * (tone - strongest) / (1 - strongest)
    chroma = rng.uniform(5, 28) * (0.3 + 0.7 * np.where(tone < strongest, tone / strongest, falling))
    chroma *= np.clip(1 + rng.uniform(0, 0.25) * _clouds(grey.shape, rng), 0.3, 2)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1).astype(np.float32)
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def _clouds(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Unevenness over a picture: (H, W), standard deviation about 1."""
    return cv2.resize(rng.normal(0, 1, (4, 4)), shape[::-1], interpolation=cv2.INTER_CUBIC)


def _scanned(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) in [0, 1] with noise and the traces of JPEG, uint8."""
    noisy = 255 * rgb + rng.normal(0, rng.uniform(0, 4), rgb.shape)
    bgr = np.clip(np.rint(noisy[..., ::-1]), 0, 255).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))])[1]
    return cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def pages(count: int) -> Iterator[np.ndarray]:
    """Text and line drawings, (H, W) or (H, W, 3) uint8; the first two are those of scikit-image."""
    yield data.page()
    yield data.text()
    for seed in range(2, count):
        rng = np.random.default_rng(seed)
        page = _drawing(rng) if rng.random() < 0.25 else _text(rng)
        page = page.rotate(rng.normal(0, 1.5), resample=Image.Resampling.BICUBIC, fillcolor=255)
        if rng.random() < 0.3:
            yield np.asarray(page.point(lambda level: 255 * (level > 127)))
            continue
        level = cv2.GaussianBlur(np.asarray(page, np.float32) / 255, (0, 0), rng.uniform(0.3, 1.2))
        ink, paper = rng.uniform(0.05, 0.35), rng.uniform(0.75, 1)
        level = (ink + (paper - ink) * level) * (1 + rng.uniform(0, 0.12) * _clouds(level.shape, rng))
        yellow = (1, rng.uniform(0.85, 1), rng.uniform(0.6, 0.9)) if rng.random() < 0.5 else (1, 1, 1)
        yield _scanned(level[..., None] * yellow, rng)


def _blank(rng: np.random.Generator) -> Image.Image:
    return Image.new("L", (int(rng.integers(400, 1000)), int(rng.integers(500, 1300))), 255)


def _text(rng: np.random.Generator) -> Image.Image:
    page = _blank(rng)
    draw = ImageDraw.Draw(page)
    width, height = page.size
    size = rng.uniform(0.012, 0.04) * height
    font = ImageFont.load_default(size)
    top, bottom = 0.06 * height, rng.choice([0.5, 0.95]) * height
    while top < bottom:
        line = " ".join(rng.choice(SENTENCE.split(), 30))
        fitting = int(len(line) * 0.84 * width / draw.textlength(line, font))
        draw.text((0.08 * width, top), line[: fitting // rng.choice([1, 1, 1, 3])], fill=0, font=font)
        top += 1.3 * size
    return page


def _drawing(rng: np.random.Generator) -> Image.Image:
    page = _blank(rng)
    draw = ImageDraw.Draw(page)
    for _ in range(rng.integers(25, 120)):
        (x, y), (right, below) = rng.uniform(0.05, 0.95, (2, 2)) * page.size
        stroke, radius = int(rng.integers(1, 4)), rng.uniform(0.02, 0.3) * page.width
        if rng.random() < 0.5:
            draw.line([x, y, right, below], fill=0, width=stroke)
        else:
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=0, width=stroke)
    return page


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
