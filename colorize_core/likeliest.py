"""The likeliest colours at some places of a photograph: what a person who gives hints is offered first.

They must differ, or a choice among them is none: after each the bins around it no longer count.
"""

from functools import lru_cache

import numpy as np

PLACES = 12  # along the longer side
COLOURS = 5
APART = 16.0  # CIE units: bins that are nearer count as one colour


def places(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The lines and the columns, int64, in the middle of the places of a coarser grid."""
    h, w = (max(1, round(PLACES * side / max(height, width))) for side in (height, width))
    return (2 * np.arange(h) + 1) * height // (2 * h), (2 * np.arange(w) + 1) * width // (2 * w)


def likeliest(probability: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Probabilities of bins of ab at places, (h, w, Q), and these bins, (Q, 2) in CIE units, to the likeliest colours
    there: ab in whole CIE units, int8 (h, w, 5, 2), the likeliest first.
    """
    h, w = probability.shape[:2]
    mass = probability.reshape(h * w, -1).copy()
    near = _near(bins.tobytes())
    found = np.empty((h * w, COLOURS, 2), np.float32)
    for i in range(COLOURS):
        around = mass * near[mass.argmax(1)]
        found[:, i] = around @ bins / np.maximum(around.sum(1, keepdims=True), 1e-30)
        mass -= around
    return np.rint(found).astype(np.int8).reshape(h, w, COLOURS, 2)


def packed(colours: np.ndarray) -> bytes:
    """The number of places in a line, in a byte, then a and b of each one's colours, in signed bytes."""
    return bytes([colours.shape[1]]) + colours.tobytes()


@lru_cache(maxsize=1)
def _near(bins: bytes) -> np.ndarray:
    """Which bins count as one colour, 1 or 0, (Q, Q)."""
    ab = np.frombuffer(bins, np.float32).reshape(-1, 2)
    return (((ab[:, None] - ab) ** 2).sum(2) < APART**2).astype(np.float32)
