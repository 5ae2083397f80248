"""Examples from colour photographs, a step of training, a pass of validation: plain PyTorch."""

import copy
import itertools
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from colorize_core import color, objective, photo
from colorize_core.hints import CELL, UNIT, Hint
from colorize_core.network import Network
from colorize_core.objective import Objective
from colorize_core.pytorch_engine import autocast

MIN_SIDE = 64  # pixels
FEWER = 1 / 4  # of the geometric distribution of the number of simulated hints; Zhang et al. 2017 have 1 / 8
PATCH = 9  # pixels, the largest side of a simulated hint


class Unsuitable(ValueError):
    """A photograph that training leaves out; the message is the reason, the same for all of its kind."""


def prepared_side(size: int) -> int:
    """Shorter side, in pixels, of what is stored for crops of ``size``: it leaves them room."""
    return size * 9 // 8


def prepare(data: bytes, side: int, min_chroma: float = 2.0) -> bytes:
    """One colour photograph as training stores it: upright, shorter side at most ``side`` pixels, JPEG.

    The JPEG has quality 95 and full chroma resolution. Raises ``Unsuitable`` for what is unreadable, smaller
    than ``MIN_SIDE`` or grey, since a grey photograph teaches grey: its mean absolute ab, in CIE units, lies
    below ``min_chroma``.
    """
    pixels = _upright(data)
    scale = side / min(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if np.abs(color.rgb_to_lab(pixels)[..., 1:]).mean() < min_chroma:
        raise Unsuitable("grey")
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    quality += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def prepare_hinted(data: bytes, side: int, hints: Sequence[Hint]) -> bytes:
    """The same of a photograph whose colours are known at some places alone, of ``hints`` in its own pixels: PNG, with
    alpha where they are. Raises ``Unsuitable`` for what is unreadable or smaller than ``MIN_SIDE``.
    """
    grey = color.grey_of(_upright(data))
    scale = min(1, side / min(grey.shape))
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ab, known = np.zeros((*grey.shape, 2), np.float32), np.zeros(grey.shape, np.uint8)
    y, x = np.ogrid[: grey.shape[0], : grey.shape[1]]
    for hint in hints:
        reach = max(scale * hint.radius, 2 * CELL)  # so that a place of the grid is inside, wherever it lies
        inside = (x + 0.5 - scale * hint.x) ** 2 + (y + 0.5 - scale * hint.y) ** 2 <= reach**2
        ab[inside], known[inside] = hint.ab or (0, 0), 255
    bgr = cv2.cvtColor(color.merge(grey, ab), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", np.dstack([bgr, known]))[1].tobytes()


def _upright(data: bytes) -> np.ndarray:
    try:
        pixels = photo.read(data).rgb_8bit
    except photo.PhotoError:
        raise Unsuitable("unreadable") from None
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise Unsuitable(f"smaller than {MIN_SIDE} pixels")
    return pixels


def examples(
    images: Iterable[bytes],
    size: int,
    seeds: Iterable[tuple[int, ...]] | None = None,
    crop_area: float = 0.5,
    aged: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Prepared photographs as (L*, ab), float32 (N, 1, size, size) in [0, 100] and (N, 2, size, size); ab is NaN where
    it is not known.

    With ``seeds``, one per photograph: a random resized crop (``crop_area`` of the area to all of it, aspect 3:4 to
    4:3; the whole central square where ``crop_area`` is 1), a random flip, and for a share ``aged`` of them the
    lightness of an old photograph (see ``age``). All of it depends on the seed and the photograph alone, so that
    batches can be made in any order and on any worker. Without: the shorter side resized to ``size`` and the centre
    kept.
    """
    lab = []
    for data, seed in zip(images, itertools.repeat(None) if seeds is None else seeds, strict=False):
        pixels = _decoded(data)
        if seed is None:
            lab.append(_lab(centre_square(pixels, size)))
            continue
        rng = np.random.default_rng([*seed, zlib.crc32(data)])
        if crop_area < 1:
            top, left, height, width = _random_crop(pixels.shape, crop_area, rng)
            pixels = _resized(pixels[top : top + height, left : left + width], size)
        else:
            pixels = centre_square(pixels, size)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        example = _lab(pixels)
        if rng.random() < aged:
            example[..., 0] = age(np.ascontiguousarray(pixels[..., :3]), rng)
        lab.append(example)
    batch = torch.from_numpy(np.stack(lab)).permute(0, 3, 1, 2)
    return batch[:, :1], batch[:, 1:]


def _lab(pixels: np.ndarray) -> np.ndarray:
    """Of sRGB (H, W, 3), or (H, W, 4) with alpha where ab is known."""
    lab = color.rgb_to_lab(np.ascontiguousarray(pixels[..., :3]))
    if pixels.shape[2] == 4:
        lab[pixels[..., 3] < 128, 1:] = np.nan
    return lab


def simulated_hints(ab: Tensor, seeds: Iterable[tuple[int, ...]], share: float) -> Tensor:
    """Hints from the true ab of photographs in training, in CIE units, (N, 2, H, W): planes (N, 3, H/4, W/4).

    A ``share`` of the photographs gets some, four on average: the mean colours of patches of 1 to 9 pixels a side,
    anywhere; none one that is not known everywhere. They depend on the seed and the photograph alone.
    """
    height, width = ab.shape[2:]
    found = np.zeros((len(ab), 3, height // CELL, width // CELL), np.float32)
    for planes, true, seed in zip(found, ab.numpy(), seeds, strict=True):
        rng = np.random.default_rng([*seed, zlib.crc32(true.tobytes())])
        number = rng.geometric(FEWER) if rng.random() < share and np.isfinite(true).all() else 0
        for side in rng.integers(1, PATCH + 1, number):
            top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            mean = true[:, top : top + side, left : left + side].mean((1, 2))
            rows, columns = (slice(first // CELL, (first + side - 1) // CELL + 1) for first in (top, left))
            planes[:, rows, columns] = np.array([*mean / UNIT, 1])[:, None, None]
    return torch.from_numpy(found)


def age(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The lightness that an old print or film might show of what a colour photograph shows: sRGB, uint8 (H, W, 3), to
    CIE L* in [0, 100], float32 (H, W).

    Film that sees red, green and blue in other shares than the eye (``exposed``), another contrast curve, fading,
    uneven light, halation, blur, halos, grain, the texture of paper, scratches and dust, each by chance.
    """
    height, width = rgb.shape[:2]

    def chance(probability: float) -> bool:
        return rng.random() < probability

    def noise(*sigma: float) -> np.ndarray:
        """Of unit variance, smooth over ``sigma`` pixels, across and along."""
        across, along = sigma[0], sigma[-1]
        field = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), across, sigmaY=along)
        return field / (field.std() + 1e-6)

    aged: np.ndarray = (exposed(rgb, rng) if chance(0.6) else color.rgb_to_lab(rgb)[..., 0]) / 100
    if chance(0.2):  # light that has gone through the film and comes back
        glow = cv2.GaussianBlur(np.maximum(aged - 0.7, 0), (0, 0), rng.uniform(0.02, 0.06) * min(height, width))
        aged += rng.uniform(0.3, 1.2) * glow
    if chance(0.6):
        aged = np.maximum(aged, 0) ** math.exp(rng.uniform(-0.5, 0.5))
    if chance(0.3):  # toe and shoulder of a film's curve
        steep = rng.uniform(1, 4)
        aged = 0.5 + 0.5 * np.tanh(steep * (aged - 0.5)) / math.tanh(steep / 2)
    if chance(0.3):
        aged += rng.uniform(0.03, 0.12) * noise(0.4 * min(height, width))
    if chance(0.3):
        aged = cv2.GaussianBlur(aged, (0, 0), rng.uniform(0.4, 1.6))
    if chance(0.2):  # of development, or of a scanner that sharpens
        aged += rng.uniform(0.3, 1.5) * (aged - cv2.GaussianBlur(aged, (0, 0), rng.uniform(0.8, 3)))
    if chance(0.4):
        black, white = rng.uniform(0, 0.25), rng.uniform(0.75, 1)
        aged = black + (white - black) * aged
    if chance(0.5):
        aged += rng.uniform(0.01, 0.06) * noise(rng.uniform(0.2, 1.2))
    if chance(0.15):  # fibres, or a weave
        across, along = rng.permutation([rng.uniform(0.3, 1), rng.uniform(1, 4)])
        aged *= 1 + rng.uniform(0.01, 0.05) * noise(across, along)
    if chance(0.15):  # scratches run along the film
        for _ in range(rng.integers(1, 5)):
            x, lean, tone = rng.uniform(0, width), rng.uniform(-0.05, 0.05) * width, float(rng.choice([0.1, 0.9]))
            cv2.line(aged, (int(x), 0), (int(x + lean), height), tone, 1, cv2.LINE_AA)
    if chance(0.15):
        for _ in range(rng.integers(1, 12)):
            place = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(aged, place, int(rng.integers(1, 4)), float(rng.choice([0.05, 0.95])), -1, cv2.LINE_AA)
    return 100 * np.clip(aged, 0, 1)


def exposed(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """sRGB, uint8 (H, W, 3), as black-and-white film sees it: CIE L* in [0, 100], float32 (H, W); white stays white.

    Half of it orthochromatic, as most film was until about 1930: nearly blind to red, so that lips and rust come out
    dark, and the sky white. The other half panchromatic: shares that scatter about those of daylight film, or what a
    yellow or red filter leaves of them.
    """
    if rng.random() < 0.5:
        red = rng.uniform(0, 0.12)
        blue = rng.uniform(0.3, 0.75) * (1 - red)
        shares = np.array([red, 1 - red - blue, blue])
    else:
        shares = rng.dirichlet(6 * np.array([0.35, 0.4, 0.25]))
    luminance = (_LINEAR[rgb] @ shares.astype(np.float32)).astype(np.float32)
    # CIE 1976, with the straight part near black left out: film has a fog there.
    return np.clip(116 * np.cbrt(luminance) - 16, 0, 100)


_CODES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""Of each 8-bit code of sRGB its linear light."""


def decode(image: bytes) -> np.ndarray:
    """A prepared photograph: sRGB, uint8 (H, W, 3)."""
    return np.ascontiguousarray(_decoded(image)[..., :3])


def _decoded(image: bytes) -> np.ndarray:
    """With a fourth channel, alpha, where ``prepare_hinted`` has made it."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, "what was prepared can be decoded"
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def centre_square(rgb: np.ndarray, size: int) -> np.ndarray:
    """The central square of a photograph, (H, W, 3), resized to (size, size, 3)."""
    side = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return _resized(rgb[top : top + side, left : left + side], size)


def _resized(rgb: np.ndarray, size: int) -> np.ndarray:
    interpolation = cv2.INTER_AREA if min(rgb.shape[:2]) > size else cv2.INTER_LINEAR
    return cv2.resize(rgb, (size, size), interpolation=interpolation)


def _random_crop(shape: tuple[int, ...], smallest: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    area = shape[0] * shape[1] * rng.uniform(smallest, 1)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    height = min(round(math.sqrt(area / aspect)), shape[0])
    width = min(round(math.sqrt(area * aspect)), shape[1])
    return int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1)), height, width


@dataclass(kw_only=True, slots=True)
class Recipe:
    """How a network is trained; the defaults are ours."""

    objective: Objective | None = None
    """What is minimised: Huber loss, mean squared error in the seed's units, or the cross-entropy of a network that
    gives a distribution over colours; by default that where there is one, and else Huber loss."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """AdamW with a weight decay of 0.01, or plain Adam."""
    learning_rate: float = 1e-3
    """Peak of the schedule."""
    encoder_rate: float = 1.0
    """Learning rate of the encoder, as a share of that of the other layers: below 1 it keeps more of what it brings
    from ImageNet."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """5 % linear warm-up, then half a cosine down to zero; or the same rate throughout."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 for no limit."""
    ema: float = 0.999
    """Decay per step of the exponential moving average of the weights, which is what is validated and kept (shorter
    in the beginning: at most (1 + step) / (10 + step)); 0 keeps the weights of the last step."""
    crop_area: float = 0.5
    """Smallest share of a photograph that a random crop shows; 1 always shows the central square."""
    aged: float = 0.0
    """Share of the photographs whose lightness is made to look old: as early film saw it, faded, blurred, grainy,
    scratched."""
    hinted: float = 0.5
    """Share of the photographs of which the network is told the colours at some places, if it takes hints; with 0 one
    is made that takes none."""
    freeze: tuple[str, ...] = ()
    """Parameters whose names begin with one of these stay as they are: `stem stages.0`, the finest layers of lite0
    and lite2, makes a step a quarter faster; for an encoder that has been trained before."""
    freeze_batch_norm: bool = False
    """Normalise with the running statistics that the starting weights bring, and keep them: for small sets and small
    batches. Otherwise each worker normalises with its own batches, and the first worker's statistics are kept."""

    def __post_init__(self):
        if not self.learning_rate > 0:
            raise ValueError(f"the learning rate must be above 0, not {self.learning_rate}")
        if not 0 < self.encoder_rate <= 1:
            raise ValueError(f"the encoder rate must lie in (0, 1], not {self.encoder_rate}")
        if self.clip < 0:
            raise ValueError(f"clip must not be negative, not {self.clip}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must lie in [0, 1), not {self.ema}")
        if not 0 < self.crop_area <= 1:
            raise ValueError(f"the crop area must lie in (0, 1], not {self.crop_area}")
        if not 0 <= self.aged <= 1:
            raise ValueError(f"aged must lie in [0, 1], not {self.aged}")
        if not 0 <= self.hinted <= 1:
            raise ValueError(f"hinted must lie in [0, 1], not {self.hinted}")


class Training:
    """A network in training: everything that a step changes, and so everything that a checkpoint holds.

    ``steps`` is the length of the whole schedule. ``wrap`` turns the network, already on its device, into what is
    called in the forward pass: DistributedDataParallel for one of several workers.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        steps: int,
        device: torch.device | str = "cpu",
        wrap: Callable[[nn.Module], nn.Module] = lambda network: network,
    ):
        self.recipe, self.device = recipe, torch.device(device)
        self.objective = recipe.objective or objective.default(network)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        for name, parameter in self.network.named_parameters():
            if name.startswith(tuple(recipe.freeze)):  # a list where it comes from a file
                parameter.requires_grad_(False)
        self.step = 0
        """Steps done."""
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        """The network with the moving average of its weights: what is validated and kept."""
        self._forward = wrap(self.network)
        trained = [named for named in self.network.named_parameters() if named[1].requires_grad]
        encoder = [parameter for name, parameter in trained if name.startswith(network.encoder_layers)]
        others = [parameter for name, parameter in trained if not name.startswith(network.encoder_layers)]
        groups: list[dict[str, Any]] = [
            {"params": others},
            {"params": encoder, "lr": recipe.encoder_rate * recipe.learning_rate},
        ]
        self.optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=0.01, fused=True)
        else:
            self.optimizer = torch.optim.Adam(groups, recipe.learning_rate, fused=True)
        factor = _warmup_cosine(steps) if recipe.schedule == "cosine" else lambda step: 1.0
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    @property
    def learning_rate(self) -> float:
        """Of the next step, for all but the encoder."""
        return float(self._schedule.get_last_lr()[0])

    def __call__(self, lightness: Tensor, ab: Tensor, hints: Tensor | None = None) -> Tensor:
        """One step on a batch as ``examples`` makes it, and ``simulated_hints`` for a network that takes hints; returns
        its loss, a scalar on the device.
        """
        self.network.train()
        if self.recipe.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        lightness, ab = _to(lightness, self.device), _to(ab, self.device)
        with autocast(self.device):
            output = self._forward(lightness) if hints is None else self._forward(lightness, _to(hints, self.device))
        loss = objective.loss(self.network, output.float(), ab, self.objective)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        self._schedule.step()
        self._mix()
        self.step += 1
        return loss.detach()

    @torch.no_grad()
    def _mix(self) -> None:
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        averages, values = [], []
        for average, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:  # counters of batch norms
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)

    def state_dict(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue where ``state_dict`` was taken. Raises ``RuntimeError`` for the state of another network."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.step = state["step"]


def _warmup_cosine(steps: int) -> Callable[[int], float]:
    """Factor of the peak learning rate: linear warm-up over the first 5 %, then half a cosine down to zero."""
    warmup = max(1, round(0.05 * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - warmup))))

    return factor


@torch.inference_mode()
def validate(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], minimised: Objective, device: torch.device
) -> Tensor:
    """Sums over a validation set: loss, mean squared error in the seed's units, photographs; float64 (3,).

    Sums rather than means, so that workers can add theirs. The network is in ``eval`` mode.
    """
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    for lightness, ab in batches:
        lightness, ab = _to(lightness, device), _to(ab, device)
        with autocast(device):
            output = network(lightness).float()
        both = [objective.loss(network, output, ab, name) for name in (minimised, "mse")]
        sums += torch.tensor([*both, 1.0], dtype=torch.float64) * len(ab)
    return sums


def _to(batch: Tensor, device: torch.device) -> Tensor:
    return batch.to(device, memory_format=torch.channels_last, non_blocking=True)
