"""The likeliest colours at places of a photograph."""

import numpy as np

from colorize_core import distribution
from colorize_core.hints import CELL
from colorize_core.likeliest import APART, likeliest, places
from colorize_core.openvino_engine import OpenVinoEngine
from colorize_core.pytorch_engine import PyTorchEngine
from colorize_core.weights_file import WeightsFile

BINS = np.stack(np.meshgrid(np.arange(-50, 60, 10), np.arange(-50, 60, 10), indexing="ij"), -1)
BINS = BINS.reshape(-1, 2).astype(np.float32)


def at(a: float, b: float) -> int:
    return int(np.flatnonzero(np.all(np.array((a, b)) == BINS, 1))[0])


def test_they_differ_and_the_likeliest_comes_first():
    probability = np.zeros((12, 9, len(BINS)), np.float32)
    probability[..., at(0, 0)] = 0.4
    probability[..., at(10, 0)] = 0.1  # too near to be another colour
    probability[6:, :, at(-40, 30)] = 0.5
    found = likeliest(probability, BINS)
    assert found.shape == (12, 9, 5, 2) and found.dtype == np.int8
    np.testing.assert_array_equal(found[0, 0, 0], (2, 0))  # their mean
    np.testing.assert_array_equal(found[11, 8, :2], [(-40, 30), (2, 0)])


def test_colours_of_a_real_distribution_lie_apart(rng):
    probability = rng.random((20, 30, len(BINS)), np.float32) ** 8
    found = likeliest(probability / probability.sum(-1, keepdims=True), BINS).astype(float)
    first, second = found[..., 0, :], found[..., 1, :]
    assert np.linalg.norm(first - second, axis=-1).min() > APART / 4


def test_places_lie_in_the_middle_of_their_parts_and_a_tiny_grid_has_some():
    lines, columns = places(48, 36)
    assert lines.tolist() == list(range(2, 48, 4)) and columns.tolist() == list(range(2, 36, 4))
    assert [len(at) for at in places(1, 8)] == [2, 12]


def test_both_engines_give_those_of_the_whole_distribution(rng):
    weights = WeightsFile.read("default")
    lightness = 100 * rng.random((1, 1, 224, 288)).astype(np.float32)
    lines, columns = places(224 // CELL, 288 // CELL)
    for engine in (OpenVinoEngine(weights, "float32"), PyTorchEngine(weights, "cpu", "float32")):
        logits, _ = engine.logits(lightness, None)
        whole = distribution.probabilities(np.asarray(logits))
        found = engine.colours(lightness, None, 0.5, 3.0, at_places=True)
        np.testing.assert_allclose(found.probability, whole[:, lines[:, None], columns], atol=1e-5)
        np.testing.assert_array_equal(found.ab, engine.colours(lightness, None, 0.5, 3.0).ab)
