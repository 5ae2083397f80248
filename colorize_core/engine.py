"""What runs a network: OpenVINO on a processor, PyTorch on a GPU; each in a module of its own, imported on use.

Both give the same colours, within 0.01 CIE units in float32. ``tracing`` makes the graphs that OpenVINO runs from the
networks of PyTorch, so there is one definition of each.
"""

from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

Precision = Literal["fast", "float32"]


class Colours(NamedTuple):
    """Of N photographs of one shape."""

    ab: np.ndarray
    """CIE units, float32 (N, 2, h, w)."""
    difference: np.ndarray | None
    """The expected one, see ``distribution.expected_difference``, averaged over each photograph, float32 (N,); None
    where the network gives no distribution."""
    probability: np.ndarray | None = None
    """Of bins at ``likeliest.places``, float32 (N, h', w', Q); None where it was not asked for, or there is none."""


class Engine(Protocol):
    """Weights on a device. ``lightness`` is CIE L* in [0, 100], float32 (N, 1, H, W) with N <= ``batch``, H and W
    multiples of 32; ``hints`` are planes, float32 (N, 3, H/4, W/4), see ``hints``."""

    name: str
    """Which one, its version and its precision, as the catalogue records them."""
    device: str
    """As PyTorch calls it."""
    batch: int
    """Photographs that it takes at a time."""

    @property
    def side(self) -> int | None:
        """Of the square that it takes; None where any shape will do."""

    def colours(
        self,
        lightness: np.ndarray,
        hints: np.ndarray | None,
        vividness: float,
        amplification: float,
        at_places: bool = False,
    ) -> Colours:
        """Networks without a distribution know no vividness and no amplification; see ``distribution.chroma``.
        ``at_places`` asks for probabilities at some of them.
        """

    def logits(self, lightness: np.ndarray, hints: np.ndarray | None) -> tuple[Any, Any]:
        """Of a network with a distribution, over its bins, float32 (N, Q, h, w), and the bins, ab in CIE units (Q, 2):
        arrays of NumPy, or of PyTorch on its device, for ``distribution``."""
