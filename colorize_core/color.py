"""sRGB <-> CIE Lab, and the merge that invents chroma while keeping luminance.

The primaries, white point and transfer function are those of IEC 61966-2-1 as OpenCV and scikit-image
write them, so that ``skimage.color.rgb2lab`` is an oracle for everything here. The *grey level* of a
colour is the sRGB-coded neutral of the same bit depth whose CIE L* is nearest to the colour's.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

# Linear sRGB -> CIE XYZ (D65).
XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
LUMINANCE = XYZ_FROM_RGB[1]  # weights of linear R, G, B in luminance Y; they sum to 1
_WHITE = XYZ_FROM_RGB.sum(axis=1)
# Columns for X/Xn, Y and Z/Zn, so that a neutral (x = Y = z) is exactly neutral in RGB.
_RGB_FROM_XYZ = np.linalg.inv(XYZ_FROM_RGB) * _WHITE
_FROM_XZ = _RGB_FROM_XYZ[np.ix_([0, 2], [0, 2])]  # linear red and blue from x and z, the differences from Y

_STEPS = {255: 1 << 16, 65535: 1 << 22}  # of Tables.encode, each a fifth of a level at most
_MARGIN = 0.05  # of a level: room for the rounding of whoever turns the output back to grey
_TEXTURE = 300.0  # variance of L* below which its changes count as texture rather than as edges of colour


def srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """sRGB-coded values in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB-coded values in [0, 1] (IEC 61966-2-1)."""
    low = 0.0031308
    return np.where(value <= low, value * 12.92, 1.055 * np.maximum(value, low) ** (1 / 2.4) - 0.055)


def _lab_f(t: np.ndarray) -> np.ndarray:
    return np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)


def max_level(dtype) -> int:
    """The level of white: 255 for uint8, 65535 for uint16. Raises ``ValueError`` for other types."""
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ValueError(f"pixels must be uint8 or uint16, not {dtype}")
    return int(np.iinfo(dtype).max)


class Tables(NamedTuple):
    """What the levels of one bit depth mean: float32 for 8 bits, float64 for 16."""

    linear: np.ndarray
    """Linear light of each level, in [0, 1]; for a neutral that is its luminance Y."""
    f: np.ndarray
    """CIE f(Y)."""
    lightness: np.ndarray
    """CIE L*."""
    low: np.ndarray
    """The smallest luminance whose nearest level in L* this is."""
    high: np.ndarray
    """The smallest luminance above those."""
    safe_low: np.ndarray
    """Both with a margin for the rounding of whoever turns the output back to grey."""
    safe_high: np.ndarray
    encode: np.ndarray
    """The level nearest in code to each of many values of linear light, from 0 to 1 in equal steps."""


@lru_cache
def _tables(dtype: np.dtype) -> Tables:
    top = max_level(dtype)
    linear = srgb_to_linear(np.arange(top + 1) / top)
    f = _lab_f(linear)
    lightness = 116 * f - 16
    middle = (lightness[1:] + lightness[:-1]) / 2
    f_middle = (middle + 16) / 116
    y_middle = np.where(middle > 8, f_middle**3, (f_middle - 16 / 116) / 7.787)
    low = np.concatenate([[-1.0], y_middle])
    high = np.concatenate([y_middle, [2.0]])
    safe_low, safe_high = low + _MARGIN * (linear - low), high - _MARGIN * (high - linear)
    encode = np.rint(top * linear_to_srgb(np.arange(_STEPS[top] + 1) / _STEPS[top])).astype(dtype)
    # float32 tells 8-bit levels apart with room to spare; of 16-bit levels it would misjudge one in a thousand.
    precision = np.float32 if dtype == np.uint8 else np.float64
    precise = (x.astype(precision) for x in (linear, f, lightness, low, high, safe_low, safe_high))
    return Tables._make([*precise, encode])


def lightness(grey: np.ndarray) -> np.ndarray:
    """Grey levels, uint8 or uint16, any shape, to CIE L* in [0, 100], float32."""
    return _tables(grey.dtype).lightness.astype(np.float32).take(grey)  # three times as fast as an index


def level(lightness: np.ndarray) -> np.ndarray:
    """CIE L* in [0, 100], any shape, to the nearest 8-bit grey levels, uint8."""
    of_levels = _tables(np.dtype(np.uint8)).lightness
    return np.searchsorted((of_levels[1:] + of_levels[:-1]) / 2, lightness).astype(np.uint8)


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """The grey scan of a colour photograph: the level whose CIE L* is nearest, at the same bit depth.

    ``rgb`` is sRGB, (H, W, 3) uint8 or uint16; the result is (H, W) of the same type. A neutral pixel
    keeps its level.
    """
    from colorize_core import kernels

    tables, grey = _tables(rgb.dtype), np.empty(rgb.shape[:2], rgb.dtype)
    kernels.grey_of(_read_only(rgb), tables, LUMINANCE.astype(tables.linear.dtype), grey)
    return grey


def in_8_bits(grey: np.ndarray) -> np.ndarray:
    """Levels of 16 bits, any shape, to the nearest ones of 8."""
    return ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _read_only(pixels: np.ndarray) -> np.ndarray:
    """The same pixels as an array of the one kind that kernels are compiled for."""
    view = np.ascontiguousarray(pixels).view()
    view.flags.writeable = False
    return view


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB, (H, W, 3) uint8 or uint16, to CIE Lab (D65), (H, W, 3) float32: L* in [0, 100], ab in CIE units."""
    return cv2.cvtColor(rgb.astype(np.float32) / max_level(rgb.dtype), cv2.COLOR_RGB2Lab)


