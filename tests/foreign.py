"""Small ONNX files of colourizers as others make them, each painting one known chroma."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from colorize_core import color

CHROMA = 20.0, 30.0  # ab in CIE units


def graph(nodes, inputs, output, constants=(), element=TensorProto.FLOAT) -> bytes:
    """A file of ``nodes``; ``inputs`` and ``output`` are names with shapes."""
    values = [helper.make_tensor_value_info(name, element, shape) for name, shape in inputs]
    outputs = [helper.make_tensor_value_info(output, element, None)]
    kept = [numpy_helper.from_array(array, name) for name, array in constants]
    made = helper.make_graph(nodes, "colourizer", values, outputs, kept)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def gives_ab(
    channels: int, side: int | str, step: int = 1, spare: bool = False, half: bool = False, scale=1.0
) -> bytes:
    """DDColor (3 channels), ECCV16 (1), the Caffe one (1, every fourth place), SIGGRAPH17 (``spare`` inputs)."""
    dtype, element = (np.float16, TensorProto.FLOAT16) if half else (np.float32, TensorProto.FLOAT)
    # No more than a place of each channel is looked at, and times 0: the chroma is the bias.
    kernel = np.zeros((2, channels, 1, 1), dtype)
    bias = (np.array(CHROMA) * scale).astype(dtype)
    nodes = [helper.make_node("Conv", ["input", "kernel", "bias"], ["ab"], strides=[step, step])]
    inputs = [("input", [1, channels, side, side])]
    if spare:
        nodes[0].output[0] = "own"
        nodes.append(helper.make_node("Add", ["own", "input_B"], ["told"]))
        nodes.append(helper.make_node("Add", ["told", "mask_B"], ["ab"]))
        inputs += [("input_B", [1, 2, side, side]), ("mask_B", [1, 1, side, side])]
    return graph(nodes, inputs, "ab", [("kernel", kernel), ("bias", bias)], element)


def gives_rgb(side: int | str, white: float = 255.0) -> bytes:
    """DeOldify: the grey, times another factor in each channel."""
    tint = tinted()
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[range(3), range(3), 0, 0] = tint
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["out"]),
        helper.make_node("Clip", ["out", "black", "white"], ["rgb"]),
    ]
    constants = [("kernel", kernel), ("black", np.float32(0)), ("white", np.float32(white))]
    return graph(nodes, [("input", ["N", 3, side, side])], "rgb", constants)


def tinted() -> np.ndarray:
    """What a mid grey is multiplied by to be of a warm colour, as light as before, about; (3,)."""
    return np.array([1.15, 0.98, 0.8], np.float32)


def tint_of(level: int) -> np.ndarray:
    """The ab of a grey level that ``gives_rgb`` has tinted; (2,)."""
    rgb = np.rint(level * 257 * tinted()).clip(0, 65535).astype(np.uint16)
    return color.rgb_to_lab(rgb[None, None])[0, 0, 1:]
