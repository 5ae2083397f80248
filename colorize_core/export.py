"""The network as an ONNX file, for programs without PyTorch.

Inputs: ``lightness``, CIE L* in [0, 100], float32 (N, 1, H, W), H and W multiples of 32; and, for networks that give a
distribution, ``vividness``, a float32 scalar in [0, 1]. Output: ``ab`` in CIE units, float32 (N, 2, h, w), as
``Colorizer.predict_ab`` in float32; hints are left out. N, H and W are free. Before it is written, the file is run in
ONNX Runtime and compared with PyTorch, at two sizes.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from colorize_core import distribution
from colorize_core.colorizer import Colorizer

TOLERANCE = 0.05  # CIE units in ab between ONNX Runtime and PyTorch, both in float32


class _Network(nn.Module):
    def __init__(self, colorizer: Colorizer):
        super().__init__()
        self.network, self.amplification = colorizer.network, colorizer.calibration.amplification

    def forward(self, lightness: Tensor, vividness: Tensor | None = None) -> Tensor:
        output = self.network(lightness)
        if vividness is None:
            return self.network.chroma(output).clamp(-128, 127)
        how = self.network.bins, vividness, self.amplification
        return distribution.chroma(distribution.probabilities(output), *how).clamp(-128, 127)


def to_onnx(colorizer: Colorizer) -> bytes:
    """See above. Raises ``ImportError`` where onnx, onnxscript or onnxruntime is missing, ``RuntimeError`` where the
    file does not compute what PyTorch does.
    """
    import onnxruntime

    inputs = {"lightness": torch.rand(2, 1, 64, 96) * 100}
    shapes: dict[str, dict[int, Any] | None] = {
        "lightness": {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    }
    if colorizer.file.gives_distribution:
        inputs["vividness"] = torch.tensor(distribution.DEFAULT_VIVIDNESS)
        shapes["vividness"] = None
    model = _Network(colorizer).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "colorizer.onnx")
        torch.onnx.export(
            model, kwargs=inputs, f=path, dynamo=True, dynamic_shapes=shapes,
            input_names=list(inputs), output_names=["ab"], external_data=False, verbose=False,
        )  # fmt: skip
        data = path.read_bytes()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 96, 64), (3, 1, 128, 160)):
        lightness = torch.rand(shape) * 100
        feed = {"lightness": lightness.numpy()}
        if colorizer.file.gives_distribution:
            feed["vividness"] = np.array(0.25, np.float32)
        (theirs,) = session.run(None, feed)
        with torch.inference_mode():  # no autocast: `predict_ab` is in bfloat16 where the processor has it
            ours = model(*map(torch.from_numpy, feed.values()))
        apart = np.abs(theirs - ours.numpy()).max()
        if not apart < TOLERANCE:
            raise RuntimeError(f"ONNX Runtime and PyTorch differ by {apart:.3g} in ab for an input of {shape}")
    return data
