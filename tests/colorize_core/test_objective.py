import numpy as np
import pytest
import torch
from skimage import data

from colorize_core import color, network, objective


def test_every_colour_of_srgb_has_a_bin_near_it(rng):
    colors = rng.integers(0, 256, (1, 5000, 3), np.uint8)
    ab = torch.from_numpy(color.rgb_to_lab(colors)[0, :, 1:])
    assert torch.cdist(ab, objective.bins()).amin(1).max() < objective.STEP
    assert len(objective.bins()) == 290, "shipped weights have so many"


def test_the_mean_of_an_encoded_colour_is_the_colour():
    ab = torch.from_numpy(color.rgb_to_lab(data.astronaut())[..., 1:]).permute(2, 0, 1)[None]
    index, weight = objective.encode(ab)
    assert index.shape == weight.shape == (1, 4, 512, 512)
    assert torch.allclose(weight.sum(1), torch.ones(1, 512, 512))
    mean = (objective.bins()[index] * weight[..., None]).sum(1).permute(0, 3, 1, 2)
    error = (mean - ab).abs()
    assert error.mean() < 0.01 and (error > 0.01).float().mean() < 0.01, "only at the border of sRGB is there an error"


def test_colours_beyond_every_bin_are_clamped():
    index, weight = objective.encode(torch.tensor([500.0, -500.0]).view(1, 2, 1, 1))
    assert index.max() < len(objective.bins()) and weight.isfinite().all()


def test_any_objective_fits_a_network_with_a_distribution():
    model = network.build("lite0").eval()
    lightness, ab = torch.rand(1, 1, 64, 64) * 100, torch.zeros(1, 2, 64, 64)
    output = model(lightness)
    for name in ("huber", "mse", "cross-entropy"):
        assert objective.loss(model, output, ab, name).ndim == 0
    assert objective.default(model) == "cross-entropy"


def test_cross_entropy_needs_a_distribution():
    model = network.build("resnet18").eval()
    assert objective.default(model) == "huber"
    with pytest.raises(ValueError, match="choose --objective huber or mse"):
        objective.loss(model, torch.zeros(1, 2, 32, 32), torch.zeros(1, 2, 32, 32), "cross-entropy")
