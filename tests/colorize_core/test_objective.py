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
    for name in ("huber", "mse", "cross-entropy", "joint"):
        assert objective.loss(model, output, ab, name).ndim == 0
    assert objective.default(model) == "joint"


def test_cross_entropy_needs_a_distribution():
    model = network.build("resnet18").eval()
    assert objective.default(model) == "huber"
    with pytest.raises(ValueError, match="choose --objective huber or mse"):
        objective.loss(model, torch.zeros(1, 2, 32, 32), torch.zeros(1, 2, 32, 32), "joint")


def test_as_probable_is_as_good_for_cross_entropy_and_nearer_is_better_for_joint():
    model = network.build("lite0")
    true, near, far = (
        (objective.bins() == torch.tensor(node)).all(1).nonzero().item()
        for node in ([20.0, 30], [20.0, 40], [-40.0, 40])
    )
    ab = objective.bins()[true].view(1, 2, 1, 1).expand(1, 2, 32, 32)

    def losses(other: int) -> list[float]:
        """Where the true colour has a probability of 0.4, and another one the rest."""
        probability = torch.full((1, len(objective.bins()), 8, 8), 1e-9)
        probability[:, true], probability[:, other] = 0.4, 0.6
        return [objective.loss(model, probability.log(), ab, name).item() for name in ("cross-entropy", "joint")]

    assert losses(near)[0] == pytest.approx(losses(far)[0])
    assert losses(near)[0] < losses(near)[1] < losses(far)[1] - 1


def test_what_is_not_known_has_no_part_in_the_error_of_what_is_shown(rng):
    shown = torch.from_numpy(rng.uniform(-50, 50, (2, 2, 8, 8)).astype(np.float32))
    ab = torch.from_numpy(rng.uniform(-50, 50, (2, 2, 32, 32)).astype(np.float32))
    known = ab.clone()
    known[1, :, :16] = torch.nan
    changed = shown.clone().requires_grad_()
    with torch.no_grad():
        changed[1, :, :4] += 30
    error = objective.shown_error(changed, known)
    halves = objective.shown_error(shown[:1], ab[:1]), objective.shown_error(shown[1:, :, 4:], ab[1:, :, 16:])
    assert error.item() == pytest.approx(sum(half.item() for half in halves) / 2, rel=1e-5)
    error.backward()
    assert not changed.grad[1, :, :4].any() and changed.grad[1, :, 4:].all()
    everything = objective.shown_error(shown, torch.full_like(ab, torch.nan))
    assert everything.isfinite(), "a photograph of which nothing is known does no harm"
