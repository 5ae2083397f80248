"""From a network's distribution over ab to colours: how vivid, how sure, and which others there are.

The dial: at vividness 0 each place gets the mean of its sharpened distribution, the most accurate colour. Such a mean
has less chroma than the colours that it is a mean of. Towards 1 this is made up for, until a set of photographs that
was held out from training is as colourful as in truth. Not alike everywhere: a weak mean stands for colours that
cancel out, and amplified it would be a stain; and where the distribution is narrow there is nothing to make up for.
At the same colourfulness that is nearer to the truth than weighing rare colours up (logit adjustment, Menon et al.
2021; the class rebalancing of Zhang et al. 2016), which also turns dark clothes red and walls into rainbows.

All of it takes float32 arrays of NumPy or of PyTorch, and gives the same kind. On a GPU it runs as it is; for other
devices ``tracing`` makes it a part of the network's graph.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from colorize_core import color
from colorize_core.weights_file import MAX_VARIANTS

Array = Any  # np.ndarray or torch.Tensor: this module imports no PyTorch

STEP = 10  # CIE units between neighbouring bins
REACH = 120  # the grid of bins covers [-REACH, REACH] in a and b

DEFAULT_VIVIDNESS = 0.5
SHARPNESS = 2  # power of the probabilities whose mean is the colour: above 1 it raises accuracy and colour
WEAK = 20.0  # CIE units: a mean of this chroma is amplified half as much as the strongest
NARROW = 10.0  # CIE units: so is that of a distribution with this deviation, beside the widest
TOLERABLE = 10.0  # CIEDE2000 that a photograph's confidence is about
SPARSE = 2  # a photograph's confidence looks at every second place in each direction
SHIFT = 10.0  # CIE units in ab by which a variant differs, on average over the picture
MAX_TILT = 0.2  # of the logarithm of a probability, per CIE unit: how far a variant may go to reach its shift


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a network's colours need, measured on photographs that it was not trained on; see ``calibration``."""

    amplification: float = 3.0
    """Of a strong mean of a wide distribution, at vividness 1."""
    middle: float = 10.0
    """Expected colour difference at which the confidence is one half."""
    width: float = 1.5
    """Of the logistic curve that falls from confidence 1 to 0."""


@lru_cache
def bins() -> np.ndarray:
    """Centres of the bins, ab in CIE units, float32 (290, 2): the nodes of a grid of 10 that lie within 10 of a
    colour of sRGB (of 18 levels per channel).
    """
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    colors = color.rgb_to_lab(cube)[0, :, 1:]
    near = [np.linalg.norm(colors - node, axis=1).min() < STEP for node in grid()]
    return grid()[near]


def grid() -> np.ndarray:
    """Its nodes, (625, 2), b first counting."""
    side = np.arange(-REACH, REACH + 1, STEP, dtype=np.float32)
    return np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)


