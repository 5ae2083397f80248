"""Colours that somebody knows at some places of a photograph, as a network takes them in.

That is as planes: ab / 110 and 1 where a colour is known, 0 in all three where it is not; float32 (3, h, w), on the
grid on which the network gives its distributions.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colorize_core.color import rgb_to_lab

CELL = 4  # pixels of the network's input along a side of a place of its grid
UNIT = 110  # CIE units, what ab is divided by


@dataclass(frozen=True, slots=True)
class Hint:
    """A colour that is known at a place of a scan."""

    x: float
    """Pixels of the upright scan, from its left edge."""
    y: float
    """From its upper edge."""
    ab: tuple[float, float] | None
    """In CIE units; None says that there is no colour, as on what is white, grey or black."""
    radius: float = 0.0
    """Pixels around the place that have this colour; one place of the network's grid, about a 48th of the photograph's
    side, has it in any case."""


def chroma_of(color: str) -> tuple[float, float] | None:
    """The ab of a colour ``#rrggbb`` in sRGB, in CIE units, or None for ``none``. Raises ``ValueError``."""
    if color == "none":
        return None
    if not re.fullmatch("#[0-9a-f]{6}", color, re.IGNORECASE):
        raise ValueError(f"{color!r} is no colour")
    a, b = rgb_to_lab(np.frombuffer(bytes.fromhex(color[1:]), np.uint8).reshape(1, 1, 3))[0, 0, 1:]
    return float(a), float(b)


def planes(hints: Sequence[Hint], scan: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Hints on a scan of a height and width in pixels, as planes on a grid of a height and width; later ones win.

    Raises ``ValueError`` for a hint outside the scan, or whose numbers mean nothing.
    """
    (height, width), (h, w) = scan, grid
    found = np.zeros((3, h, w), np.float32)
    y, x = (np.arange(h)[:, None] + 0.5) * height / h, (np.arange(w) + 0.5) * width / w
    for hint in hints:
        if not (0 <= hint.x <= width and 0 <= hint.y <= height):
            raise ValueError(f"the hint at ({hint.x:g}, {hint.y:g}) lies outside the scan of {width} x {height} pixels")
        a, b = hint.ab or (0.0, 0.0)
        if not (abs(a) <= 128 and abs(b) <= 128 and 0 <= hint.radius < math.inf):
            raise ValueError(
                f"the hint at ({hint.x:g}, {hint.y:g}) needs ab between -128 and 128 and a radius of 0 or more, not "
                f"{hint.ab} and {hint.radius:g}"
            )
        covered = (x - hint.x) ** 2 + (y - hint.y) ** 2 <= hint.radius**2
        covered[min(int(hint.y * h / height), h - 1), min(int(hint.x * w / width), w - 1)] = True
        found[:, covered] = np.array([[a / UNIT], [b / UNIT], [1]])
    return found
