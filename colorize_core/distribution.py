"""From a network's distribution over ab to colours: how vivid, how sure, and which others there are.

The dial: at vividness 0 each pixel gets the mean of its sharpened distribution, the most accurate colour. Towards 1
rare colours gain weight, by a power of how often their bins occur in photographs (logit adjustment, Menon et al. 2021;
the class rebalancing of Zhang et al. 2016, but undone or applied when decoding, without another training), and the
result is amplified until a set of photographs that was held out from training is as colourful as in truth.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from colorize_core.weights_file import MAX_VARIANTS

DEFAULT_VIVIDNESS = 0.7
SHARPNESS = 2  # power of the probabilities whose mean is the colour: above 1 it raises accuracy and colour
RARITY = 1.0  # at vividness 1: power of a bin's frequency that these are divided by
SMOOTHING = 0.1  # share of a uniform distribution that is mixed into the frequencies
TOLERABLE = 10.0  # CIEDE2000 that a photograph's confidence is about
SPARSE = 2  # a photograph's confidence looks at every second place in each direction
SHIFT = 10.0  # CIE units in ab by which a variant differs, on average over the picture
MAX_TILT = 0.2  # of the logarithm of a probability, per CIE unit: how far a variant may go to reach its shift


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a network's colours need, measured on photographs that were held out from its training (``calibrate``)."""

    gain: float = 1.0
    """What ab is multiplied by at vividness 1."""
    middle: float = 10.0
    """Expected colour difference at which the confidence is one half."""
    width: float = 1.5
    """Of the logistic curve that falls from confidence 1 to 0."""


def probabilities(logits: Tensor) -> Tensor:
    """Logits over bins of ab as a network gives them, (N, Q, h, w), to probabilities (N, h, w, Q) in float32."""
    return logits.permute(0, 2, 3, 1).float().softmax(-1)


def chroma(probability: Tensor, bins: Tensor, prior: Tensor, vividness: float | Tensor, gain: float) -> Tensor:
    """Probabilities of bins of ab, (N, h, w, Q), to ab in CIE units, (N, 2, h, w).

    ``bins`` is (Q, 2) in CIE units, ``prior`` the frequencies of bins in photographs, (Q,), ``vividness`` in [0, 1] and
    ``gain`` that of a ``Calibration``.
    """
    return _mean(probability**SHARPNESS, bins, _weights(prior, vividness)) * _gain(vividness, gain)


def _weights(prior: Tensor, vividness: float | Tensor) -> Tensor:
    """Of bins, (Q,)."""
    return ((1 - SMOOTHING) * prior + SMOOTHING / len(prior)) ** (-vividness * RARITY)


def _gain(vividness: float | Tensor, gain: float) -> float | Tensor:
    return 1 + vividness * (gain - 1)


def _mean(mass: Tensor, bins: Tensor, weights: Tensor) -> Tensor:
    """ab, (N, 2, h, w), the mean of bins by their mass, (N, h, w, Q), times ``weights``, (Q,) or (N, 1, Q)."""
    moments = torch.stack([weights * bins[:, 0], weights * bins[:, 1], weights], -2)  # (3, Q) or (N, 1, 3, Q)
    *ab, total = (mass @ moments.mT).unbind(-1)
    return torch.stack(ab, 1) / total[:, None]


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


def variants(
    probability: Tensor, bins: Tensor, prior: Tensor, vividness: float, gain: float, count: int
) -> list[Tensor]:
    """``count`` colourings, ab in CIE units, (N, 2, h, w) each; the first is that of ``chroma``.

    The others tilt the distributions of all places in one direction of the ab plane, there and back: that in which a
    photograph is the least certain, then the one across. So they differ where the colour is open, all over the picture
    in the same sense, by ``SHIFT`` on average where the distributions allow it, and stay where it is not open.
    Raises ``ValueError`` for a count outside 1 to ``MAX_VARIANTS``.
    """
    if not 1 <= count <= MAX_VARIANTS:
        raise ValueError(f"there are 1 to {MAX_VARIANTS} variants, not {count}")
    mass, weights, scale = probability**SHARPNESS, _weights(prior, vividness), _gain(vividness, gain)
    found = [_mean(mass, bins, weights) * scale]
    if count == 1:
        return found
    along, across = _axes(mass, bins, weights)
    for direction in (along, -along, across, -across)[: count - 1]:
        low, high = torch.zeros(len(mass)).to(mass), torch.full([len(mass)], MAX_TILT).to(mass)
        for _ in range(7):
            tilt = (low + high) / 2
            tilted = weights * torch.exp(tilt[:, None] * (direction @ bins.T))  # (N, Q)
            shifted = _mean(mass, bins, tilted[:, None]) * scale
            enough = (shifted - found[0]).norm(dim=1).mean((1, 2)) >= SHIFT
            low, high = torch.where(enough, low, tilt), torch.where(enough, tilt, high)
        found.append(shifted)
    return found


def _axes(mass: Tensor, bins: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, 2) each: the direction of ab in which a photograph's distributions are the widest, and the one
    across; towards yellow, or red.
    """
    mean = _mean(mass, bins, weights)
    weighted = mass * weights
    share = (weighted / weighted.sum(-1, keepdim=True)).mean((1, 2))  # of bins in the photograph, (N, Q)
    second = torch.einsum("nq,qc,qd->ncd", share, bins, bins)
    spread = second - torch.einsum("nchw,ndhw->ncd", mean, mean) / mean[0, 0].numel()
    vectors = torch.linalg.eigh(spread.cpu())[1].to(mass)  # columns, the widest last
    across, along = (vectors * torch.where(vectors.sum(1, keepdim=True) < 0, -1.0, 1.0)).unbind(2)
    return along, across
