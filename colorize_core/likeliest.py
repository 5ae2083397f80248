"""The likeliest colours at some places of a photograph: what a person who gives hints is offered first.

They must differ, or a choice among them is none: after each the bins around it no longer count.
"""

from functools import lru_cache

import numpy as np

PLACES = 12  # along the longer side
COLOURS = 5
APART = 16.0  # CIE units: bins that are nearer count as one colour


def likeliest(probability: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Probabilities of bins of ab, (H, W, Q), and these, (Q, 2) in CIE units, to the likeliest colours in the middle of
    each place of a coarser grid: ab in whole CIE units, int8 (h, w, 5, 2), the likeliest first.
    """
    height, width = probability.shape[:2]
    h, w = (max(1, round(PLACES * side / max(height, width))) for side in (height, width))
    y, x = ((2 * np.arange(places) + 1) * side // (2 * places) for places, side in ((h, height), (w, width)))
    mass = probability[y[:, None], x].reshape(h * w, -1)  # a copy
    near = _near(bins.tobytes())
    found = np.empty((h * w, COLOURS, 2), np.float32)
    for i in range(COLOURS):
        around = mass * near[mass.argmax(1)]
        found[:, i] = around @ bins / np.maximum(around.sum(1, keepdims=True), 1e-30)
        mass -= around
    return np.rint(found).astype(np.int8).reshape(h, w, COLOURS, 2)


@lru_cache(maxsize=1)
def _near(bins: bytes) -> np.ndarray:
    """Which bins count as one colour, 1 or 0, (Q, Q)."""
    ab = np.frombuffer(bins, np.float32).reshape(-1, 2)
    return (((ab[:, None] - ab) ** 2).sum(2) < APART**2).astype(np.float32)
