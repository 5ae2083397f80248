import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.color import rgb2lab

from colorize_core import network, training
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


def test_augmentation_depends_on_seed_and_photograph_alone(prepared):
    forward = training.examples(prepared, 64, (0, 1))
    backward = training.examples(prepared[::-1], 64, (0, 1))
    assert torch.equal(forward[0].flip(0), backward[0]) and torch.equal(forward[1].flip(0), backward[1])
    assert not torch.equal(forward[0], training.examples(prepared, 64, (0, 2))[0])


def test_loss_units():
    zero, ten = torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 10.0)
    assert chroma_loss(ten, zero, "mse").item() == pytest.approx((10 / 255) ** 2)
    assert chroma_loss(ten, zero, "huber").item() == pytest.approx(0.5 * (10 / 110) ** 2)
    assert chroma_loss(10 * ten, zero, "huber").item() == pytest.approx(10 / 110 * (100 - 5) / 110)
    with pytest.raises(ValueError):
        chroma_loss(ten, zero, "l1")


def test_a_few_photographs_can_be_learnt_by_heart(prepared):
    torch.manual_seed(0)
    model = network.build("resnet18")
    batch = training.examples(prepared, 64)
    steps = 40
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = training.warmup_cosine(optimizer, steps)
    losses = []
    training.train_epoch(model, [batch] * steps, optimizer, schedule, "huber", CPU, lambda loss, n: losses.append(loss))
    assert losses[-1] < losses[0] / 4
    assert optimizer.param_groups[0]["lr"] < 1e-5


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


def test_a_loss_that_explodes_stops_the_run(prepared):
    model = network.build("resnet18")
    optimizer = torch.optim.SGD(model.parameters(), 1e12)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    batch = training.examples(prepared, 64)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        training.train_epoch(model, [(batch[0], batch[1] * 1e30)] * 20, optimizer, schedule, "mse", CPU)


def test_warmup_cosine_rises_and_falls():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = training.warmup_cosine(optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.2) and max(rates) == 1.0 and rates.index(1.0) == 4
    assert rates[4:] == sorted(rates[4:], reverse=True) and rates[-1] < 0.001
