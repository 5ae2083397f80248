"""The likeliest colours at places of a photograph."""

import numpy as np

from colorize_core.likeliest import APART, likeliest

BINS = np.stack(np.meshgrid(np.arange(-50, 60, 10), np.arange(-50, 60, 10), indexing="ij"), -1)
BINS = BINS.reshape(-1, 2).astype(np.float32)


def at(a: float, b: float) -> int:
    return int(np.flatnonzero(np.all(np.array((a, b)) == BINS, 1))[0])


def test_they_differ_and_the_likeliest_comes_first():
    probability = np.zeros((48, 36, len(BINS)), np.float32)
    probability[..., at(0, 0)] = 0.4
    probability[..., at(10, 0)] = 0.1  # too near to be another colour
    probability[24:, :, at(-40, 30)] = 0.5
    found = likeliest(probability, BINS)
    assert found.shape == (12, 9, 5, 2) and found.dtype == np.int8
    np.testing.assert_array_equal(found[0, 0, 0], (2, 0))  # their mean
    np.testing.assert_array_equal(found[11, 8, :2], [(-40, 30), (2, 0)])


def test_colours_of_a_real_distribution_lie_apart(rng):
    probability = rng.random((20, 30, len(BINS)), np.float32) ** 8
    found = likeliest(probability / probability.sum(-1, keepdims=True), BINS).astype(float)
    first, second = found[..., 0, :], found[..., 1, :]
    assert np.linalg.norm(first - second, axis=-1).min() > APART / 4


def test_a_tiny_grid_has_a_place():
    assert likeliest(np.full((1, 8, len(BINS)), 0.01, np.float32), BINS).shape == (2, 12, 5, 2)
