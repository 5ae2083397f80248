"""From a network's distribution over ab to colours: how vivid, how sure, and which others there are.

The dial: at vividness 0 each place gets the mean of its sharpened distribution, the most accurate colour. Such a mean
has less chroma than the colours that it is a mean of. Towards 1 this is made up for, until a set of photographs that
was held out from training is as colourful as in truth. Not alike everywhere: a weak mean stands for colours that
cancel out, and amplified it would be a stain; and where the distribution is narrow there is nothing to make up for.
At the same colourfulness that is nearer to the truth than weighing rare colours up (logit adjustment, Menon et al.
2021; the class rebalancing of Zhang et al. 2016), which also turns dark clothes red and walls into rainbows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from colorize_core.weights_file import MAX_VARIANTS

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


def probabilities(logits: Tensor) -> Tensor:
    """Logits over bins of ab as a network gives them, (N, Q, h, w), to probabilities (N, h, w, Q) in float32."""
    return logits.permute(0, 2, 3, 1).float().softmax(-1)


def chroma(probability: Tensor, bins: Tensor, vividness: float | Tensor, amplification: float) -> Tensor:
    """Probabilities of bins of ab, (N, h, w, Q), to ab in CIE units, (N, 2, h, w).

    ``bins`` is (Q, 2) in CIE units, ``vividness`` in [0, 1] and ``amplification`` that of a ``Calibration``.
    """
    more = vividness * (amplification - 1) * _room(probability, bins)
    return _amplified(_mean(probability**SHARPNESS, bins), more)


def _room(probability: Tensor, bins: Tensor) -> Tensor:
    """How wide distributions are, from 0 to 1, (N, 1, h, w)."""
    a, b, square = (probability @ torch.cat([bins, (bins**2).sum(1, keepdim=True)], 1)).unbind(-1)
    variance = (square - a**2 - b**2).clamp(min=0)[:, None]
    return variance / (variance + NARROW**2)


def _amplified(ab: Tensor, more: Tensor) -> Tensor:
    strength = ab.norm(dim=1, keepdim=True)
    return ab * (1 + more * strength / (strength + WEAK))


def _mean(mass: Tensor, bins: Tensor, weights: Tensor | None = None) -> Tensor:
    """ab, (N, 2, h, w), the mean of bins by their mass, (N, h, w, Q), times ``weights``, (N, Q)."""
    moments = torch.cat([bins, torch.ones_like(bins[:, :1])], 1)  # (Q, 3)
    if weights is not None:
        moments = weights[:, None, :, None] * moments  # (N, 1, Q, 3)
    a, b, total = (mass @ moments).unbind(-1)
    return torch.stack([a, b], 1) / total[:, None]


def expected_difference(probability: Tensor, bins: Tensor, ab: Tensor) -> Tensor:
    """How far off a colour is likely to be: the CIE94 difference in chroma and hue between ``ab``, (N, 2, h, w), and
    the colours of ``probability``, (N, h, w, Q), averaged over these; (N, h, w). Both are divided by 1 + 0.045 C*.
    """
    places = ab.permute(0, 2, 3, 1)
    mixed = (places.norm(dim=-1, keepdim=True) * bins.norm(dim=1)).sqrt()
    return (probability * torch.cdist(places, bins[None, None]) / (1 + 0.045 * mixed)).sum(-1)


def confidence(difference: Tensor, calibration: Calibration) -> Tensor:
    """Of expected differences: the probabilities that the true one, CIEDE2000 averaged over the photograph, is below
    ``TOLERABLE``; of the same shape.
    """
    return torch.sigmoid((calibration.middle - difference) / calibration.width)


def variants(probability: Tensor, bins: Tensor, vividness: float, amplification: float, count: int) -> list[Tensor]:
    """``count`` colourings, ab in CIE units, (N, 2, h, w) each; the first is that of ``chroma``.

    The others tilt the distributions of all places in one direction of the ab plane, there and back: that in which a
    photograph is the least certain, then the one across. So they differ where the colour is open, all over the picture
    in the same sense, by ``SHIFT`` on average where the distributions allow it, and stay where it is not open.
    Raises ``ValueError`` for a count outside 1 to ``MAX_VARIANTS``.
    """
    if not 1 <= count <= MAX_VARIANTS:
        raise ValueError(f"there are 1 to {MAX_VARIANTS} variants, not {count}")
    mass, more = probability**SHARPNESS, vividness * (amplification - 1) * _room(probability, bins)
    found = [_amplified(_mean(mass, bins), more)]
    if count == 1:
        return found
    along, across = _axes(mass, bins)
    for direction in (along, -along, across, -across)[: count - 1]:
        low, high = torch.zeros(len(mass)).to(mass), torch.full([len(mass)], MAX_TILT).to(mass)
        for _ in range(7):
            tilt = (low + high) / 2
            tilted = torch.exp(tilt[:, None] * (direction @ bins.T))  # (N, Q)
            shifted = _amplified(_mean(mass, bins, tilted), more)
            enough = (shifted - found[0]).norm(dim=1).mean((1, 2)) >= SHIFT
            low, high = torch.where(enough, low, tilt), torch.where(enough, tilt, high)
        found.append(shifted)
    return found


def _axes(mass: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, 2) each: the direction of ab in which a photograph's distributions are the widest, and the one
    across; towards yellow, or red.
    """
    mean = _mean(mass, bins)
    share = (mass / mass.sum(-1, keepdim=True)).mean((1, 2))  # of bins in the photograph, (N, Q)
    second = torch.einsum("nq,qc,qd->ncd", share, bins, bins)
    spread = second - torch.einsum("nchw,ndhw->ncd", mean, mean) / mean[0, 0].numel()
    vectors = torch.linalg.eigh(spread.cpu())[1].to(mass)  # columns, the widest last
    across, along = (vectors * torch.where(vectors.sum(1, keepdim=True) < 0, -1.0, 1.0)).unbind(2)
    return along, across
