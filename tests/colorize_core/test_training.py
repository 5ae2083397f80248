import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.color import rgb2lab

from colorize_core import color, hints, network, objective, training
from colorize_core.objective import chroma_loss

CPU = torch.device("cpu")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def prepared() -> list[bytes]:
    return [training.prepare(png(getattr(data, name)()), 72) for name in ("astronaut", "chelsea", "coffee", "rocket")]


def test_prepare_resizes_and_keeps_colour(prepared):
    image = Image.open(io.BytesIO(prepared[1]))  # chelsea, 451 x 300
    assert image.size == (108, 72)
    small = np.asarray(Image.fromarray(data.chelsea()).resize((108, 72), Image.Resampling.BOX))
    assert np.abs(rgb2lab(np.asarray(image)) - rgb2lab(small))[..., 1:].mean() < 2


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"junk", "unreadable"),
        (png(data.camera()), "grey"),
        (png(np.repeat(data.camera()[..., None], 3, axis=2)), "grey"),
        (png(data.coffee()[:40, :40]), "smaller than 64 pixels"),
    ],
)
def test_prepare_leaves_out_what_teaches_nothing(content, reason):
    with pytest.raises(training.Unsuitable, match=reason):
        training.prepare(content, 72)


def test_examples_are_true_lightness_and_chroma(prepared):
    lightness, ab = training.examples(prepared, 64)
    assert lightness.shape == (4, 1, 64, 64) and ab.shape == (4, 2, 64, 64)
    image = np.asarray(Image.open(io.BytesIO(prepared[0])))  # a square of 72
    lab = rgb2lab(np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BOX)))
    assert np.abs(lightness[0, 0].numpy() - lab[..., 0]).mean() < 4
    assert np.abs(ab[0].permute(1, 2, 0).numpy() - lab[..., 1:]).mean() < 2


def test_colours_that_are_known_at_some_places_alone():
    hint = hints.Hint(100, 60, (30.0, -20.0), radius=30)
    image = training.prepare_hinted(png(data.camera()[:256, :320]), 128, [hint, hints.Hint(300, 250, None)])
    lightness, ab = training.examples([image], 128)
    known = ab[0].isfinite().all(0).numpy()
    assert known[30, 34] and not known[64, 64], "of 160 x 128 pixels, the central square"
    assert known.mean() == pytest.approx(np.pi * 15**2 / 128**2, rel=0.1), "the other hint lies outside of it"
    assert ab[0, :, 30, 34].numpy() == pytest.approx([30, -20], abs=2)
    grey = Image.fromarray(data.camera()[:256, :320]).resize((160, 128), Image.Resampling.BOX)
    lab = rgb2lab(np.repeat(np.asarray(grey)[:, 16:-16, None], 3, axis=2))
    assert np.abs(lightness[0, 0].numpy() - lab[..., 0]).max() < 1, "its lightness is the photograph's everywhere"
    (augmented,) = training.examples([image], 64, [(0, 3)])[1]
    assert 0 < augmented.isfinite().float().mean() < 0.5
    with pytest.raises(training.Unsuitable, match="unreadable"):
        training.prepare_hinted(b"junk", 128, [hint])


