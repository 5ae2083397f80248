"""What colour JPEGs beside a scan's own luma keep, cost and show.

    python -m benchmarks.jpeg [--only exactness] [--photographs FOLDER ...] [--size "12 MP"]

* ``exactness``: whether an output decoded as grey is its scan decoded as grey, by libjpeg, at every pixel; and how many
  scans come back byte for byte, or as luma, by encoder;
* ``damage``: of scans with bytes changed or cut off, how many Pillow and we decode, and whether to the same grey;
* ``lightness``: how far what is shown is from the L* of the scan, which a PNG has exactly, beside a plain encoder's;
* ``speed``: the whole job, JPEG to JPEG and JPEG to PNG, beside decoding and encoding alone and the usual ways, in
  turn; and how many bytes it writes for each that it reads;
* ``memory``: of a worker, for a JPEG of 100 megapixels.

Scans are made of photographs that scikit-image ships, and taken from the folders given.
"""

import io
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import cv2
import cyclopts
import imagecodecs
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import color as oracle
from skimage import data

from benchmarks import large_scan, speed
from colorize_core import color, formats, recipe, spliced
from colorize_core.colorizer import Colorizer
from jobs.cli import OPTIONS, SEVERAL
from tests import jpegs

Part = Literal["exactness", "damage", "lightness", "speed", "memory"]
DAMAGED = 2000
VIVIDNESS = (0.7, 1.0)
SIZES = {"500 x 375": (500, 375, 300, 30), "12 MP": (4000, 3000, 24, 0)}
"""Width, height, how many scans, and how many of them the notebook sees."""


@dataclass(kw_only=True)
class JpegConfig:
    """Measure colour JPEGs beside a scan's own luma."""

    only: Part | None = None
    """One part alone."""
    photographs: Annotated[list[str], SEVERAL] = field(default_factory=list)
    """Folders with more JPEG scans, for exactness and damage."""
    rounds: int = 2
    """How often each contender of the speed runs."""
    size: str | None = None
    """One size of its scans alone."""


def main(config: Annotated[JpegConfig, OPTIONS] = JpegConfig()) -> None:  # noqa: B008
    parts: dict[Part, Callable[[], None]] = {
        "exactness": lambda: exactness(config.photographs),
        "damage": lambda: damage(config.photographs),
        "lightness": lightness,
        "speed": lambda: speeds(config.rounds, config.size),
        "memory": lambda: large_scan.main(large_scan.LargeScanConfig(only="grey.jpg")),
    }
    for name, part in parts.items():
        if config.only in (None, name):
            print(f"\n{name}", flush=True)
            part()


def exactness(folders: list[str]) -> None:
    counts: dict[tuple[str, str], Counter[str]] = {}
    equal = total = 0
    scans = [*jpegs.made(), *_given(folders)]
    for made in scans:
        count = counts.setdefault((made.encoder, f"{made.kind}, {made.way}"), Counter())
        if (photograph := _coloured(made.data)) is None:
            count["not taken"] += 1
            continue
        same = jpegs.grey(photograph) == jpegs.grey(made.data)
        equal, total = equal + int(same.sum()), total + same.size
        scan, is_file = recipe.restore(photograph)
        assert scan == made.data or not is_file
        assert np.array_equal(jpegs.grey(scan), jpegs.grey(made.data))
        count["file" if is_file else "luma"] += 1
    print(f"{len(scans):,} scans, {total:,} pixels; of them equal, decoded as grey: {equal / total:.6f}")
    columns = ("file", "luma", "not taken")
    print(f"{'scans that come back as':52}" + "".join(f"{name:>11}" for name in columns))
    for (encoder, what), count in sorted(counts.items()):
        print(f"{encoder:14} {what:37}" + "".join(f"{count[name]:11}" for name in columns))


def damage(folders: list[str]) -> None:
    """As a worker goes about it: what ``spliced`` does not take is decoded by Pillow, which may refuse it."""
    rng = np.random.default_rng(0)
    scans = [made.data for made in [*jpegs.made(), *_given(folders)] if len(made.data) > 1500]
    count: Counter[str] = Counter()
    for i in range(DAMAGED):
        content = bytearray(scans[i % len(scans)])
        if i % 4 == 0:
            del content[int(rng.integers(2, len(content))) :]
        else:
            for place in rng.integers(2, len(content), rng.integers(1, 5)):
                content[place] = rng.integers(256)
        count[_verdict(bytes(content))] += 1
    for verdict, times in count.most_common():
        print(f"{times:6,} {verdict}")


def _verdict(content: bytes) -> str:
    try:
        theirs = jpegs.grey(content)
    except Exception:  # of many kinds
        theirs = None
    try:
        photograph = _coloured(content)
    except formats.PhotoError:
        photograph = None
    if photograph is None:
        return "refused by both" if theirs is None else "luma not taken; Pillow decodes it, as for other formats"
    if theirs is None:
        return "WRONG: written, and refused by Pillow"
    return "written, and equal" if np.array_equal(jpegs.grey(photograph), theirs) else "WRONG: written, and not equal"


def _coloured(scan: bytes) -> bytes | None:
    """A colour JPEG with strong colours that the scan does not know of; None where its luma is not taken."""
    found = spliced.of_jpeg(scan)
    if found is None:
        return None
    guide = found.guide.grey
    ab = np.random.default_rng(0).normal(0, 25, (4, 4, 2)).astype(np.float32)
    return spliced.encode(found, color.merge(guide, ab), None)


