"""Weights and their network's graph as one ONNX file, for other programs.

Inputs: ``lightness``, CIE L* in [0, 100], float32 (N, 1, H, W), H and W multiples of 32; and, for networks that give a
distribution, ``vividness``, a float32 scalar in [0, 1]. Output: ``ab`` in CIE units, float32 (N, 2, h, w); with a
distribution also ``difference``, (N,), that the confidence is computed from, and ``logits``. Hints are left out. N, H
and W are free.
"""

import numpy as np

from colorize_core.distribution import Calibration
from colorize_core.weights_file import GRAPHS, WeightsFile


def to_onnx(file: WeightsFile, calibration: Calibration) -> bytes:
    """See above. Raises ``ImportError`` where onnx is missing."""
    import onnx

    model = onnx.load(GRAPHS / f"{file.graph}.onnx")
    constants = file.tensors | {"amplification": np.float32(calibration.amplification)}
    inputs = [value for value in model.graph.input if value.name not in constants]
    for name in {value.name for value in model.graph.input} & constants.keys():
        array = np.asarray(constants[name], np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model.SerializeToString()
