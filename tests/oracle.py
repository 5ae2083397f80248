"""Whether pixels keep their grey, judged by scikit-image, and pictures that put it to the test.

A pixel is kept when the colour's CIE L* (``skimage.color.rgb2lab``, float64) is nearest to the L* of the very grey
level it was made from, at the output's bit depth.
"""

import warnings

import numpy as np
from skimage import data
from skimage.color import lab2rgb, rgb2lab

from colorize_core import color


def fraction_kept(grey: np.ndarray, rgb: np.ndarray) -> float:
    """Share of pixels of ``rgb`` (H, W, 3) that turn back into ``grey`` (H, W), of the same integer type."""
    top = np.iinfo(grey.dtype).max
    neutral = np.arange(top + 1)[:, None, None] / top
    levels = rgb2lab(np.repeat(neutral, 3, axis=2))[:, 0, 0]
    lightness = rgb2lab(rgb / top)[..., 0]
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, lightness)
    return float((nearest == grey).mean())


def plain_clipping(grey: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """What most programs do: Lab to sRGB, channels clipped to [0, 1], rounded."""
    top = np.iinfo(grey.dtype).max
    lightness = rgb2lab(np.repeat(grey[..., None] / top, 3, axis=2))[..., :1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reports the colours it clips
        rgb = lab2rgb(np.concatenate([lightness, ab], axis=2))
    return np.rint(rgb * top).astype(grey.dtype)


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> grey (H, W) and chroma (H, W, 2): noise on every level, and saturated photographs."""
    rng = np.random.default_rng(0)
    noise = {}
    for dtype, width in ((np.uint8, 2048), (np.uint16, 8)):
        levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
        grey = np.repeat(levels[:, None], width, axis=1)
        for deviation in (10, 40):
            ab = rng.normal(0, deviation, (*grey.shape, 2)).astype(np.float32)
            noise[f"{dtype.__name__}, every level, random chroma, standard deviation {deviation}"] = grey, ab
    photographs = {}
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        rgb = getattr(data, name)()
        saturated = (3 * rgb2lab(rgb)[..., 1:]).astype(np.float32)
        photographs[f"uint8, {name}, its own chroma x 3"] = color.grey_of(rgb), saturated
        deep = color.grey_of(rgb.astype(np.uint16) * 257)
        photographs[f"uint16, {name}, its own chroma x 3"] = deep, saturated
    return noise | photographs
