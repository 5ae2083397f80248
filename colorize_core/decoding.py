"""From a network's distribution over ab to colours: how vivid, how sure, and which others there are.

The dial: at vividness 0 each pixel gets the mean of its sharpened distribution, the most accurate colour. Towards 1
rare colours gain weight, by a power of how often their bins occur in photographs (logit adjustment, Menon et al. 2021;
the class rebalancing of Zhang et al. 2016, but undone or applied when decoding, without another training), and the
result is amplified until a set of photographs that was held out from training is as colourful as in truth.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

DEFAULT_VIVIDNESS = 0.6
TEMPERATURE = 0.5  # below 1 the distribution is sharpened, which raises accuracy and colour
RARITY = 0.5  # at vividness 1: power of a bin's frequency that its probability is divided by
SMOOTHING = 0.1  # share of a uniform distribution that is mixed into the frequencies
TOLERABLE = 10.0  # CIEDE2000 that a photograph's confidence is about
SPARSE = 2  # a photograph's confidence looks at every second place in each direction
MAX_VARIANTS = 5
SHIFT = 10.0  # CIE units in ab by which a variant differs, on average over the picture
MAX_TILT = 0.2  # of log-probability per CIE unit: how far a variant may go to reach its shift


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a network's colours need, measured on photographs that were held out from its training (``calibrate``)."""

    gain: float = 1.0
    """What ab is multiplied by at vividness 1."""
    middle: float = 10.0
    """Expected colour difference at which the confidence is one half."""
    width: float = 1.5
    """Of the logistic curve that falls from confidence 1 to 0."""


def chroma(logits: Tensor, bins: Tensor, prior: Tensor, vividness: float | Tensor, gain: float) -> Tensor:
    """Logits over bins of ab, (N, Q, h, w), to ab in CIE units, (N, 2, h, w).

    ``bins`` is (Q, 2) in CIE units, ``prior`` the frequencies of bins in photographs, (Q,), ``vividness`` in [0, 1] and
    ``gain`` that of a ``Calibration``.
    """
    return _mean(sharpened(logits, prior, vividness), bins) * (1 + vividness * (gain - 1))


def sharpened(logits: Tensor, prior: Tensor, vividness: float | Tensor) -> Tensor:
    """The logits of the distribution whose mean is the colour, of the same shape."""
    smooth = (1 - SMOOTHING) * prior + SMOOTHING / len(prior)
    return (logits - vividness * RARITY * smooth.log()[:, None, None]) / TEMPERATURE


def _mean(logits: Tensor, bins: Tensor) -> Tensor:
    return torch.einsum("nqhw,qc->nchw", logits.softmax(1), bins)


def expected_difference(logits: Tensor, bins: Tensor, ab: Tensor) -> Tensor:
    """How far off a colour is likely to be: the CIE94 difference in chroma and hue between ``ab``, (N, 2, h, w), and
    what the distribution expects, averaged over it; (N, h, w). (Both weighted as chroma: 1 + 0.045 C*.)
    """
    probability = logits.softmax(1)
    distance = torch.cdist(ab.permute(0, 2, 3, 1), bins[None, None]).permute(0, 3, 1, 2)  # (N, Q, h, w)
    weighted = distance / (1 + 0.045 * (ab.norm(dim=1, keepdim=True) * bins.norm(dim=1)[:, None, None]).sqrt())
    return (probability * weighted).sum(1)


def confidence(difference: float | Tensor, calibration: Calibration) -> float | Tensor:
    """Of an expected difference: the probability that the true one, CIEDE2000 averaged over the photograph, is below
    ``TOLERABLE``; between 0 and 1.
    """
    position = (difference - calibration.middle) / calibration.width
    return torch.sigmoid(-position) if isinstance(position, Tensor) else 1 / (1 + math.exp(min(position, 700.0)))


def variants(logits: Tensor, bins: Tensor, prior: Tensor, vividness: float, gain: float, count: int) -> list[Tensor]:
    """``count`` colourings, ab in CIE units, (N, 2, h, w) each; the first is that of ``chroma``.

    The others tilt the distributions of all pixels in one direction of the ab plane, there and back: that in which a
    photograph is the least certain, then the one across. So they differ where the colour is open, all over the picture
    in the same sense, by ``SHIFT`` on average where the distributions allow it, and stay where it is not open.
    Raises ``ValueError`` for a count outside 1 to ``MAX_VARIANTS``.
    """
    if not 1 <= count <= MAX_VARIANTS:
        raise ValueError(f"there are 1 to {MAX_VARIANTS} variants, not {count}")
    base, scale = sharpened(logits, prior, vividness), 1 + vividness * (gain - 1)
    found = [_mean(base, bins) * scale]
    if count == 1:
        return found
    along, across = _axes(base, bins)
    for direction in (along, -along, across, -across)[: count - 1]:
        projected = (direction @ bins.T)[..., None, None]  # (N, Q, 1, 1)
        low, high = (torch.full((len(logits), 1, 1, 1), value, device=logits.device) for value in (0.0, MAX_TILT))
        for _ in range(7):
            tilt = (low + high) / 2
            shifted = _mean(base + tilt * projected, bins) * scale
            enough = (shifted - found[0]).norm(dim=1).mean((1, 2)).view(-1, 1, 1, 1) >= SHIFT
            low, high = torch.where(enough, low, tilt), torch.where(enough, tilt, high)
        found.append(shifted)
    return found


def _axes(logits: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, 2) each: the direction of ab in which a photograph's distributions are the widest, and the one
    across; towards yellow, or red.
    """
    probability = logits.softmax(1)
    mean = torch.einsum("nqhw,qc->nchw", probability, bins)
    second = torch.einsum("nqhw,qc,qd->ncd", probability, bins, bins) / mean[0, 0].numel()
    spread = second - torch.einsum("nchw,ndhw->ncd", mean, mean) / mean[0, 0].numel()
    vectors = torch.linalg.eigh(spread.cpu())[1].to(logits.device)  # columns, the widest last
    towards = torch.where(vectors.sum(1, keepdim=True) < 0, -1.0, 1.0)
    across, along = (vectors * towards).unbind(2)
    return along, across