@pytest.mark.parametrize("name, minimised", [("lite0", "cross-entropy"), ("resnet18", "huber"), ("resnet18", "mse")])
def test_what_is_not_known_teaches_nothing(name, minimised):
    model = network.build(name).eval()
    lightness, ab = torch.rand(2, 1, 64, 64) * 100, torch.full((2, 2, 64, 64), 20.0)
    output = model(lightness).detach().requires_grad_()
    ab[0, :, 32:] = torch.nan
    objective.loss(model, output, ab, minimised).backward()
    lower = slice(output.shape[2] // 2 + 1, None)
    assert output.grad[0, :, lower].abs().max() == 0 < output.grad[1, :, lower].abs().max()
    assert output.grad.isfinite().all() and output.grad[0].abs().max() > 0
    assert objective.loss(model, output, torch.full_like(ab, torch.nan), minimised).item() == 0
    assert (training.simulated_hints(ab, [(0,), (1,)], 1.0)[0] == 0).all(), "nor are hints made of it"


def test_augmentation_depends_on_seed_and_photograph_alone(prepared):
    forward = training.examples(prepared, 64, [(0, 1)] * 4)
    backward = training.examples(prepared[::-1], 64, [(0, 1)] * 4)
    assert torch.equal(forward[0].flip(0), backward[0]) and torch.equal(forward[1].flip(0), backward[1])
    assert not torch.equal(forward[0], training.examples(prepared, 64, [(0, 2)] * 4)[0])


def test_a_crop_area_of_one_only_flips(prepared):
    plain = training.examples(prepared, 64)[0]
    seen = [training.examples(prepared, 64, [(seed,)] * 4, 1.0)[0] for seed in range(8)]
    flipped = [[not torch.equal(one, other) for one, other in zip(batch, plain, strict=True)] for batch in seen]
    for batch, flips in zip(seen, flipped, strict=True):
        for one, other, flip in zip(batch, plain, flips, strict=True):
            assert torch.equal(one.flip(-1) if flip else one, other)
    assert 4 < np.sum(flipped) < 28


def test_loss_units():
    zero, ten = torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 10.0)
    assert chroma_loss(ten, zero, "mse").item() == pytest.approx((10 / 255) ** 2)
    assert chroma_loss(ten, zero, "huber").item() == pytest.approx(0.5 * (10 / 110) ** 2)
    assert chroma_loss(10 * ten, zero, "huber").item() == pytest.approx(10 / 110 * (100 - 5) / 110)
    with pytest.raises(ValueError):
        chroma_loss(ten, zero, "l1")


def run(prepared, steps, size=64, **recipe) -> tuple[training.Training, list[float], list[float]]:
    """A network after some steps on the same batch, the losses and the learning rates on the way."""
    torch.manual_seed(0)
    state = training.Training(network.build("resnet18"), training.Recipe(**recipe), steps)
    batch, losses, rates = training.examples(prepared, size), [], []
    for _ in range(steps):
        rates.append(state.learning_rate)
        losses.append(state(*batch).item())
    return state, losses, rates


def test_a_few_photographs_can_be_learnt_by_heart(prepared):
    state, losses, rates = run(prepared, 40)
    assert losses[-1] < losses[0] / 4
    assert rates[0] == pytest.approx(1e-3 / 2) and max(rates) == 1e-3 and rates.index(1e-3) == 1
    assert rates[2:] == sorted(rates[2:], reverse=True) and state.learning_rate < 1e-5


def test_the_seeds_recipe_has_no_schedule_and_keeps_the_last_weights(prepared):
    recipe = {"objective": "mse", "optimizer": "adam", "learning_rate": 1e-2, "schedule": "constant", "ema": 0.0}
    state, _, rates = run(prepared, 3, **recipe, clip=0.0)
    assert rates == [1e-2] * 3 and state.optimizer.defaults["weight_decay"] == 0
    assert all(torch.equal(a, b) for a, b in zip(*weights(state), strict=True))


def weights(state):
    return state.network.state_dict().values(), state.average.state_dict().values()


def test_the_moving_average_follows_the_weights(prepared):
    state, *_ = run(prepared, 5, ema=0.5)
    torch.manual_seed(0)
    network_, expected = state.network, None
    again = training.Training(network.build("resnet18"), training.Recipe(ema=0.5), 5)
    batch = training.examples(prepared, 64)
    expected = again.network.encoder[0].weight.detach().clone()
    for step in range(5):
        again(*batch)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * again.network.encoder[0].weight.detach()
    assert torch.equal(again.network.encoder[0].weight, network_.encoder[0].weight), "the same seed, the same weights"
    assert torch.allclose(state.average.encoder[0].weight, expected, atol=1e-6)
    assert not torch.allclose(state.network.encoder[0].weight, expected, atol=1e-6)


def test_frozen_batch_norms_keep_their_statistics(prepared):
    state, *_ = run(prepared, 2, freeze_batch_norm=True)
    fresh = network.build("resnet18")
    statistics = [name for name in fresh.state_dict() if "running" in name]
    assert statistics
    for name in statistics:
        assert torch.equal(state.network.state_dict()[name], fresh.state_dict()[name])
    assert not torch.equal(run(prepared, 2)[0].network.state_dict()[statistics[0]], fresh.state_dict()[statistics[0]])


def test_frozen_layers_stay_as_they_are(prepared):
    state, *_ = run(prepared, 2, freeze=("encoder",))
    trained = dict(state.network.named_parameters())
    torch.manual_seed(0)  # as in run
    for name, start in network.build("resnet18").named_parameters():
        assert torch.equal(trained[name], start) == name.startswith("encoder"), name


