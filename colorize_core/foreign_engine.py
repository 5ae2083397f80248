"""Colourizers of others, see ``foreign``, in OpenVINO on a processor and in ONNX Runtime on a GPU.

They are asked for chroma alone, of the whole photograph in a square as they were trained on, one photograph at a time
and in float32: nobody has measured here what less does to their colours.
"""

import threading
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np

from colorize_core import color, foreign
from colorize_core.engine import Colours
from colorize_core.foreign import ForeignError
from colorize_core.weights_file import WeightsFile

SPARE = "input_B", "mask_B"  # further inputs of SIGGRAPH17, for colours that are known: none are
NEEDS = (
    "on a GPU it takes ONNX Runtime's CUDA provider, which is not installed: pip install onnxruntime-gpu, or leave "
    "GPUs alone with --gpus 0"
)
FEEBLE, EXTREME = 1.2, 70.0  # CIE units: colours of a photograph whose strongest, or mean, chroma is that are none
APART = 25.0  # L*: so far off on average is no picture of the same thing


class Runner(Protocol):
    """A file that is loaded: with free sides set to ``side``."""

    inputs: dict[str, tuple[list[int], Any]]
    """Shape and NumPy's type by name."""

    def __call__(self, given: dict[str, np.ndarray]) -> np.ndarray:
        """The first output."""