def _given(folders: list[str]) -> Iterator[jpegs.Made]:
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and (content := path.read_bytes())[:3] == b"\xff\xd8\xff":
                try:
                    image = Image.open(io.BytesIO(content))
                    image.load()
                except Exception:  # no scan, but a test of damage
                    continue
                if image.mode in ("L", "RGB"):
                    way = "progressive" if image.info.get("progressive") else "sequential"
                    kind = "grey" if image.mode == "L" else "three components"
                    yield jpegs.Made(path.name, "", Path(folder).name, way, kind, content)


def lightness() -> None:
    """Judged by scikit-image, as Pillow's libjpeg decodes; chroma in between is interpolated, as by every viewer."""
    colorizer = Colorizer.load(device="cpu")
    print(f"{'difference in L*':49} {'mean':>7} {'99th percentile':>16} {'pixels that clip':>17}")
    for vividness in VIVIDNESS:
        rows: dict[str, list[tuple[np.ndarray, float]]] = {}
        for name in speed.PICTURES:
            grey = color.grey_of(getattr(data, name)())
            scan = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
            found = spliced.of_jpeg(scan)
            assert found
            levels = jpegs.grey(scan)
            exact = color.lightness(levels)
            chroma = colorizer.predict([levels], vividness)[0].chroma[0]
            png = color.merge(levels, chroma)
            guide = found.guide.grey
            ours = spliced.encode(found, color.merge(guide, colorizer.predict([guide], vividness)[0].chroma[0]), None)
            ways = {
                "beside the scan's own luma": ours,
                "PNG's colours encoded anew, 4:2:0": _anew(png, "420"),
                "PNG's colours encoded anew, 4:4:4": _anew(png, "444"),
            }
            for way, content in ways.items():
                image = Image.open(io.BytesIO(content))
                shown = oracle.rgb2lab(np.asarray(image))[..., 0]
                rows.setdefault(way, []).append((np.abs(shown - exact).ravel(), _clipping(content)))
        for way, found_in in rows.items():
            difference = np.concatenate([one for one, _ in found_in])
            clipped = statistics.mean(share for _, share in found_in)
            numbers = f"{difference.mean():7.3f} {np.percentile(difference, 99):16.3f} {clipped:17.4%}"
            print(f"vividness {vividness}: {way:34} {numbers}", flush=True)


def _anew(rgb: np.ndarray, subsampling: str) -> bytes:
    """What a plain encoder makes of it, at quality 95."""
    return imagecodecs.jpeg8_encode(rgb, level=95, colorspace="rgb", outcolorspace="ycbcr", subsampling=subsampling)


def _clipping(content: bytes) -> float:
    """Share of pixels of which a channel would leave [0, 255] by more than half a level (JFIF's matrix)."""
    image = Image.open(io.BytesIO(content))
    image.draft("YCbCr", image.size)
    luma, blue, red = (np.asarray(plane, np.float32) for plane in image.split())
    rgb = (
        luma + 1.402 * (red - 128),
        luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
        luma + 1.772 * (blue - 128),
    )
    return float(np.mean((np.min(rgb, axis=0) < -0.5) | (np.max(rgb, axis=0) > 255.5)))


def speeds(rounds: int, size: str | None) -> None:
    for name, (width, height, count, few) in SIZES.items():
        if size not in (None, name):
            continue
        for kind in ("grey", "RGB"):
            with tempfile.TemporaryDirectory() as folder:
                files = speed.make_scans(Path(folder, "scans"), width, height, count)
                if kind == "RGB":
                    for file in files:
                        _as_rgb(file)
                _contend(f"{count} {kind} JPEG scans of {name}", files, files[:few], rounds)


def _as_rgb(file: Path) -> None:
    cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_COLOR), [cv2.IMWRITE_JPEG_QUALITY, 92])


def _contend(title: str, files: list[Path], few: list[Path], rounds: int) -> None:
    written: dict[str, float] = {}
    read = sum(file.stat().st_size for file in files)

    def job(out: str, format: str) -> float:
        rate = speed.colorize(files, out, "--format", format)["photographs_per_second"]
        written[format] = sum(path.stat().st_size for path in Path(out, "images").rglob("*") if path.is_file()) / read
        return rate

    contenders: dict[str, Callable[[str], float]] = {
        "the job, JPEG to JPEG": lambda out: job(out, "jpeg"),
        "the job, JPEG to PNG": lambda out: job(out, "png"),
        "decoding and PNG alone, all cores": lambda out: speed.on_all_cores(speed.codecs, files, out),
        "decoding, merge and PNG with OpenCV, all cores": lambda out: speed.on_all_cores(speed.script, files[:8], out),
    }
    if few:
        contenders["notebook"] = lambda out: speed.alone(speed.notebook, few, out)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            with tempfile.TemporaryDirectory() as out:
                rates[name].append(measure(out))
    table = Table(title=title, title_justify="left")
    for heading in ("", "photographs/s, median", "JPEG to JPEG against this, median", "lowest", "highest"):
        table.add_column(heading, justify="right" if heading else "left")
    ours = rates["the job, JPEG to JPEG"]
    for name, values in rates.items():
        ratios = [one / other for one, other in zip(ours, values, strict=True)]
        numbers = (statistics.median(ratios), min(ratios), max(ratios))
        table.add_row(name, f"{statistics.median(values):.2f}", *(f"{number:.2f}" for number in numbers))
    Console(width=120).print(table)
    print("bytes written for each that is read: " + ", ".join(f"{way} {share:.2f}" for way, share in written.items()))


if __name__ == "__main__":
    cyclopts.run(main)
