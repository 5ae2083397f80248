"""Pictures of a kind that is known: tinted ones, as old prints are, and pages of text and line drawings."""

from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from colorize_core import color

HUES = (70, 80, 95, 140, 230, 260, 300, 40)  # degrees in the ab plane: sepia, yellowed, green, cyanotype, selenium
SENTENCE = (
    "the archive has kept this letter since the house by the river was sold and the plates were lost dear sir we have "
    "the honour to inform you that no. 1912 of the register shows the street near the old church in summer"
)


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


def scanned(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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
        yield scanned(level[..., None] * yellow, rng)


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