class ForeignEngine:
    """See ``engine.Engine``."""

    batch = 1

    def __init__(self, file: WeightsFile, device: str):
        assert file.manifest is not None
        self.device = device
        self.lock = threading.Lock()
        load = _openvino if device == "cpu" else _onnx_runtime
        wanted = file.manifest.get("side") or foreign.FAMILIES[file.manifest.get("family", "eccv16")].side
        self.run, self.name = load(file.data, int(wanted))
        self.main = next((name for name in self.run.inputs if name not in SPARE), "")
        shape = self.run.inputs[self.main][0] if self.main else []
        if len(shape) != 4 or shape[1] not in (1, 3):
            raise ForeignError(f"its input has the shape {shape}, and not (1, 1 or 3, height, width)")
        if strange := [name for name in self.run.inputs if name not in (self.main, *SPARE)]:
            raise ForeignError(f"it also takes {', '.join(strange)}, and nothing here says what that is")
        if shape[2] != shape[3]:
            raise ForeignError(f"it takes pictures of {shape[3]} x {shape[2]}, and no square")
        self.side = shape[2]
        found = self._raw(np.full(shape, 0.5, np.float32))
        if found.ndim != 4:
            raise ForeignError(f"its output has the shape {list(found.shape)}, and not (1, 2 or 3, height, width)")
        self.family = foreign.family(file.manifest, shape[1], found.shape[1], found.shape[2] / self.side)
        if self.family.side != self.side and "side" in file.manifest:
            raise ForeignError(f"its manifest says side: {self.family.side}, and it takes {self.side} alone")
        _probe(self)

    def colours(
        self,
        lightness: np.ndarray,
        hints: np.ndarray | None,
        vividness: float,
        amplification: float,
        at_places: bool = False,
    ) -> Colours:
        lab = self.lab(cv2.resize(lightness[0, 0], (self.side, self.side), interpolation=cv2.INTER_LINEAR))
        return Colours(np.moveaxis(lab[..., 1:], 2, 0)[None].clip(-128, 127), None)

    def logits(self, lightness: np.ndarray, hints: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("it gives no distribution")

    def lab(self, lightness: np.ndarray) -> np.ndarray:
        """CIE L* (H, W) of the size that it takes, to what it gives, CIE Lab (h, w, 3); with ab alone, L* is 50."""
        family = self.family
        whole = family.white - family.black
        if family.input == "rgb":
            grey = color.linear_to_srgb(_luminance(lightness))
            given = np.repeat(grey[None, None], 3, axis=1) * whole + family.black
        else:
            given = lightness[None, None] / 100 * whole + family.black
        found = np.moveaxis(self._raw(given.astype(np.float32))[0], 0, 2)
        if family.output == "rgb":
            unit = ((found - family.black) / whole).clip(0, 1)
            return color.rgb_to_lab(np.rint(unit * 65535).astype(np.uint16))
        return np.concatenate([np.full_like(found[..., :1], 50), found * np.float32(family.unit)], axis=2)

    def _raw(self, given: np.ndarray) -> np.ndarray:
        feed = {self.main: given}
        for name, (shape, _) in self.run.inputs.items():
            if name in SPARE:
                feed[name] = np.zeros(shape, np.float32)
        with self.lock:
            typed = {name: value.astype(self.run.inputs[name][1]) for name, value in feed.items()}
            return np.asarray(self.run(typed), np.float32)


def _luminance(lightness: np.ndarray) -> np.ndarray:
    """CIE L* to Y in [0, 1]."""
    root = (lightness + 16) / 116
    return np.where(lightness > 8, root**3, lightness / (24389 / 27)).astype(np.float32)


def _probe(engine: ForeignEngine) -> None:
    """Raise ``ForeignError`` where what comes out cannot be what the manifest says: on a wrong range most files run as
    well, and give nonsense. Shown are a grey ramp and a picture with the spectrum of a photograph.
    """
    side = engine.side
    rng = np.random.default_rng(0)
    fields = [cv2.resize(rng.random((n, n), np.float32), (side, side)) for n in (3, 6, 12, 24, 48)]
    mixed = np.sum([field / (i + 1) for i, field in enumerate(fields)], axis=0)
    photograph = 100 * (mixed - mixed.min()) / np.ptp(mixed)
    ramp = np.tile(np.linspace(0, 100, side, dtype=np.float32), (side, 1))
    what = f"input: {engine.family.input} from {engine.family.black:g} to {engine.family.white:g}"
    strongest = 0.0
    for picture in (ramp, photograph):
        lab = engine.lab(picture)
        if not np.isfinite(lab).all():
            raise ForeignError(f"it gives values that are no numbers for {what}")
        chroma = np.linalg.norm(lab[..., 1:], axis=2)
        strongest = max(strongest, float(chroma.max()))
        if chroma.mean() > EXTREME:
            raise ForeignError(
                f"it gives a mean chroma of {chroma.mean():.0f} CIE units for a grey picture, with {what} and "
                f"unit: {engine.family.unit:g}: the range of its input or the unit of its ab is another one"
            )
        if engine.family.output == "rgb":
            shown = cv2.resize(picture, (lab.shape[1], lab.shape[0]), interpolation=cv2.INTER_AREA)
            if np.abs(lab[..., 0] - shown).mean() > APART:
                raise ForeignError(
                    f"the picture that it gives is not as light and dark as what it is shown, with {what}: its range "
                    "is another one"
                )
    if engine.family.output == "ab" and strongest < FEEBLE:
        raise ForeignError(
            f"its strongest colour has a chroma of {strongest:.2g}, with {what}: its ab are in another unit than "
            "CIE's, such as unit: 110, or the range of its input is another one"
        )


class _OpenVinoRunner:
    def __init__(self, data: bytes, side: int):
        from colorize_core.openvino_engine import core

        model = core().read_model(data)
        shapes = {}
        for port in model.inputs:
            dims = [dim.get_length() if dim.is_static else None for dim in port.partial_shape]
            free = (1, 1, side, side)
            shapes[port.get_any_name()] = [free[i] if dim is None else dim for i, dim in enumerate(dims)]
        model.reshape(shapes)
        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        self.request = core().compile_model(model, "CPU", how).create_infer_request()
        ports = [(port.get_any_name(), port.get_element_type().to_dtype()) for port in model.inputs]
        self.inputs = {name: (shapes[name], dtype) for name, dtype in ports}

    def __call__(self, given: dict[str, np.ndarray]) -> np.ndarray:
        return self.request.infer(given)[0]


def _openvino(data: bytes, side: int) -> tuple[Runner, str]:
    import openvino

    return _OpenVinoRunner(data, side), f"OpenVINO {openvino.__version__.partition('-')[0]} float32"


class _OnnxRuntimeRunner:
    TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}  # noqa: RUF012

    def __init__(self, data: bytes, side: int, provider: str = "CUDAExecutionProvider"):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(data, providers=[provider])
        self.inputs = {}
        for port in self.session.get_inputs():
            shape = [(1, 1, side, side)[i] if isinstance(dim, str | None) else dim for i, dim in enumerate(port.shape)]
            self.inputs[port.name] = shape, self.TYPES.get(port.type, np.float32)

    def __call__(self, given: dict[str, np.ndarray]) -> np.ndarray:
        return self.session.run(None, given)[0]


def _onnx_runtime(data: bytes, side: int) -> tuple[Runner, str]:
    if not gpu_runs_onnx():
        raise ForeignError(NEEDS)
    import onnxruntime

    return _OnnxRuntimeRunner(data, side), f"ONNX Runtime {onnxruntime.__version__} float32"


@lru_cache
def gpu_runs_onnx() -> bool:
    try:
        import onnxruntime
    except ImportError:
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
