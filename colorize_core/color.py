"""sRGB <-> CIE Lab, and the merge that invents chroma while keeping luminance.

The primaries, white point and transfer function are those of IEC 61966-2-1 as OpenCV and scikit-image
write them, so that ``skimage.color.rgb2lab`` is an oracle for everything here. The *grey level* of a
colour is the sRGB-coded neutral of the same bit depth whose CIE L* is nearest to the colour's.
"""

from functools import lru_cache

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

_STRIP_PIXELS = 1 << 16  # the merge works on strips of rows whose temporaries fit the L2 cache
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


@lru_cache
def _tables(dtype: np.dtype) -> dict[str, np.ndarray]:
    """Per level of a bit depth: linear light, CIE f(Y), L*, and the luminances [low, high) that mean it."""
    levels = np.arange(max_level(dtype) + 1) / max_level(dtype)
    linear = srgb_to_linear(levels)
    f = _lab_f(linear)
    lightness = 116 * f - 16
    middle = (lightness[1:] + lightness[:-1]) / 2
    f_middle = (middle + 16) / 116
    y_middle = np.where(middle > 8, f_middle**3, (f_middle - 16 / 116) / 7.787)
    low = np.concatenate([[-1.0], y_middle])
    high = np.concatenate([y_middle, [2.0]])
    tables = {"linear": linear, "f": f, "lightness": lightness, "low": low, "high": high}
    tables["safe_low"] = low + _MARGIN * (linear - low)
    tables["safe_high"] = high - _MARGIN * (high - linear)
    # float32 tells 8-bit levels apart with room to spare; of 16-bit levels it would misjudge one in a thousand.
    precision = np.float32 if dtype == np.uint8 else np.float64
    return {name: table.astype(precision) for name, table in tables.items()}


@lru_cache
def _encode_table() -> np.ndarray:
    return np.rint(255 * linear_to_srgb(np.arange(65536) / 65535)).astype(np.uint8)


