"""What a trained network's colours need, measured on photographs that were held out from its training."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from scipy.optimize import minimize

from colorize_core import color, decoding, metrics
from colorize_core.colorizer import Colorizer, thumbnail
from colorize_core.decoding import Calibration

GAINS = 0.5, 4.0  # between which the gain is sought


@torch.inference_mode()
def calibrate(colorizer: Colorizer, photographs: Iterable[np.ndarray]) -> Calibration:
    """On colour photographs, sRGB (H, W, 3) uint8 each; a few hundred small ones suffice.

    The gain makes them as colourful at vividness 1 as they are in truth, on average. Then the confidence is fitted: a
    logistic regression of whether a photograph's mean CIEDE2000, at the default vividness, is tolerable.
    """
    truths = list(photographs)
    greys = [color.grey_of(truth) for truth in truths]
    bins, prior = colorizer.network.bins, colorizer.network.prior

    def logits(grey: np.ndarray) -> torch.Tensor:
        return colorizer.output(torch.from_numpy(thumbnail(grey, colorizer.input_side))[None, None])

    def picture(grey: np.ndarray, ab: torch.Tensor) -> np.ndarray:
        return color.merge(grey, ab[0].permute(1, 2, 0).cpu().numpy())

    vivid = [decoding.chroma(logits(grey), bins, prior, 1.0, 1.0) for grey in greys]
    true = np.mean([metrics.colorfulness(truth) for truth in truths])
    low, high = GAINS
    for _ in range(10):
        gain = (low + high) / 2
        pictures = (picture(grey, gain * ab) for grey, ab in zip(greys, vivid, strict=True))
        reached = np.mean([metrics.colorfulness(rgb) for rgb in pictures])
        low, high = (gain, high) if reached < true else (low, gain)

    differences, tolerable = [], []
    for truth, grey in zip(truths, greys, strict=True):
        output = logits(grey)
        ab = decoding.chroma(output, bins, prior, decoding.DEFAULT_VIVIDNESS, gain)
        differences.append(decoding.expected_difference(output, bins, ab).mean().item())
        tolerable.append(metrics.ciede2000(truth, picture(grey, ab)) < decoding.TOLERABLE)
    middle, width = _logistic(np.array(differences), np.array(tolerable))
    return Calibration(gain=round(gain, 4), middle=round(middle, 4), width=round(width, 4))


def _logistic(x: np.ndarray, is_true: np.ndarray) -> tuple[float, float]:
    """Middle and width of the falling logistic curve that gives the probability of ``is_true``, (n,) each.

    Held to within reason where the photographs are few, or all alike, by a weak prior.
    """
    start = np.array([x.mean(), math.log(max(x.std(), 0.1))])

    def loss(parameters: np.ndarray) -> float:
        position = (x - parameters[0]) / math.exp(parameters[1])
        likelihood = np.logaddexp(0, np.where(is_true, position, -position)).sum()
        return likelihood + ((parameters - start) ** 2).sum() / 2

    middle, log_width = minimize(loss, start, method="Nelder-Mead").x
    return float(middle), math.exp(log_width)
