"""Networks in PyTorch: on GPUs, and in training."""

import numpy as np
import torch
from torch import Tensor

from colorize_core import distribution, network
from colorize_core.engine import Colours, Precision
from colorize_core.likeliest import places
from colorize_core.weights_file import WeightsFile


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision where it is faster: bfloat16 on a GPU, or on a processor with AVX-512 or AMX bfloat16.

    Elsewhere bfloat16 is emulated, at a tenth of the speed of float32, and this does nothing.
    """
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return torch.autocast("cpu", torch.bfloat16, enabled=bool(able.get("avx512_bf16") or able.get("amx_bf16")))
    return torch.autocast(device.type, torch.bfloat16)


class PyTorchEngine:
    """See ``engine.Engine``. On a processor it is what the other one is compared with."""

    side = None

    def __init__(self, file: WeightsFile, device: str, precision: Precision):
        self.on = torch.device(device)
        self.device = str(self.on)
        self.batch = 2 if self.on.type == "cpu" else 32
        self.fast = precision == "fast"
        self.name = f"PyTorch {torch.__version__.partition('+')[0]} {'bfloat16' if self.fast else 'float32'}"
        model = network.of_file(file)
        self.bins = model.bins.to(self.on) if file.gives_distribution else None
        self.network = network.folded(model).to(self.on).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def colours(
        self,
        lightness: np.ndarray,
        hints: np.ndarray | None,
        vividness: float,
        amplification: float,
        at_places: bool = False,
    ) -> Colours:
        output = self._output(lightness, hints)
        if self.bins is None:
            return Colours(self.network.chroma(output).clamp(-128, 127).cpu().numpy(), None)
        found = distribution.colours(output, self.bins, vividness, amplification)
        ab, difference = (tensor.cpu().numpy() for tensor in found)
        if not at_places:
            return Colours(ab, difference)
        lines, columns = (torch.from_numpy(at).to(self.on) for at in places(*output.shape[2:]))
        some = distribution.probabilities(output[:, :, lines[:, None], columns])
        return Colours(ab, difference, some.cpu().numpy())

    @torch.inference_mode()
    def logits(self, lightness: np.ndarray, hints: np.ndarray | None) -> tuple[Tensor, Tensor]:
        assert self.bins is not None, "it has a distribution"
        return self._output(lightness, hints), self.bins

    def _output(self, lightness: np.ndarray, hints: np.ndarray | None) -> Tensor:
        given = [torch.from_numpy(array) for array in (lightness, hints) if array is not None]
        batches = [tensor.to(self.on, memory_format=torch.channels_last) for tensor in given]
        if self.fast:
            with autocast(self.on):
                return self.network(*batches).float()
        # Convolutions of GPUs round to 10 bits of mantissa otherwise.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return self.network(*batches)
