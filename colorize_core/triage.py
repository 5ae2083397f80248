"""What a scan is, before it is coloured: decided from a reduced picture, in a few milliseconds.

Thresholds were chosen with ``python -m benchmarks.triage``, which prints how often the decision is wrong, and for
colour and tint what it would choose.
"""

from typing import Literal

import cv2
import numpy as np

from colorize_core import color
from colorize_core.photo import Photo

Kind = Literal["grey", "color", "tinted", "text"]

SIDE = 256  # longer side of the picture that is looked at, in pixels
_SAMPLES = 1024  # rows and columns that are read of a large scan at least
_MIN_SIDE = 16  # a strip that is narrower after the reduction has no content to judge

MAX_DEVIATION = 2.6  # CIE units: the fewest mistakes between colour photographs and tinted ones
MAX_NEUTRAL = 3.0  # CIE units: 99 % of grey scans with a slight cast lie below it

# Between pages as the benchmark makes them (99 in 100 are more even than 0.025) and photographs (99 in 100 are less
# even than 0.049; most of those that pass both tests below show a page).
MAX_UNEVENNESS = 0.035
MIN_INK = 0.08
_INK_DEPTH = 0.15  # of the paper's lightness


def kind(photograph: Photo) -> Kind:
    """What a photograph is, at any size and depth.

    * ``"color"``: ab is not a function of L*: ``hue_deviation`` exceeds ``MAX_DEVIATION``;
    * ``"text"``: text, a line drawing or a document, grey or on yellowed paper: see ``is_text``;
    * ``"tinted"``: of one hue, with a mean chroma above ``MAX_NEUTRAL``: sepia, cyanotype, yellowed or faded;
    * ``"grey"``: all else; a constant or tiny picture too, unless it has a hue.

    A negative is taken for a photograph.
    """
    picture = reduced(photograph.pixels)
    if picture.ndim == 3:
        lab = color.rgb_to_lab(picture)
        lightness = lab[..., 0]
        deviation, chroma = hue_deviation(lab)
    else:
        lightness = color.lightness(picture)
        deviation = chroma = 0.0
    if deviation > MAX_DEVIATION:
        return "color"
    if min(lightness.shape) >= _MIN_SIDE and is_text(lightness):
        return "text"
    return "tinted" if chroma > MAX_NEUTRAL else "grey"


def reduced(pixels: np.ndarray) -> np.ndarray:
    """The inner 7/8 of (H, W) or (H, W, 3), longer side at most ``SIDE``, at the same depth.

    The margin is left out, since mounts, rulers and the scanner's lid have colours of their own. Of a large scan
    only every n-th row and column is read, which leaves enough pixels to average noise.
    """
    height, width = pixels.shape[:2]
    rows, columns = (slice(n // 16, n - n // 16, max(1, n // _SAMPLES)) for n in (height, width))
    picture = np.ascontiguousarray(pixels[rows, columns])
    scale = SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = tuple(max(1, round(n * scale * 7 / 8)) for n in (width, height))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def hue_deviation(lab: np.ndarray) -> tuple[float, float]:
    """How far the colours of (H, W, 3) Lab, float32, are from a tint, and the mean colour's chroma; in CIE units.

    A tint is ab as a cubic in L*, so that its hue and chroma may differ between shadows and highlights. The deviation
    is the root mean square distance from that cubic after a slight blur, which takes off noise and JPEG's blocks.
    Paper yellows and prints fade unevenly: distances along the mean hue, in proportion to its chroma, count less, and
    those across it half as much again.
    """
    lab = cv2.GaussianBlur(lab, (0, 0), 1.5)
    ab = lab[..., 1:].reshape(-1, 2)
    mean = ab.mean(axis=0)
    chroma = float(np.hypot(*mean))
    powers = np.vander(lab[..., 0].ravel() / 50 - 1, 4)
    ridge = 1e-3 * len(ab) * np.eye(4, dtype=np.float32)  # for pictures of one or two tones
    residual = ab - powers @ np.linalg.solve(powers.T @ powers + ridge, powers.T @ ab)
    hue = mean / chroma if chroma else np.array([1.0, 0.0])
    along, across = np.sqrt(np.mean((residual @ np.stack([hue, hue[::-1] * (-1, 1)], axis=1)) ** 2, axis=0))
    return float(np.hypot(along / (1 + chroma / 10), 1.5 * across)), chroma


def is_text(lightness: np.ndarray) -> bool:
    """Whether (H, W) L* in [0, 100] is text, a line drawing or a document: dark strokes on light, even paper.

    The paper is the morphological closing, which fills strokes up to 1/28 of the picture's side. It must be light and
    even (root mean square distance from its own blur at most ``MAX_UNEVENNESS`` of its lightness, so shading is
    allowed), and strokes must cover at least ``MIN_INK`` of the picture. An object on white ground is no stroke: it
    stays in the closing. Bold headlines, woodcuts, pages with pictures and white writing on black are not found.
    """
    side = max(lightness.shape)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, side * 9 // SIDE | 1),) * 2)
    paper = cv2.morphologyEx(lightness, cv2.MORPH_CLOSE, element)
    ink = (lightness < (1 - _INK_DEPTH) * paper).mean()
    if ink < MIN_INK or np.median(paper) <= 50:
        return False  # most photographs, without the work below
    unevenness = np.sqrt(np.mean((paper - cv2.GaussianBlur(paper, (0, 0), side / 16)) ** 2))
    return bool(unevenness <= MAX_UNEVENNESS * np.quantile(paper, 0.95))