def test_the_encoder_learns_at_its_share_of_the_rate(prepared):
    state, *_ = run(prepared, 1, encoder_rate=0.1, optimizer="adam", schedule="constant", clip=0.0)
    torch.manual_seed(0)  # as in run
    moved = {"encoder": 0.0, "decoder": 0.0}
    start = dict(network.build("resnet18").named_parameters())
    for name, value in state.network.named_parameters():
        part = name.partition(".")[0]
        moved[part] = max(moved[part], (value - start[name]).abs().max().item())
    assert moved == {"encoder": pytest.approx(1e-4, rel=0.02), "decoder": pytest.approx(1e-3, rel=0.02)}  # Adam's first


def test_a_run_continues_from_its_state_as_if_nothing_had_happened(prepared):
    whole, losses, _ = run(prepared, 6)
    half = training.Training(network.build("resnet18"), training.Recipe(), 6)
    torch.manual_seed(0)
    first = training.Training(network.build("resnet18"), training.Recipe(), 6)
    batch = training.examples(prepared, 64)
    for _ in range(3):
        first(*batch)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    half.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert [half(*batch).item() for _ in range(3)] == losses[3:]
    assert all(torch.equal(a, b) for a, b in zip(weights(half)[1], weights(whole)[1], strict=True))


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0}, {"clip": -1}, {"ema": 1.0}, {"crop_area": 0.0}, {"encoder_rate": 0}]
)
def test_a_recipe_says_what_it_does_not_take(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", " ")):
        training.Recipe(**wrong)


def test_validation_is_in_eval_mode_and_sums(prepared):
    model = network.build("resnet18")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batch = training.examples(prepared, 64)
    whole = training.validate(model, [batch], "huber", CPU)
    halves = sum(training.validate(model, [(batch[0][i : i + 2], batch[1][i : i + 2])], "huber", CPU) for i in (0, 2))
    assert whole[2] == 4
    assert torch.allclose(whole, halves, rtol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.inference_mode():
        error = (model.eval()(batch[0]) - batch[1]).square().mean() / 255**2
    assert (whole[1] / whole[2]).item() == pytest.approx(error.item(), rel=1e-2)


def test_aged_photographs_are_lightness_still_and_depend_on_the_seed_alone(prepared):
    seeds = [(0, 1)] * 4
    plain, _ = training.examples(prepared, 64, seeds)
    aged, ab = training.examples(prepared, 64, seeds, aged=1.0)
    assert torch.equal(aged, training.examples(prepared, 64, seeds, aged=1.0)[0])
    assert torch.equal(ab, training.examples(prepared, 64, seeds)[1]), "their colours are those of the new photograph"
    assert aged.min() >= 0 and aged.max() <= 100 and (aged - plain).abs().mean() > 1


def test_early_film_is_blind_to_red_and_sees_blue_as_bright():
    patches = np.zeros((64, 96, 3), np.uint8)
    patches[:, :32], patches[:, 32:64], patches[:, 64:] = (190, 60, 60), (60, 110, 190), (128, 128, 128)
    lightness = color.rgb_to_lab(patches)[0, ::32, 0]
    assert abs(lightness[0] - lightness[1]) < 2, "to the eye the red and the blue are equally light"
    seen = np.stack([training.exposed(patches, np.random.default_rng(i))[0, ::32] for i in range(200)])
    red, blue, grey = seen.T
    assert np.abs(grey - lightness[2]).max() < 1, "what has no colour looks the same on every film"
    assert np.mean(blue - red > 15) > 0.45, "half of the film is orthochromatic"
    assert np.mean(red - blue > 2) > 0.1, "some of the panchromatic film was behind a yellow or red filter"


def test_a_network_that_takes_hints_is_trained_with_them(prepared):
    torch.manual_seed(0)
    recipe = training.Recipe(learning_rate=3e-3)
    run = training.Training(network.build("lite0", hints=True), recipe, 10)
    lightness, ab = training.examples(prepared, 64)
    planes = training.simulated_hints(ab, [(0,)] * 4, 1.0)
    before = run.network.hints.precision.bias.detach().clone()
    run(lightness, ab, planes)
    assert not torch.equal(run.network.hints.precision.bias, before)
