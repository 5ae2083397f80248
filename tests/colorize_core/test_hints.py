import numpy as np
import pytest
import torch
from skimage import data

from colorize_core import hints, network, training
from colorize_core.colorizer import Colorizer
from colorize_core.hints import Hint
from colorize_core.network import pack_weights

SCAN, GRID = (480, 640), (48, 64)  # places of 10 x 10 pixels


@pytest.fixture(scope="module")
def colorizer(tmp_path_factory) -> Colorizer:
    """Of random weights that take hints."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "hinted.safetensors"
    path.write_bytes(pack_weights(network.build("lite0", hints=True), "lite0", {"hints": True}, 96, {}))
    return Colorizer.load(str(path), "cpu")


def test_a_hint_fills_the_place_that_it_lies_in_and_what_its_radius_covers():
    point = hints.planes([Hint(205, 99, (55, -11))], SCAN, GRID)
    assert np.argwhere(point[2]).tolist() == [[9, 20]]
    assert point[:, 9, 20] == pytest.approx([0.5, -0.1, 1]) and np.count_nonzero(point) == 3
    disc = hints.planes([Hint(320, 240, (10, 10), radius=50)], SCAN, GRID)[2]
    assert disc.sum() == pytest.approx(np.pi * 5**2, rel=0.1)


def test_no_colour_is_a_colour_and_the_later_hint_wins():
    planes = hints.planes([Hint(5, 5, (40, 0)), Hint(5, 5, None)], SCAN, GRID)
    assert planes[:, 0, 0].tolist() == [0, 0, 1] and planes.sum() == 1


def test_the_corners_of_a_scan_are_in_it():
    planes = hints.planes([Hint(0, 0, (1, 1)), Hint(640, 480, (1, 1))], SCAN, GRID)
    assert planes[2, 0, 0] == planes[2, -1, -1] == 1


@pytest.mark.parametrize(
    "hint, said",
    [
        (Hint(641, 5, None), r"\(641, 5\) lies outside the scan of 640 x 480"),
        (Hint(5, -1, None), "outside"),
        (Hint(float("nan"), 5, None), "outside"),
        (Hint(5, 5, (200, 0)), "between -128 and 128"),
        (Hint(5, 5, (float("nan"), 0)), "between -128 and 128"),
        (Hint(5, 5, None, radius=-1), "radius of 0 or more"),
    ],
)
def test_a_hint_that_means_nothing_is_refused(hint, said):
    with pytest.raises(ValueError, match=said):
        hints.planes([hint], SCAN, GRID)


def test_simulated_hints_tell_the_truth_where_they_are():
    ab = torch.rand(64, 2, 64, 96) * 20 + torch.tensor([30.0, -60.0])[:, None, None]
    seeds = [(0, i) for i in range(64)]
    planes = training.simulated_hints(ab, seeds, 0.5)
    assert planes.shape == (64, 3, 16, 24) and torch.equal(planes, training.simulated_hints(ab, seeds, 0.5))
    known = planes[:, 2] == 1
    assert torch.all(planes.movedim(1, -1)[~known] == 0)
    told = planes.movedim(1, -1)[known][:, :2] * hints.UNIT
    assert told.min(0).values.tolist() > [29.9, -60.1] and told.max(0).values.tolist() < [50.1, -39.9]
    some = known.flatten(1).any(1)
    assert 16 < some.sum() < 48, "about half of the photographs"
    assert (
        not training.simulated_hints(ab, seeds, 0).any()
        and training.simulated_hints(ab, seeds, 1)[:, 2].flatten(1).any(1).all()
    )


def test_without_hints_a_network_computes_what_one_that_takes_none_does():
    torch.manual_seed(0)
    plain = network.build("lite0").eval()
    takes = network.build("lite0", hints=True).eval()
    assert takes.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    lightness = torch.rand(2, 1, 64, 96) * 100
    with torch.inference_mode():
        assert torch.equal(takes(lightness), plain(lightness))
        none = takes(lightness, torch.zeros(2, 3, 16, 24))
        assert torch.allclose(none, plain(lightness), atol=1e-4), "planes without a hint change nothing"


def test_a_hint_pulls_its_place_to_its_colour_and_leaves_the_other_photographs_alone(colorizer):
    grey = data.camera()
    hint = [Hint(256, 128, (60, 40), radius=40)]
    plain, again = colorizer.predict([grey, grey], hints=[[], hint])
    (alone,) = colorizer.predict([grey])
    assert np.array_equal(plain.chroma[0], alone.chroma[0]), "no hint, no change, whatever else is in the batch"
    there = tuple(int(n * size / 512) for n, size in zip((128, 256), again.chroma[0].shape[:2], strict=True))
    before, after = (np.linalg.norm(chroma[there] - (60, 40)) for chroma in (plain.chroma[0], again.chroma[0]))
    assert after < 0.7 * before


def test_what_is_off_at_a_hint_may_be_off_elsewhere_and_what_is_right_confirms(colorizer):
    """A hint moves what does not look like its place too, by how far it is from the colour expected there."""
    grey = data.camera()
    (plain,) = colorizer.predict([grey], 0)
    there = tuple(int(n * size / 512) for n, size in zip((128, 256), plain.chroma[0].shape[:2], strict=True))
    expected = plain.chroma[0][there]

    def moved(ab) -> float:
        (told,) = colorizer.predict([grey], 0, hints=[[Hint(256, 128, tuple(map(float, ab)), radius=10)]])
        far = np.hypot(*np.indices(plain.chroma[0].shape[:2]) - np.array(there)[:, None, None]) > 20
        return float(np.linalg.norm((told.chroma[0] - plain.chroma[0])[far], axis=1).mean())

    assert moved(expected) < 0.5 * moved(expected + np.full(2, 15))


def test_a_hint_of_no_colour_is_not_no_hint(colorizer):
    grey = data.camera()
    plain, told = colorizer.predict([grey, grey], hints=[[], [Hint(256, 128, None, radius=40)]])
    assert not np.array_equal(plain.chroma[0], told.chroma[0])


@pytest.mark.parametrize("name", ["resnet18", "lite2"])
def test_weights_that_were_trained_without_hints_say_so(name, tmp_path):
    settings = {} if name == "lite2" else {"upsampling": "nearest"}
    path = tmp_path / "old.safetensors"
    path.write_bytes(pack_weights(network.build(name, **settings), name, settings, 96, {}))
    old = Colorizer.load(str(path), "cpu")
    assert old.predict([data.camera()], hints=[[]]), "no hints are none"
    with pytest.raises(ValueError, match="weights old were trained without hints: leave the hints out, or"):
        old.predict([data.camera()], hints=[[Hint(5, 5, None)]])
