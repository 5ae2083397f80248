"""Weights and an engine, as a function from luminance to chroma."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import SafetensorError

from colorize_core import __version__, color, distribution
from colorize_core.distribution import Calibration
from colorize_core.engine import Colours, Engine, Precision
from colorize_core.foreign import ForeignError
from colorize_core.hints import CELL, Hint, planes
from colorize_core.likeliest import likeliest
from colorize_core.photo import Photo
from colorize_core.weights_file import WeightsError, WeightsFile

DEVICES = "/dev/nvidiactl", "/dev/kfd", "/dev/dxg"  # of drivers for GPUs that PyTorch calls "cuda"; the last in WSL


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
    likeliest_map: np.ndarray | None = None
    """The likeliest colours at some places, int8 (h, w, 5, 2), see ``likeliest``, where they were asked for."""
    expected_difference: float | None = None
    """What the confidence is computed from: a mean colour difference, see ``distribution``."""


class Colorizer:
    """A trained network on a device, ready to predict chroma."""

    def __init__(self, file: WeightsFile, calibration: Calibration, engine: Engine):
        self.file = file
        """Where the weights come from: their name, digest and configuration."""
        self.input_side: int = engine.side or file.config["input_side"]
        self.calibration = calibration
        self.engine = engine

    @classmethod
    def load(cls, weights: str = "default", device: str | None = None, precision: Precision = "fast") -> "Colorizer":
        """Load a ``.safetensors`` file: "default", the name of one that ships, a path, or any fsspec URI.

        ``device`` defaults to the GPU where PyTorch sees one. ``precision`` "fast" is bfloat16 where the device has it.
        Nothing is unpickled. Raises ``WeightsError``, and ``ValueError`` for a device that is not there.
        """
        return cls.from_file(WeightsFile.read(weights), device, precision)

    @classmethod
    def from_file(cls, file: WeightsFile, device: str | None = None, precision: Precision = "fast") -> "Colorizer":
        """The same from a file that has been read."""
        if device not in (None, "cpu") and file.manifest is None:
            _check(device)
        try:
            # In older files there is a gain, for colours that were weighed by their rarity.
            measured = {key: value for key, value in file.config.get("calibration", {}).items() if key != "gain"}
            return cls(file, Calibration(**measured), _start(file, device, precision))
        except ForeignError as error:
            raise WeightsError.foreign(file.path, error) from error
        except (SafetensorError, TypeError, RuntimeError, ValueError) as error:
            if isinstance(error, WeightsError):
                raise
            raise WeightsError.unusable(file.path, error) from error

    def pack(self) -> bytes:
        """A ``.safetensors`` file of these weights with their configuration, and the present calibration."""
        measured = {"calibration": asdict(self.calibration), "code_version": __version__}
        return WeightsFile.pack(self.file.tensors, self.file.config | measured | {"input_side": self.input_side})

    def predict(
        self,
        greys: list[np.ndarray],
        vividness: float | None = None,
        variants: int = 1,
        confidence_map: bool = False,
        hints: Sequence[Sequence[Hint]] | None = None,
        likeliest_map: bool = False,
    ) -> list[Colouring]:
        """Colours for grey scans of any sizes, (H, W) uint8 or uint16 each.

        ``vividness`` goes from 0, the most accurate colours, to 1, as colourful as colour photographs are; the default
        lies between. ``hints`` are the colours that are known in each scan, none in some of them or in all. Raises
        ``ValueError`` as ``WeightsFile.check`` and ``hints.planes`` do.
        """
        hints = hints or [()] * len(greys)
        self.file.check(vividness, variants, any(hints))
        vividness = distribution.DEFAULT_VIVIDNESS if vividness is None else vividness
        square = self.engine.side is not None
        inputs = [network_input(grey, self.input_side, square) for grey in greys]
        batches: dict[tuple[tuple[int, ...], bool], list[int]] = defaultdict(list)
        for i, (lightness, known) in enumerate(zip(inputs, hints, strict=True)):
            batches[lightness.shape, bool(known)].append(i)  # apart, so that a scan's colours depend on its own hints
        found: list = [None] * len(greys)
        for ((h, w), hinted), alike in batches.items():
            for begin in range(0, len(alike), self.engine.batch):
                members = alike[begin : begin + self.engine.batch]
                lightness = np.stack([inputs[i] for i in members])[:, None]
                grid = h // CELL, w // CELL
                told = np.stack([planes(hints[i], greys[i].shape, grid) for i in members]) if hinted else None
                given = lightness, told
                colours = self.engine.colours(*given, vividness, self.calibration.amplification, likeliest_map)
                others, maps = self._beside(colours, given, vividness, variants, confidence_map)
                for place, i in enumerate(members):
                    found[i] = self._colouring(colours, place, [ab[place] for ab in others], maps)
        return found

    def _beside(
        self,
        colours: Colours,
        given: tuple[np.ndarray, np.ndarray | None],
        vividness: float,
        variants: int,
        confidence_map: bool,
    ) -> tuple[list[np.ndarray], np.ndarray | None]:
        """Further variants, ab (N, 2, h, w) each, and maps of the confidence, (N, h, w), as far as they are wanted."""
        if colours.difference is None or not (variants > 1 or confidence_map):
            return [], None
        logits, bins = self.engine.logits(*given)
        probability = distribution.probabilities(logits)
        chosen = distribution.variants(probability, bins, vividness, self.calibration.amplification, variants)
        others = [_numpy(ab.clip(-128, 127)).astype(np.float32, copy=False) for ab in chosen[1:]]
        if not confidence_map:
            return others, None
        differences = _numpy(distribution.expected_difference(probability, bins, chosen[0]))
        return others, distribution.confidence(differences, self.calibration).astype(np.float32)

    def _colouring(self, colours: Colours, place: int, others: list[np.ndarray], maps: np.ndarray | None) -> Colouring:
        """Of the photograph at a place of a batch."""
        chroma = [np.ascontiguousarray(np.moveaxis(ab, 0, 2)) for ab in (colours.ab[place], *others)]
        if colours.difference is None:
            return Colouring(chroma)
        difference = float(colours.difference[place])
        sure = float(distribution.confidence(difference, self.calibration))
        offered = None if colours.probability is None else likeliest(colours.probability[place], distribution.bins())
        return Colouring(chroma, sure, None if maps is None else maps[place], offered, difference)

    def colorize(self, photograph: Photo, vividness: float | None = None, hints: Sequence[Hint] = ()) -> np.ndarray:
        """Colour one photograph at its native size: sRGB, (H, W, 3), at the photograph's bit depth."""
        grey = photograph.grey
        return color.merge(grey, self.predict([grey], vividness, hints=[hints])[0].chroma[0])