def _encode(linear: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Linear light in [0, 1], float32, to the nearest level of ``dtype``."""
    if dtype == np.uint8:
        return _encode_table()[(linear * 65535 + 0.5).astype(np.uint16)]
    return (linear_to_srgb(linear) * 65535 + 0.5).astype(np.uint16)


def lightness(grey: np.ndarray) -> np.ndarray:
    """Grey levels, uint8 or uint16, any shape, to CIE L* in [0, 100], float32."""
    return _tables(grey.dtype)["lightness"].astype(np.float32)[grey]


def luminance(rgb: np.ndarray) -> np.ndarray:
    """sRGB, (..., 3), to relative luminance Y in [0, 1], (...): float32 for uint8, float64 for uint16."""
    linear = _tables(rgb.dtype)["linear"]
    return sum(w * linear[rgb[..., c]] for c, w in enumerate(LUMINANCE.tolist()))


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """The grey scan of a colour photograph: the level whose CIE L* is nearest, at the same bit depth.

    ``rgb`` is sRGB, (H, W, 3) uint8 or uint16; the result is (H, W) of the same type. A neutral pixel
    keeps its level.
    """
    tables, top = _tables(rgb.dtype), max_level(rgb.dtype)
    grey = np.empty(rgb.shape[:2], rgb.dtype)
    for rows in _strips(*grey.shape):
        y = luminance(rgb[rows])
        level = np.clip(linear_to_srgb(y) * top + 0.5, 0, top).astype(rgb.dtype)
        # The nearest level in code and in L* differ by at most one.
        level[y < tables["low"][level]] -= 1
        level[y >= tables["high"][level]] += 1
        grey[rows] = level
    return grey


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB, (H, W, 3) uint8 or uint16, to CIE Lab (D65), (H, W, 3) float32: L* in [0, 100], ab in CIE units."""
    return cv2.cvtColor(rgb.astype(np.float32) / max_level(rgb.dtype), cv2.COLOR_RGB2Lab)


def _strips(height: int, width: int):
    step = max(1, _STRIP_PIXELS // max(width, 1))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _upsampled_rows(planes: np.ndarray, rows: slice, height: int, width: int) -> np.ndarray:
    """Rows of the bilinear enlargement of ``planes`` (h, w, n) to (height, width, n), pixel centres aligned."""
    h = planes.shape[0]
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * (h / height) - 0.5
    y = np.clip(y, 0, h - 1)
    upper = np.floor(y).astype(int)
    lower = np.minimum(upper + 1, h - 1)
    t = (y - upper)[:, None, None]
    strip = planes[upper] * (1 - t) + planes[lower] * t
    # OpenCV returns (rows, width, n); with an unchanged height it interpolates along the rows alone.
    return cv2.resize(strip, (width, rows.stop - rows.start), interpolation=cv2.INTER_LINEAR)


def _along_edges(grey: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """``ab`` (h, w, 2) as a linear function of L*, place by place: two constants and two slopes, (h, w, 4).

    The slopes are those of a regression over 3 x 3 places of ``ab``, as in a guided filter (He and Sun 2015), whose
    regularisation keeps fine texture out. So where colour changes with luminance, it changes where luminance does,
    at full size. Unlike the filter, it leaves the colours of the places themselves as they are.
    """
    height, width = ab.shape[:2]
    lightness_there = lightness(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA))

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
    planes = ab.astype(np.float32)
    if 1 < ab.shape[0] < grey.shape[0] and 1 < ab.shape[1] < grey.shape[1]:
        planes = _along_edges(grey, planes)
    rgb = np.empty((*grey.shape, 3), grey.dtype)
    for rows in _strips(*grey.shape):
        rgb[rows] = _merge_strip(grey[rows], _upsampled_rows(planes, rows, *grey.shape))
    return rgb


def _merge_strip(grey: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """``planes`` are a and b, (H, W, 2), or their constants and slopes over L*, (H, W, 4)."""
    tables = _tables(grey.dtype)
    y, f = tables["linear"][grey], tables["f"][grey]
    a, b = planes[..., 0], planes[..., 1]
    if planes.shape[2] == 4:
        l_star = tables["lightness"][grey]
        a, b = a + planes[..., 2] * l_star, b + planes[..., 3] * l_star
    x, z = _lab_f_inverse(f + a / 500), _lab_f_inverse(f - b / 200)

    # Linear light as differences from the neutral, scaled by the largest s <= 1 that stays inside sRGB.
    matrix = _RGB_FROM_XYZ.tolist()
    x -= y
    z -= y
    red = matrix[0][0] * x + matrix[0][2] * z
    blue = matrix[2][0] * x + matrix[2][2] * z
    wr, wg, wb = LUMINANCE.tolist()
    green = (wr * red + wb * blue) / -wg
    above = np.maximum(np.maximum(red, green), blue)
    below = np.minimum(np.minimum(red, green), blue)
    tiny = 1e-9
    scale = 1 / np.maximum(np.maximum(above / np.maximum(1 - y, tiny), below / -np.maximum(y, tiny)), 1)
    red = _encode(np.clip(y + scale * red, 0, 1), grey.dtype)
    blue = _encode(np.clip(y + scale * blue, 0, 1), grey.dtype)

    # Red and blue are rounded; green carries 72 % of the luminance and is solved for, so what remains is
    # green's own rounding: below half a level of grey wherever the solution lies inside [0, 1].
    linear = tables["linear"]
    rest = y - wr * linear[red] - wb * linear[blue]
    green = _encode(np.clip(rest / wg, 0, 1), grey.dtype)
    rgb = np.stack([red, green, blue], axis=-1)
    reached = y - rest + wg * linear[green]
    wrong = (reached < tables["safe_low"][grey]) | (reached > tables["safe_high"][grey])
    if wrong.any():
        rgb[wrong] = _nearest_neighbour(rgb[wrong], grey[wrong])
    return rgb


def _lab_f_inverse(f: np.ndarray) -> np.ndarray:
    return np.where(f > 0.2068966, f * f * f, (f - 16 / 116) * (1 / 7.787))


def _nearest_neighbour(rgb: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Of the colours within one level per channel of ``rgb`` (n, 3), the one whose luminance is nearest."""
    tables, top = _tables(grey.dtype), max_level(grey.dtype)
    steps = np.array(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1])).reshape(3, -1).T
    candidates = np.clip(rgb[:, None].astype(np.int32) + steps, 0, top).astype(rgb.dtype)
    best = np.abs(luminance(candidates) - tables["linear"][grey][:, None]).argmin(axis=1)
    rgb = candidates[np.arange(len(rgb)), best]
    y = luminance(rgb)
    lost = (y < tables["low"][grey]) | (y >= tables["high"][grey])
    rgb[lost] = grey[lost, None]
    return rgb
