"""Examples from colour photographs, one epoch of training, one of validation: plain PyTorch."""

import math
import zlib
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from colorize_core import color, photo
from colorize_core.colorizer import autocast
from colorize_core.objective import Objective, chroma_loss

MIN_CHROMA = 2.0  # mean absolute ab, in CIE units, below which a photograph counts as grey
MIN_SIDE = 64  # pixels


class Unsuitable(ValueError):
    """A photograph that training leaves out; the message is the reason, the same for all of its kind."""


def prepare(data: bytes, side: int) -> bytes:
    """One colour photograph as training stores it: upright, shorter side at most ``side`` pixels, JPEG.

    The JPEG has quality 95 and full chroma resolution. Raises ``Unsuitable`` for what is unreadable, smaller
    than ``MIN_SIDE`` or grey, since a grey photograph teaches grey.
    """
    try:
        pixels = photo.read(data).rgb_8bit
    except photo.PhotoError:
        raise Unsuitable("unreadable") from None
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise Unsuitable(f"smaller than {MIN_SIDE} pixels")
    scale = side / min(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if np.abs(color.rgb_to_lab(pixels)[..., 1:]).mean() < MIN_CHROMA:
        raise Unsuitable("grey")
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    quality += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def examples(images: Iterable[bytes], size: int, seed: tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
    """Prepared photographs as (L*, ab), float32 (N, 1, size, size) in [0, 100] and (N, 2, size, size).

    With ``seed``: a random resized crop (half of the area to all of it, aspect 3:4 to 4:3) and a random
    flip, which depend on the seed and the photograph alone, so that batches can be made in any order and
    on any worker. Without: the shorter side resized to ``size`` and the centre kept.
    """
    lab = []
    for data in images:
        rgb = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        rng = None if seed is None else np.random.default_rng([*seed, zlib.crc32(data)])
        top, left, height, width = _centre(rgb.shape) if rng is None else _random_crop(rgb.shape, rng)
        crop = rgb[top : top + height, left : left + width]
        interpolation = cv2.INTER_AREA if min(height, width) > size else cv2.INTER_LINEAR
        crop = cv2.resize(crop, (size, size), interpolation=interpolation)
        if rng is not None and rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
        lab.append(color.rgb_to_lab(crop))
    batch = torch.from_numpy(np.stack(lab)).permute(0, 3, 1, 2)
    return batch[:, :1], batch[:, 1:]


def _centre(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    side = min(shape[:2])
    return (shape[0] - side) // 2, (shape[1] - side) // 2, side, side


def _random_crop(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int, int, int]:
    area = shape[0] * shape[1] * rng.uniform(0.5, 1)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    height = min(round(math.sqrt(area / aspect)), shape[0])
    width = min(round(math.sqrt(area * aspect)), shape[1])
    return rng.integers(shape[0] - height + 1), rng.integers(shape[1] - width + 1), height, width


def warmup_cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate over ``steps``: linear warm-up over the first 5 %, then half a cosine down to zero."""
    warmup = max(1, round(0.05 * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def train_epoch(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    objective: Objective,
    device: torch.device,
    on_step: Callable[[float, int], None] = lambda loss, photographs: None,
) -> float:
    """One pass over (L*, ab) batches as ``examples`` makes them; returns the mean loss.

    ``on_step`` is called after every step with its loss and number of photographs.
    """
    network.train()
    total = count = 0
    for lightness, ab in batches:
        lightness, ab = _to(lightness, device), _to(ab, device)
        with autocast(device):
            predicted = network(lightness)
        loss = chroma_loss(predicted.float(), ab, objective)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError("the loss is no longer finite: lower the learning rate (--learning-rate)")
        total += value * len(ab)
        count += len(ab)
        on_step(value, len(ab))
    return total / max(count, 1)


@torch.inference_mode()
def validate(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], objective: Objective, device: torch.device
) -> Tensor:
    """Sums over a validation set: loss, mean squared error in the seed's units, photographs; float64 (3,).

    Sums rather than means, so that workers can add theirs. The network is in ``eval`` mode.
    """
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    for lightness, ab in batches:
        lightness, ab = _to(lightness, device), _to(ab, device)
        with autocast(device):
            predicted = network(lightness).float()
        for i, name in enumerate((objective, "mse")):
            sums[i] += chroma_loss(predicted, ab, name).item() * len(ab)
        sums[2] += len(ab)
    return sums


def _to(batch: Tensor, device: torch.device) -> Tensor:
    return batch.to(device, memory_format=torch.channels_last, non_blocking=True)
