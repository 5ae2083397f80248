import cv2
import numpy as np
import pytest
from skimage.color import rgb2lab

from colorize_core import color, kernels, metrics
from tests.oracle import cases, fraction_kept, plain_clipping

CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_merge_keeps_the_grey_of_every_pixel(name):
    grey, ab = CASES[name]
    rgb = color.merge(grey, ab)
    assert fraction_kept(grey, rgb) == 1.0
    assert np.array_equal(color.grey_of(rgb), grey)
    assert fraction_kept(grey, plain_clipping(grey, ab)) < 0.95, "the case is too easy to prove anything"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_merge_keeps_grey_at_the_extremes_of_chroma(dtype):
    levels = np.unique(np.linspace(0, np.iinfo(dtype).max, 256).astype(dtype))
    corners = [(a, b) for a in (-128, -60, 0, 60, 127) for b in (-128, -60, 0, 60, 127)]
    grey = np.repeat(levels[:, None], len(corners), axis=1)
    ab = np.broadcast_to(np.array(corners, np.float32), (*grey.shape, 2))
    assert fraction_kept(grey, color.merge(grey, ab)) == 1.0


def test_merge_gives_the_chroma_that_was_asked_for_where_srgb_can_show_it(rng):
    truth = rng.integers(40, 216, (64, 64, 3), dtype=np.uint8)
    rgb = color.merge(color.grey_of(truth), rgb2lab(truth)[..., 1:].astype(np.float32))
    assert np.abs(rgb.astype(int) - truth).max() <= 2


def test_merge_gives_up_chroma_and_keeps_hue_outside_srgb():
    rgb = color.merge(np.full((1, 1), 128, np.uint8), np.array([[[0, 120]]], np.float32))
    asked, got = 120.0, rgb2lab(rgb)[0, 0, 2]
    assert 40 < got < asked
    assert rgb[0, 0].min() == 0


def test_merge_without_chroma_is_neutral():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rgb = color.merge(levels, np.zeros((1, 1, 2), np.float32))
    assert np.array_equal(rgb, np.repeat(levels[..., None], 3, axis=2))


def test_merge_enlarges_chroma_bilinearly_and_without_seams(rng):
    grey = np.full((700, 500), 128, np.uint8)
    ab = rng.normal(0, 15, (24, 16, 2)).astype(np.float32)
    whole = cv2.resize(ab, (500, 700), interpolation=cv2.INTER_LINEAR)
    difference = np.abs(color.merge(grey, ab).astype(int) - color.merge(grey, whole))
    assert difference.max() <= 1  # rounding alone


def test_merge_enlarges_chroma_along_edges(rng):
    """A red disc on a blue wall, its chroma 16 times smaller than the picture: colour stays within the outline."""
    yy, xx = np.mgrid[:320, :320]
    inside = (yy - 150) ** 2 + (xx - 170) ** 2 < 100**2
    grey = np.clip(np.where(inside, 90, 180) + rng.normal(0, 2, inside.shape), 0, 255).astype(np.uint8)
    ab = np.where(inside[..., None], (40.0, 30.0), (-5.0, -30.0)).astype(np.float32)
    small = cv2.resize(ab, (20, 20), interpolation=cv2.INTER_AREA)
    bilinear = cv2.resize(small, (320, 320), interpolation=cv2.INTER_LINEAR)
    truth = color.merge(grey, ab)
    ours, plain = (metrics.near_edges(truth, color.merge(grey, chroma)) for chroma in (small, bilinear))
    assert ours < 0.7 * plain
    assert color.grey_of(color.merge(grey, small)).tolist() == grey.tolist()


@pytest.mark.parametrize(
    "grey, ab",
    [
        (np.zeros((4, 4, 1), np.uint8), np.zeros((2, 2, 2))),
        (np.zeros((4, 4), np.uint8), np.zeros((2, 2, 3))),
        (np.zeros((4, 4), np.float32), np.zeros((2, 2, 2))),
        (np.zeros((4, 4), np.uint8), np.full((2, 2, 2), np.nan)),
    ],
)
def test_merge_refuses_what_does_not_fit(grey, ab):
    with pytest.raises(ValueError):
        color.merge(grey, ab)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_of_is_the_level_nearest_in_lightness(dtype, rng):
    rgb = rng.integers(0, np.iinfo(dtype).max, (200, 200, 3), dtype=dtype, endpoint=True)
    assert fraction_kept(color.grey_of(rgb), rgb) > 0.9999  # float32 decides ties at half a level
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[None]
    assert np.array_equal(color.grey_of(np.repeat(levels[..., None], 3, axis=2)), levels)


def test_lab_agrees_with_scikit_image(rng):
    rgb = rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)
    assert np.abs(color.rgb_to_lab(rgb) - rgb2lab(rgb)).max() < 0.5
    grey = rgb[..., 0]
    assert np.abs(color.lightness(grey) - rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]).max() < 1e-3


def test_transfer_function_is_its_own_inverse():
    value = np.linspace(0, 1, 1001)
    assert np.abs(color.linear_to_srgb(color.srgb_to_linear(value)) - value).max() < 1e-6


@pytest.mark.parametrize("shape", [(3000, 4000), (2005, 3001), (1001, 777), (50, 40), (500, 60)])
def test_reduced_averages(shape, rng):
    grey = cv2.GaussianBlur(rng.integers(0, 256, shape, dtype=np.uint8), (0, 0), 3)
    expected = cv2.resize(grey.astype(np.float32), (48, 40), interpolation=cv2.INTER_AREA)
    found = color.reduced(grey, 40, 48)
    assert found.shape == (40, 48) and np.abs(found - expected).mean() < 0.7
    assert abs(found.mean() - expected.mean()) < 0.5


def test_the_loops_are_compiled_once_for_each_depth(rng):
    """It takes seconds, which no photograph is to pay for: not for a small one, nor for another order of ab's axes."""
    grey = rng.integers(0, 255, (64, 48), np.uint8)
    color.merge(grey, rng.normal(0, 20, (16, 12, 2)))
    compiled = len(kernels.merge.signatures)
    for ab in (rng.normal(0, 20, (64, 64, 2)), rng.normal(0, 20, (2, 16, 12)).transpose(1, 2, 0)):
        for kind in (np.float32, np.float64):
            color.merge(grey, ab.astype(kind))
            color.merge(grey[::2, ::2], ab[:1].astype(kind))
    assert len(kernels.merge.signatures) == compiled
