"""Weights and a network, as a function from luminance to chroma."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from colorize_core import __version__, color, distribution, network
from colorize_core.distribution import Calibration
from colorize_core.hints import CELL, Hint, planes
from colorize_core.photo import Photo
from colorize_core.weights_file import HEADER, WeightsError, WeightsFile


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision where it is faster: bfloat16 on a GPU, or on a processor with AVX-512 or AMX bfloat16.

    Elsewhere bfloat16 is emulated, at a tenth of the speed of float32, and this does nothing.
    """
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return torch.autocast("cpu", torch.bfloat16, enabled=bool(able.get("avx512_bf16") or able.get("amx_bf16")))
    return torch.autocast(device.type, torch.bfloat16)


def pack_weights(
    model: nn.Module,
    name: str,
    settings: dict,
    input_side: int,
    training: dict,
    calibration: Calibration | None = None,
) -> bytes:
    """A ``.safetensors`` file in half precision, its header naming the network, its settings and its training.

    ``name`` and ``settings`` are what ``network.build`` takes; ``input_side`` is how large the network likes to
    see a photograph (see ``network_input``); ``training`` is any JSON summary.
    """
    state = {key: v.half() if v.is_floating_point() else v for key, v in model.state_dict().items()}
    header = {"network": name, "settings": settings, "input_side": input_side, "training": training}
    header |= {"calibration": asdict(calibration or Calibration()), "code_version": __version__}
    return save({key: v.cpu().contiguous() for key, v in state.items()}, {HEADER: json.dumps(header)})


@dataclass(frozen=True, slots=True)
class Colouring:
    """What the network makes of one photograph."""

    chroma: list[np.ndarray]
    """One or several plausible ones: ab in CIE units, float32 (h, w, 2) each."""
    confidence: float | None = None
    """Probability that the first one is, on average over the photograph, within a CIEDE2000 of 10 of the truth; None
    where the network gives no distribution."""
    confidence_map: np.ndarray | None = None
    """The same pixel by pixel, float32 (h, w), where it was asked for."""
    expected_difference: float | None = None
    """What the confidence is computed from: a mean colour difference, see ``distribution``."""