def probabilities(logits: Array) -> Array:
    """Logits over bins of ab as a network gives them, (N, Q, h, w), to probabilities (N, h, w, Q)."""
    places = _library(logits).moveaxis(logits, 1, -1)
    if not isinstance(places, np.ndarray):
        return places.softmax(-1)
    raised = np.exp(places - places.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def colours(logits: Array, bins: Array, vividness: Any, amplification: Any) -> tuple[Array, Array]:
    """Logits, float32 (N, Q, h, w), to ab as ``chroma`` gives it, and the expected difference of each photograph, (N,),
    that its confidence is computed from.
    """
    probability = probabilities(logits)
    ab = chroma(probability, bins, vividness, amplification)
    sparse = expected_difference(probability[:, ::SPARSE, ::SPARSE], bins, ab[..., ::SPARSE, ::SPARSE])
    return ab.clip(-128, 127), sparse.mean((1, 2))


def chroma(probability: Array, bins: Array, vividness: Any, amplification: Any) -> Array:
    """Probabilities of bins of ab, (N, h, w, Q), to ab in CIE units, (N, 2, h, w).

    ``bins`` is (Q, 2) in CIE units, ``vividness`` in [0, 1] and ``amplification`` that of a ``Calibration``.
    """
    more = vividness * (amplification - 1) * _room(probability, bins)
    return _amplified(_mean(probability**SHARPNESS, bins), more)


def _room(probability: Array, bins: Array) -> Array:
    """How wide distributions are, from 0 to 1, (N, 1, h, w)."""
    moments = _library(bins).concat([bins, (bins**2).sum(1)[:, None]], 1)
    found = probability @ moments
    variance = (found[..., 2] - found[..., 0] ** 2 - found[..., 1] ** 2).clip(min=0)[:, None]
    return variance / (variance + NARROW**2)


def _amplified(ab: Array, more: Array) -> Array:
    strength = _length(ab, 1)[:, None]
    return ab * (1 + more * strength / (strength + WEAK))


def _mean(mass: Array, bins: Array, weights: Array | None = None) -> Array:
    """ab, (N, 2, h, w), the mean of bins by their mass, (N, h, w, Q), times ``weights``, (N, Q)."""
    library = _library(bins)
    moments = library.concat([bins, library.ones_like(bins[:, :1])], 1)  # (Q, 3)
    if weights is not None:
        moments = weights[:, None, :, None] * moments  # (N, 1, Q, 3)
    found = mass @ moments
    return library.moveaxis(found[..., :2] / found[..., 2:], -1, 1)


def expected_difference(probability: Array, bins: Array, ab: Array) -> Array:
    """How far off a colour is likely to be: the CIE94 difference in chroma and hue between ``ab``, (N, 2, h, w), and
    the colours of ``probability``, (N, h, w, Q), averaged over these; (N, h, w). Both are divided by 1 + 0.045 C*.
    """
    apart = ((ab[:, 0, ..., None] - bins[:, 0]) ** 2 + (ab[:, 1, ..., None] - bins[:, 1]) ** 2) ** 0.5
    mixed = (_length(ab, 1)[..., None] * _length(bins, 1)) ** 0.5
    return (probability * apart / (1 + 0.045 * mixed)).sum(-1)


def confidence(difference: Any, calibration: Calibration) -> Any:
    """Of expected differences, a number or an array of NumPy: the probabilities that the true one, CIEDE2000 averaged
    over the photograph, is below ``TOLERABLE``.
    """
    return 1 / (1 + np.exp(np.minimum((difference - calibration.middle) / calibration.width, 80)))


def variants(probability: Array, bins: Array, vividness: float, amplification: float, count: int) -> list[Array]:
    """``count`` colourings, ab in CIE units, (N, 2, h, w) each; the first is that of ``chroma``.

    The others tilt the distributions of all places in one direction of the ab plane, there and back: that in which a
    photograph is the least certain, then the one across. So they differ where the colour is open, all over the picture
    in the same sense, by ``SHIFT`` on average where the distributions allow it, and stay where it is not open.
    Raises ``ValueError`` for a count outside 1 to ``MAX_VARIANTS``.
    """
    if not 1 <= count <= MAX_VARIANTS:
        raise ValueError(f"there are 1 to {MAX_VARIANTS} variants, not {count}")
    library = _library(probability)
    mass, more = probability**SHARPNESS, vividness * (amplification - 1) * _room(probability, bins)
    found = [_amplified(_mean(mass, bins), more)]
    if count == 1:
        return found
    along, across = _axes(mass, bins)
    for direction in (along, -along, across, -across)[: count - 1]:
        low, high = 0 * direction[:, 0], 0 * direction[:, 0] + MAX_TILT
        for _ in range(7):
            tilt = (low + high) / 2
            tilted = library.exp(tilt[:, None] * (direction @ bins.T))  # (N, Q)
            shifted = _amplified(_mean(mass, bins, tilted), more)
            enough = _length(shifted - found[0], 1).mean((1, 2)) >= SHIFT
            low, high = library.where(enough, low, tilt), library.where(enough, tilt, high)
        found.append(shifted)
    return found


def _axes(mass: Array, bins: Array) -> tuple[Array, Array]:
    """Unit vectors (N, 2) each: the direction of ab in which a photograph's distributions are the widest, and the one
    across; towards yellow, or red.
    """
    library = _library(mass)
    mean = _mean(mass, bins)
    share = (mass / mass.sum(-1)[..., None]).mean((1, 2))  # of bins in the photograph, (N, Q)
    second = library.einsum("nq,qc,qd->ncd", share, bins, bins)
    spread = second - library.einsum("nchw,ndhw->ncd", mean, mean) / (mean.shape[2] * mean.shape[3])
    vectors = library.linalg.eigh(spread)[1]  # columns, the widest last
    vectors = vectors * library.where(vectors.sum(1)[:, None] < 0, -1.0, 1.0)
    return vectors[..., 1], vectors[..., 0]


def _length(vectors: Array, axis: int) -> Array:
    return (vectors**2).sum(axis) ** 0.5


def _library(array: Array) -> ModuleType:
    """NumPy, or PyTorch where that is imported already; what is used of them here is called alike in both."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]