def reduced(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """A smaller copy of (H, W) whose pixels are averages, (height, width), of the same type.

    Large ones are halved first, a fifth of the work; of an odd side above a thousand the last line is left out.
    """
    small = grey
    while small.shape[0] >= 2 * height and small.shape[1] >= 2 * width:
        h, w = small.shape[0] // 2, small.shape[1] // 2
        if any(side % 2 and side < 1000 for side in small.shape):
            break
        small = cv2.resize(small[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32)  # rounding again and again would make it lighter
    small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    return small if small.dtype == grey.dtype else np.rint(small).astype(grey.dtype)


def _along_edges(grey: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """``ab`` (h, w, 2) as a linear function of L*, place by place: two constants and two slopes, (h, w, 4).

    The slopes are those of a regression over 3 x 3 places of ``ab``, as in a guided filter (He and Sun 2015), whose
    regularisation keeps fine texture out. So where colour changes with luminance, it changes where luminance does,
    at full size. Unlike the filter, it leaves the colours of the places themselves as they are.
    """
    height, width = ab.shape[:2]
    lightness_there = lightness(reduced(grey, height, width))

    def mean(planes: np.ndarray) -> np.ndarray:
        return cv2.blur(planes, (3, 3), borderType=cv2.BORDER_REPLICATE)

    middle = mean(lightness_there)
    covariance = mean(ab * lightness_there[..., None]) - mean(ab) * middle[..., None]
    slope = covariance / (mean(lightness_there**2) - middle**2 + _TEXTURE)[..., None]
    return np.concatenate([ab - slope * lightness_there[..., None], slope], axis=2)


def merge(grey: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Colour a grey scan: the luminance of ``grey``, every pixel of it, with the chroma ``ab``.

    ``grey`` is (H, W) uint8 or uint16, sRGB-coded. ``ab`` is (h, w, 2) float in CIE units (about -110 to 110) at any
    size; where it is smaller than ``grey`` it is enlarged along the edges of its luminance, and else bilinearly.
    Returns sRGB, (H, W, 3) of the type of ``grey``, and ``grey_of(merge(grey, ab)) == grey`` at every pixel: a colour
    outside sRGB gives up chroma, moving in linear light towards the neutral of its own luminance, and never lightness.
    Raises ``ValueError`` for shapes and types that do not fit, or for chroma that is not finite.
    """
    if grey.ndim != 2 or ab.ndim != 3 or ab.shape[2] != 2:
        raise ValueError(f"grey must be (H, W) and ab (h, w, 2), not {grey.shape} and {ab.shape}")
    if not np.isfinite(ab).all():
        raise ValueError("ab holds values that are not finite")
    from colorize_core import kernels

    planes = ab.astype(np.float32)
    if 1 < ab.shape[0] < grey.shape[0] and 1 < ab.shape[1] < grey.shape[1]:
        planes = _along_edges(grey, planes)
    else:
        planes = np.concatenate([planes, np.zeros_like(planes)], axis=2)
    tables, rgb = _tables(grey.dtype), np.empty((*grey.shape, 3), grey.dtype)
    planes = np.ascontiguousarray(planes)  # for any other order of ab's axes it would be compiled again
    precision = tables.linear.dtype
    kernels.merge(_read_only(grey), planes, tables, LUMINANCE.astype(precision), _FROM_XZ.astype(precision), rgb)
    return rgb