class Colorizer:
    """A trained network on a device, ready to predict chroma."""

    def __init__(self, file: WeightsFile, model: network.Network, calibration: Calibration, device: torch.device):
        self.file = file
        """Where the weights come from: their name, digest and configuration."""
        self.input_side: int = file.config["input_side"]
        self.calibration = calibration
        self.device = device
        self.network = model.eval().to(device).to(memory_format=torch.channels_last)
        self._folded = network.folded(self.network)
        self.batch = 2 if device.type == "cpu" else 32
        """Photographs that go through the network at a time. On a CPU always in twos, the last one with itself: larger
        batches are no faster, and the same colours come out whatever other photographs there are, to the last bit."""

    @classmethod
    def load(cls, weights: str = "default", device: str | torch.device | None = None) -> "Colorizer":
        """Load a ``.safetensors`` file: "default", the name of one that ships, a path, or any fsspec URI.

        ``device`` defaults to the GPU where there is one. Nothing is unpickled. Raises ``WeightsError``.
        """
        return cls.from_file(WeightsFile.read(weights), device)

    @classmethod
    def from_file(cls, file: WeightsFile, device: str | torch.device | None = None) -> "Colorizer":
        """The same from a file that has been read."""
        try:
            model = network.build(file.config["network"], **file.config["settings"])
            state = load(file.data)
            state.pop("prior", None)  # in older files, as is the gain: for colours that were weighed by their rarity
            model.load_state_dict({key: v.float() if v.is_floating_point() else v for key, v in state.items()})
            measured = {key: value for key, value in file.config.get("calibration", {}).items() if key != "gain"}
            calibration = Calibration(**measured)
        except (SafetensorError, TypeError, RuntimeError, ValueError) as error:
            raise WeightsError.unusable(file.path, error) from error
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(file, model, calibration, torch.device(device))

    def pack(self) -> bytes:
        """A ``.safetensors`` file of these weights with their configuration, and the present calibration."""
        config = self.file.config
        return pack_weights(
            self.network, config["network"], config["settings"], self.input_side, config["training"], self.calibration
        )

    @torch.inference_mode()
    def predict_ab(self, lightness: Tensor, vividness: float | None = None) -> Tensor:
        """CIE L* in [0, 100], float32 (N, 1, H, W), to ab in CIE units, float32 (N, 2, h, w) on the CPU.

        Height and width must be multiples of 32 (``network_input`` makes them so); h and w depend on the network.
        ``vividness`` goes from 0, the most accurate colours, to 1, as colourful as colour photographs are; the default
        lies between. Raises ``ValueError`` as ``WeightsFile.check`` does.
        """
        self.file.check(vividness)
        how = self._how(vividness) if self.file.gives_distribution else None
        found = []
        for few in lightness.split(self.batch):
            output = self.output(few)
            if how:
                ab = distribution.chroma(distribution.probabilities(output), *how)
            else:
                ab = self.network.chroma(output.float())
            found.append(ab.clamp(-128, 127).cpu())
        return torch.cat(found)

    @torch.inference_mode()
    def output(self, lightness: Tensor, *hints: Tensor) -> Tensor:
        """What the network itself gives for CIE L*, (N, 1, H, W) with N <= ``batch``, and planes of hints where it is
        given some; on the device. See its ``forward``.
        """
        batches = [batch.to(self.device, memory_format=torch.channels_last) for batch in (lightness, *hints)]
        if self.device.type == "cpu":
            batches = [batch[[0, len(batch) - 1]] for batch in batches]
        with autocast(self.device):
            return self._folded(*batches)[: len(lightness)]

    def _how(self, vividness: float | None) -> tuple[Tensor, float, float]:
        """What ``distribution`` takes beside the logits."""
        chosen = distribution.DEFAULT_VIVIDNESS if vividness is None else vividness
        return self.network.bins, chosen, self.calibration.amplification

    @torch.inference_mode()
    def predict(
        self,
        greys: list[np.ndarray],
        vividness: float | None = None,
        variants: int = 1,
        confidence_map: bool = False,
        hints: Sequence[Sequence[Hint]] | None = None,
    ) -> list[Colouring]:
        """Colours for grey scans of any sizes, (H, W) uint8 or uint16 each, as ``predict_ab`` gives them.

        ``hints`` are the colours that are known in each scan, none in some of them or in all. Raises ``ValueError`` as
        ``WeightsFile.check`` and ``hints.planes`` do.
        """
        hints = hints or [()] * len(greys)
        self.file.check(vividness, variants, any(hints))
        inputs = [network_input(grey, self.input_side) for grey in greys]
        batches: dict[tuple[tuple[int, ...], bool], list[int]] = defaultdict(list)
        for i, (lightness, known) in enumerate(zip(inputs, hints, strict=True)):
            batches[lightness.shape, bool(known)].append(i)  # apart, so that a scan's colours depend on its own hints
        found: list = [None] * len(greys)
        for ((h, w), hinted), alike in batches.items():
            for begin in range(0, len(alike), self.batch):
                members = alike[begin : begin + self.batch]
                given = [np.stack([inputs[i] for i in members])[:, None]]
                if hinted:
                    given.append(np.stack([planes(hints[i], greys[i].shape, (h // CELL, w // CELL)) for i in members]))
                output = self.output(*map(torch.from_numpy, given))
                # One by one on a CPU, for the same reason as there are two at a time above.
                parts = output.split(1 if self.device.type == "cpu" else self.batch)
                colourings = (self._colourings(part, vividness, variants, confidence_map) for part in parts)
                for i, colouring in zip(members, chain.from_iterable(colourings), strict=True):
                    found[i] = colouring
        return found

    def _colourings(
        self, output: Tensor, vividness: float | None, variants: int, confidence_map: bool
    ) -> list[Colouring]:
        def photographs(ab: Tensor) -> list[np.ndarray]:
            return list(ab.clamp(-128, 127).permute(0, 2, 3, 1).cpu().numpy())

        if not self.file.gives_distribution:
            return [Colouring([chroma]) for chroma in photographs(self.network.chroma(output.float()))]
        probability = distribution.probabilities(output)
        chosen = distribution.variants(probability, *self._how(vividness), variants)
        alternatives = zip(*map(photographs, chosen), strict=True)
        difference = self._difference(probability, chosen[0], distribution.SPARSE).mean((1, 2))
        sure = distribution.confidence(difference, self.calibration)
        maps: list[np.ndarray | None] = [None] * len(probability)
        if confidence_map:
            every = distribution.confidence(self._difference(probability, chosen[0]), self.calibration)
            maps = list(every.cpu().numpy())
        each = zip(alternatives, sure.tolist(), maps, difference.tolist(), strict=True)
        return [Colouring(list(chroma), *rest) for chroma, *rest in each]

    def _difference(self, probability: Tensor, ab: Tensor, step: int = 1) -> Tensor:
        sparse = probability[:, ::step, ::step], self.network.bins, ab[..., ::step, ::step]
        return distribution.expected_difference(*sparse)

    def colorize(self, photograph: Photo, vividness: float | None = None, hints: Sequence[Hint] = ()) -> np.ndarray:
        """Colour one photograph at its native size: sRGB, (H, W, 3), at the photograph's bit depth."""
        grey = photograph.grey
        return color.merge(grey, self.predict([grey], vividness, hints=[hints])[0].chroma[0])


def network_input(grey: np.ndarray, side: int) -> np.ndarray:
    """What the network sees of a grey scan: CIE L* in [0, 100], float32 (h, w).

    About ``side`` squared pixels in the photograph's aspect ratio, each side a multiple of 32 and at least 32, so
    that a batch holds few different shapes.
    """
    height, width = grey.shape
    ratio = math.sqrt(min(max(height / width, 1 / 16), 16))
    h, w = (max(32, round(side * r / 32) * 32) for r in (ratio, 1 / ratio))
    if height * width > h * w:
        return color.lightness(color.reduced(grey, h, w))
    return color.lightness(cv2.resize(grey, (w, h), interpolation=cv2.INTER_LINEAR))
