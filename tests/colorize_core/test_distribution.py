import numpy as np
import pytest

from colorize_core import distribution
from colorize_core.distribution import Calibration

BINS = distribution.bins()


def probability_of(*colors: tuple[float, float, float], side: int = 4) -> np.ndarray:
    """A picture of which each pixel has these colours, (a, b, probability) each, at nodes of the grid."""
    probability = np.full(len(BINS), 1e-6, np.float32)
    for a, b, p in colors:
        probability[np.linalg.norm(BINS - (a, b), axis=1).argmin()] = p
    return np.tile(probability / probability.sum(), (1, side, side, 1))


def chroma(probability: np.ndarray, vividness: float, amplification: float = 3.0) -> np.ndarray:
    return distribution.chroma(probability, BINS, vividness, amplification)[0, :, 0, 0]


def test_a_certain_colour_is_the_same_at_any_vividness():
    for vividness in (0.0, 0.5, 1.0):
        assert np.allclose(chroma(probability_of((50, 40, 1.0)), vividness), (50, 40), atol=2)


def test_vividness_makes_up_for_the_chroma_that_a_mean_lacks_step_by_step():
    undecided = probability_of((0, 0, 0.5), (60, 40, 0.5))
    strength = [np.hypot(*chroma(undecided, vividness)) for vividness in (0, 0.25, 0.5, 0.75, 1)]
    assert strength == sorted(strength) and strength[-1] > 1.5 * strength[0]
    assert np.allclose(chroma(undecided, 1.0, amplification=1.0), chroma(undecided, 0.0))


def test_what_cancels_out_is_hardly_amplified():
    """As the clothes of which nothing tells the colour: amplified, they would get stains."""
    strong, weak = probability_of((60, 0, 0.9), (0, 60, 0.1)), probability_of((40, 0, 0.5), (-40, 0, 0.49))
    factors = [np.hypot(*chroma(one, 1.0)) / np.hypot(*chroma(one, 0.0)) for one in (strong, weak)]
    assert factors[0] > 1.3 and 1 < factors[1] < 1.2


def test_the_expected_difference_is_that_of_scikit_image():
    """For two greys of equal lightness there is no hue, and CIE94 is a chroma difference."""
    from skimage.color import deltaE_ciede94

    ab = np.tile(np.float32([30, 0]).reshape(1, 2, 1, 1), (4, 4))
    difference = distribution.expected_difference(probability_of((30, 0, 0.5), (60, 0, 0.5)), BINS, ab)[0, 0, 0]
    c = (30 * 60) ** 0.5
    assert difference == pytest.approx(0.5 * 30 / (1 + 0.045 * c), rel=0.01)
    theirs = deltaE_ciede94(np.array([50.0, 30, 0]), np.array([50.0, 60, 0]))  # weighs by the first colour's chroma
    assert difference == pytest.approx(0.5 * theirs, rel=0.25)


def test_confidence_falls_with_the_expected_difference():
    calibration = Calibration(middle=8.0, width=2.0)
    values = distribution.confidence(np.array([0.0, 5.0, 8.0, 10.0, 1e6]), calibration).tolist()
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.95 and values[2] == 0.5 and 0 <= values[-1] < 1e-6


def test_variants_differ_where_the_colour_is_open_and_hold_together():
    """Left half certain; right half blue or orange, with pixel-wise differences of opinion."""
    rng = np.random.default_rng(0)
    certain = probability_of((20, 20, 1.0), side=8)
    open_ = probability_of((0, -40, 0.5), (30, 40, 0.5), side=8)
    open_ = open_ * np.exp(0.3 * rng.standard_normal(open_.shape, np.float32))
    probability = np.concatenate([certain, open_ / open_.sum(-1, keepdims=True)], axis=2)
    plain, warm, cold, *others = distribution.variants(probability, BINS, 0.5, 1.0, 5)
    assert np.allclose(plain, distribution.chroma(probability, BINS, 0.5, 1.0)) and len(others) == 2
    for variant in (warm, cold):
        shift = variant - plain
        assert np.linalg.norm(shift[..., :8], axis=1).max() < 2, "what is certain stays"
        assert np.linalg.norm(shift, axis=1).mean() == pytest.approx(distribution.SHIFT, rel=0.3)
        direction = shift[0, :, :, 8:].mean((1, 2))
        agreement = (shift[0, :, :, 8:] * direction[:, None, None]).sum(0)
        assert (agreement > 0).all(), "all open pixels move the same way"
    assert warm[0, 1, :, 8:].mean() > plain[0, 1, :, 8:].mean() > cold[0, 1, :, 8:].mean()


def test_no_variant_of_what_is_certain():
    plain, other = distribution.variants(probability_of((50, 40, 1.0)), BINS, 0.5, 1.0, 2)
    assert np.abs(plain - other).max() < 2


@pytest.mark.parametrize("count", [0, distribution.MAX_VARIANTS + 1])
def test_the_number_of_variants_is_limited(count):
    with pytest.raises(ValueError, match="1 to 5 variants"):
        distribution.variants(probability_of((0, 0, 1.0)), BINS, 0.5, 1.0, count)
