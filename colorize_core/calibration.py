"""What a trained network's colours need, measured on photographs that were held out from its training."""

import math
from collections.abc import Iterable

import numpy as np
from scipy.optimize import minimize

from colorize_core import color, distribution, metrics
from colorize_core.colorizer import Colorizer
from colorize_core.distribution import Calibration

AMPLIFICATIONS = 1.0, 20.0  # between which it is sought


def calibrate(colorizer: Colorizer, photographs: Iterable[np.ndarray]) -> None:
    """Set ``colorizer.calibration`` by colour photographs, sRGB (H, W, 3) uint8 each; a few hundred small ones suffice.

    The amplification makes them as colourful at vividness 1 as they are in truth, on average. Then the confidence is
    fitted: a logistic regression of whether a photograph's mean CIEDE2000, at the default vividness, is tolerable.
    """
    truths = list(photographs)
    greys = [color.grey_of(truth) for truth in truths]
    colorizer.calibration = Calibration(2.0)
    plain, twice = ([colorizer.predict([grey], v)[0].chroma[0] for grey in greys] for v in (0.0, 1.0))
    true = np.mean([metrics.colorfulness(truth) for truth in truths])
    low, high = AMPLIFICATIONS
    for _ in range(10):
        amplification = (low + high) / 2
        each = zip(greys, plain, twice, strict=True)
        pictures = (color.merge(grey, one + (amplification - 1) * (two - one)) for grey, one, two in each)
        reached = np.mean([metrics.colorfulness(rgb) for rgb in pictures])
        low, high = (amplification, high) if reached < true else (low, amplification)

    colorizer.calibration = Calibration(amplification)
    colourings = [colorizer.predict([grey])[0] for grey in greys]
    differences = [colouring.expected_difference for colouring in colourings]
    pictures = (color.merge(grey, colouring.chroma[0]) for grey, colouring in zip(greys, colourings, strict=True))
    errors = [metrics.ciede2000(truth, rgb) for truth, rgb in zip(truths, pictures, strict=True)]
    middle, width = _logistic(np.array(differences), np.array(errors) < distribution.TOLERABLE)
    colorizer.calibration = Calibration(round(amplification, 4), round(middle, 4), round(width, 4))


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