def _start(file: WeightsFile, device: str | None, precision: Precision) -> Engine:
    """On ``device``, by default the GPU where PyTorch sees one. Raises ``ValueError`` for weights that are not those of
    their network.
    """
    if file.manifest is not None:
        from colorize_core.foreign_engine import ForeignEngine, gpu_runs_onnx

        try:
            return ForeignEngine(file, device or ("cuda" if _driver_is_there() and gpu_runs_onnx() else "cpu"))
        except ForeignError:
            raise
        except Exception as error:  # whatever stands in others' files
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise ForeignError(f"it cannot be run as ONNX ({reason[0].strip()})") from error
    if device is None:
        device = "cuda" if _gpu_is_there() else "cpu"
    if device == "cpu":
        from colorize_core.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(file, precision)
    from colorize_core.pytorch_engine import PyTorchEngine

    return PyTorchEngine(file, device, precision)


def _check(device: str) -> None:
    """Raises ``ValueError`` where PyTorch has no such device."""
    try:
        import torch

        torch.empty(1, device=device)
    except (ImportError, RuntimeError, AssertionError) as error:
        raise ValueError(f"{device} is no device here ({' '.join(str(error).split())}): give cpu, or none") from error


def _gpu_is_there() -> bool:
    """PyTorch is asked only where there is a driver: its import takes seconds and some hundred MB."""
    if not _driver_is_there():
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _driver_is_there() -> bool:
    return any(Path(path).exists() for path in DEVICES)


def _numpy(array: Any) -> np.ndarray:
    """Also of an array of PyTorch, from its device."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def network_input(grey: np.ndarray, side: int, square: bool = False) -> np.ndarray:
    """What the network sees of a grey scan: CIE L* in [0, 100], float32 (h, w).

    About ``side`` squared pixels in the photograph's aspect ratio, each side a multiple of 32 and at least 32, so
    that a batch holds few different shapes. With ``square`` it is stretched to ``side`` by ``side``.
    """
    height, width = grey.shape
    ratio = math.sqrt(min(max(height / width, 1 / 16), 16))
    h, w = (side, side) if square else (max(32, round(side * r / 32) * 32) for r in (ratio, 1 / ratio))
    if height * width > h * w:
        return color.lightness(color.reduced(grey, h, w))
    return color.lightness(cv2.resize(grey, (w, h), interpolation=cv2.INTER_LINEAR))
