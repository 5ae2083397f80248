"""What a trained network's colours need, measured on photographs that were held out from its training."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from colorize_core import color, distribution, metrics
from colorize_core.colorizer import Colorizer

AMPLIFICATIONS = 1.0, 20.0  # between which it is sought


def calibrate_vividness(colorizer: Colorizer, photographs: Iterable[np.ndarray]) -> None:
    """Set the amplification of ``colorizer.calibration`` so that colour photographs, sRGB (H, W, 3) uint8 each, are as
    colourful at vividness 1 as they are in truth, on average; a few hundred small ones suffice.
    """
    truths = list(photographs)
    greys = [color.grey_of(truth) for truth in truths]
    calibration = colorizer.calibration
    colorizer.calibration = replace(calibration, amplification=2.0)
    plain, twice = ([colorizer.predict([grey], v)[0].chroma[0] for grey in greys] for v in (0.0, 1.0))
    true = np.mean([metrics.colorfulness(truth) for truth in truths])
    low, high = AMPLIFICATIONS
    for _ in range(10):
        amplification = (low + high) / 2
        each = zip(greys, plain, twice, strict=True)
        pictures = (color.merge(grey, one + (amplification - 1) * (two - one)) for grey, one, two in each)
        reached = np.mean([metrics.colorfulness(rgb) for rgb in pictures])
        low, high = (amplification, high) if reached < true else (low, amplification)
    colorizer.calibration = replace(calibration, amplification=round(amplification, 4))


def calibrate_confidence(colorizer: Colorizer, photographs: Iterable[np.ndarray]) -> None:
    """Fit the confidence of ``colorizer.calibration`` to colour photographs, sRGB (H, W, 3) uint8 each: a logistic
    regression of whether a photograph's mean CIEDE2000, at the default vividness, is tolerable.

    It holds for photographs of their kind; best are kinds that training has not seen.
    """
    differences, tolerable = [], []
    for truth in photographs:
        grey = color.grey_of(truth)
        (colouring,) = colorizer.predict([grey])
        differences.append(colouring.expected_difference)
        tolerable.append(metrics.ciede2000(truth, color.merge(grey, colouring.chroma[0])) < distribution.TOLERABLE)
    middle, width = _logistic(np.array(differences), np.array(tolerable))
    colorizer.calibration = replace(colorizer.calibration, middle=round(middle, 4), width=round(width, 4))


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
