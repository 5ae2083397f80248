import numpy as np
import pytest
from skimage import data

from colorize_core import color, metrics, photo
from colorize_core.calibration import _logistic, calibrate_confidence, calibrate_vividness
from colorize_core.colorizer import Colorizer


def test_vividness_1_is_as_colourful_as_the_photographs_it_was_calibrated_on():
    colorizer = Colorizer.load("default", "cpu")
    truths = [getattr(data, name)()[:300, :300] for name in ("astronaut", "chelsea", "coffee")]
    calibrate_vividness(colorizer, truths)
    vivid = [colorizer.colorize(photo.Photo(color.grey_of(truth)), 1.0) for truth in truths]
    assert np.mean([metrics.colorfulness(rgb) for rgb in vivid]) == pytest.approx(
        np.mean([metrics.colorfulness(truth) for truth in truths]), rel=0.01
    )


def test_the_confidence_is_fitted_to_the_photographs_and_leaves_the_vividness_alone():
    colorizer = Colorizer.load("default", "cpu")
    before = colorizer.calibration
    grey, sure = data.camera()[:256, :256], []
    for chroma in (0.0, 70.0):  # of the truth: hardly any, and far from what anybody would guess
        calibrate_confidence(colorizer, [color.merge(grey, np.full((1, 1, 2), chroma))] * 8)
        assert colorizer.calibration.amplification == before.amplification
        sure.append(colorizer.predict([grey])[0].confidence)
    assert sure[0] > sure[1]


def test_the_confidence_is_fitted_to_what_happened(rng):
    x = rng.normal(9, 2, 2000)
    happened = rng.random(2000) < 1 / (1 + np.exp((x - 8) / 1.5))
    assert _logistic(x, happened) == pytest.approx((8, 1.5), rel=0.15)


@pytest.mark.parametrize("always", [True, False])
def test_the_confidence_stays_within_reason_where_all_are_alike(always):
    middle, width = _logistic(np.array([8.0, 9.0, 10.0]), np.array([always] * 3))
    assert 5 < middle < 13 and 0.1 < width < 10
