"""JPEG scans as several encoders write them, and what other programs make of their luma and of a colour one."""

import io
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np
from PIL import Image
from skimage import data

SIZES = ((1, 1), (2, 9), (8, 8), (16, 16), (17, 31), (33, 17), (64, 48), (131, 97))
"""Width and height in pixels."""
PILLOW = [
    ("default", {}), ("optimised", {"optimize": True}), ("progressive", {"progressive": True}),
    ("restart", {"restart_marker_blocks": 3}), ("restart", {"restart_marker_rows": 1}),
    ("progressive", {"progressive": True, "restart_marker_rows": 1}), ("default", {"quality": 15}),
    ("default", {"quality": 98}),
]  # fmt: skip
FACTORS = {"444": 0x111111, "422": 0x211111, "420": 0x221111, "411": 0x411111, "440": 0x121111}
"""As OpenCV knows them."""
OPENCV = {
    "default": [], "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1], "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restart": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
}  # fmt: skip
MAGICK = (
    [], ["-interlace", "JPEG"], ["-sampling-factor", "4:1:1"], ["-sampling-factor", "2x1,1x1,1x1", "-quality", "60"],
    ["-define", "jpeg:optimize-coding=false"], ["-define", "jpeg:arithmetic-coding=false", "-quality", "97"],
)  # fmt: skip


class Made(NamedTuple):
    """A scan of known making."""

    name: str
    size: str
    encoder: str
    way: str
    """``default``, ``optimised``, ``progressive`` or ``restart``: tables of Annex K, its own, several passes."""
    kind: str
    """``grey``, of a single component; ``neutral``, grey saved as RGB; ``colour``."""
    data: bytes


def made() -> Iterator[Made]:
    """Some hundreds, the same ones every time on a machine: those of ImageMagick only where that is installed."""
    for (width, height), kind in itertools.product(SIZES, ("grey", "neutral", "colour")):
        picture = _picture(width, height, kind)
        yield from _by_pillow(picture, kind)
        yield from _by_opencv(picture, kind)
        yield from _by_imagecodecs(picture, kind)
        if shutil.which("magick") or shutil.which("convert-im6.q16"):
            yield from _by_magick(picture, kind)


def _picture(width: int, height: int, kind: str) -> np.ndarray:
    """(H, W) for grey, else (H, W, 3), uint8; with edges, plain areas and grain."""
    rng = np.random.default_rng(width * 1000 + height)
    colour = cv2.resize(data.astronaut()[:300, 100:400], (width, height), interpolation=cv2.INTER_AREA)
    picture = np.clip(colour + rng.normal(0, 3, (height, width, 1)), 0, 255).astype(np.uint8)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return {"grey": grey, "neutral": np.repeat(grey[..., None], 3, axis=2), "colour": picture}[kind]


def _by_pillow(picture: np.ndarray, kind: str) -> Iterator[Made]:
    height, width = picture.shape[:2]
    for i, (way, options) in enumerate(PILLOW):
        sampling = {} if kind == "grey" else {"subsampling": i % 3}
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", **options, **sampling)
        name = f"Pillow {width} x {height} {kind} {options | sampling}"
        yield Made(name, f"{width} x {height}", "Pillow", way, kind, file.getvalue())
        if kind == "grey" and i < 3:  # blocks are in raster order all the same (T.81, A.2.2)
            yield Made(f"{name} 2x2", f"{width} x {height}", "Pillow", way, kind, with_factors(file.getvalue(), 0x22))


def with_factors(grey: bytes, factors: int) -> bytes:
    """A grey JPEG that says other sampling factors."""
    at = next(grey.index(marker) for marker in (b"\xff\xc0\0\x0b", b"\xff\xc2\0\x0b") if marker in grey)
    return grey[: at + 11] + bytes([factors]) + grey[at + 12 :]


def _by_opencv(picture: np.ndarray, kind: str) -> Iterator[Made]:
    height, width = picture.shape[:2]
    for i, (way, options) in enumerate(OPENCV.items()):
        sampling = list(FACTORS)[(i + width) % len(FACTORS)]
        chosen = [] if kind == "grey" else [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FACTORS[sampling]]
        content = cv2.imencode(".jpg", picture[..., ::-1] if picture.ndim == 3 else picture, options + chosen)[1]
        name = f"OpenCV {width} x {height} {kind} {way} {sampling if chosen else ''}"
        yield Made(name, f"{width} x {height}", "OpenCV", way, kind, content.tobytes())


def _by_imagecodecs(picture: np.ndarray, kind: str) -> Iterator[Made]:
    height, width = picture.shape[:2]
    for optimise in (False, True):
        content = imagecodecs.jpeg8_encode(picture, level=80, optimize=optimise)
        way = "optimised" if optimise else "default"
        yield Made(
            f"imagecodecs {width} x {height} {kind} {way}",
            f"{width} x {height}",
            "imagecodecs",
            way,
            kind,
            bytes(content),
        )


def _by_magick(picture: np.ndarray, kind: str) -> Iterator[Made]:
    height, width = picture.shape[:2]
    png = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)[1].tobytes()
    program = shutil.which("magick") or "convert-im6.q16"
    for options in MAGICK:
        done = subprocess.run([program, "png:-", *options, "jpeg:-"], input=png, check=True, capture_output=True)
        way = "progressive" if "-interlace" in options else "default"
        yield Made(
            f"ImageMagick {width} x {height} {kind} {options}",
            f"{width} x {height}",
            "ImageMagick",
            way,
            kind,
            done.stdout,
        )


def grey(content: bytes) -> np.ndarray:
    """(H, W) uint8: what libjpeg makes of a JPEG's luma alone."""
    image = Image.open(io.BytesIO(content))
    image.draft("L", image.size)
    return np.asarray(image.convert("L") if image.mode != "L" else image)
