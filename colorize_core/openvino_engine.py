"""Networks on a processor, in OpenVINO: twice as fast as PyTorch, in a quarter of its memory.

One photograph at a time, on one thread: a pool of processes has one for each core, and the same bytes come out
whatever other photographs there are and however many threads ask.
"""

import threading
from functools import lru_cache

import numpy as np
import openvino
from openvino import opset13

from colorize_core import distribution
from colorize_core.engine import Colours, Precision
from colorize_core.hints import CELL
from colorize_core.likeliest import places
from colorize_core.weights_file import GRAPHS, WeightsFile

INPUTS = "lightness", "hints", "vividness", "amplification"  # of a graph; all others are weights
LONG = 2  # sides in this proportion and beyond are rare
ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
EXACT = 3  # convolutions at the network's beginning that stay in float32: there bfloat16 does the most harm


@lru_cache
def core() -> openvino.Core:
    return openvino.Core()


class OpenVinoEngine:
    """See ``engine.Engine``."""

    device = "cpu"
    batch = 1
    side = None

    def __init__(self, file: WeightsFile, precision: Precision):
        if file.graph not in {path.stem for path in GRAPHS.glob("*.onnx")}:
            raise ValueError(f"there is no network called {file.graph!r}")
        able = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if precision == "fast" and able else "f32"  # emulated elsewhere, which is slower
        named = {"bf16": "bfloat16", "f32": "float32"}[self.precision]
        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]} {named}"
        self.file = file
        self.lock = threading.Lock()  # a request serves one thread at a time
        self._models: dict[tuple, openvino.Model] = {}
        self._requests: dict[tuple, list[openvino.InferRequest]] = {}
        self._model(False, ("ab", "difference"))  # what is wrong with the weights is said at once

    def colours(
        self,
        lightness: np.ndarray,
        hints: np.ndarray | None,
        vividness: float,
        amplification: float,
        at_places: bool = False,
    ) -> Colours:
        if not self.file.gives_distribution:
            return Colours(self._run(("ab",), lightness)[0], None)
        given = lightness, hints, vividness, amplification
        if not at_places:
            return Colours(*self._run(("ab", "difference"), *given))
        lines, columns = places(*(side // CELL for side in lightness.shape[2:]))
        at = lines[:, None] * (lightness.shape[3] // CELL) + columns
        ab, difference, some = self._run(("ab", "difference", "probability"), *given, at.ravel())
        return Colours(ab, difference, some.reshape(1, *at.shape, -1))

    def logits(self, lightness: np.ndarray, hints: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return self._run(("logits",), lightness, hints)[0], distribution.bins()

    def _run(
        self,
        outputs: tuple[str, ...],
        lightness: np.ndarray,
        hints: np.ndarray | None = None,
        vividness: float = 0.0,
        amplification: float = 1.0,
        at: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        given = {"lightness": lightness, "vividness": np.float32(vividness), "amplification": np.float32(amplification)}
        given |= {name: array for name, array in (("hints", hints), ("at", at)) if array is not None}
        with self.lock:
            for request in self._requests_for(hints is not None, outputs, *lightness.shape[2:]):
                names = {name for port in request.model_inputs for name in port.get_names()}
                request.infer({name: np.asarray(value) for name, value in given.items() if name in names})
                given |= {port.get_any_name(): request.get_tensor(port).data for port in request.model_outputs}
            return [np.array(given[name]) for name in outputs]

    def _requests_for(
        self, hinted: bool, outputs: tuple[str, ...], height: int, width: int
    ) -> list[openvino.InferRequest]:
        """One after the other, compiled for the shape: a quarter of a second and 30 MB for each of the few that are
        usual. What is long shares those that take any shape, at five quarters of the time."""
        if max(height, width) > LONG * min(height, width):
            height = width = -1
        key = hinted, outputs, height, width
        if key not in self._requests:
            model = self._model(hinted, outputs).clone()
            shapes = {"lightness": [1, 1, height, width], "hints": [1, 3, max(height // 4, -1), max(width // 4, -1)]}
            model.reshape({name: shape for name, shape in shapes.items() if hinted or name != "hints"})
            parts = [(model, self.precision)] if self.precision == "f32" else _parts(model)
            self._requests[key] = [
                core().compile_model(part, "CPU", ONE_THREAD | {"INFERENCE_PRECISION_HINT": precision})
                .create_infer_request()
                for part, precision in parts
            ]  # fmt: skip
        return self._requests[key]

    def _model(self, hinted: bool, outputs: tuple[str, ...]) -> openvino.Model:
        """The network's graph with the weights in it, and what leads to some of its outputs alone."""
        key = hinted, outputs
        if key not in self._models:
            graph = core().read_model(GRAPHS / f"{self.file.graph}{'-hints' if hinted else ''}.onnx")
            tensors = self.file.tensors
            inputs = []
            for parameter in graph.get_parameters():
                name = parameter.get_friendly_name()
                if name in INPUTS:
                    inputs.append(parameter)
                    continue
                if name not in tensors or list(tensors[name].shape) != parameter.partial_shape.to_shape():
                    raise ValueError(f"it has no {name} as the network {self.file.graph} does")
                constant = opset13.constant(tensors[name].astype(np.float32))
                parameter.output(0).replace(constant.output(0))
            wanted = [result for result in graph.get_results() if result.input_value(0).get_names() & {*outputs}]
            if "probability" in outputs:  # which graphs have in them, but not among their outputs
                *_, whole = (node for node in graph.get_ordered_ops() if node.get_type_name() == "Softmax")
                at = opset13.parameter([-1], np.int64, "at")
                at.output(0).get_tensor().set_names({"at"})
                some = opset13.gather(opset13.reshape(whole, [-1, len(distribution.bins())], False), at, 0)
                some.output(0).get_tensor().set_names({"probability"})
                wanted.append(opset13.result(some))
                inputs.append(at)
            self._models[key] = openvino.Model(wanted, inputs, self.file.graph)
        return self._models[key]


def _parts(model: openvino.Model) -> list[tuple[openvino.Model, str]]:
    """A network's first convolutions in float32, and the rest, which takes what they give, in bfloat16."""
    convolutions = [node for node in model.get_ordered_ops() if "Convolution" in node.get_type_name()]
    cut = convolutions[EXACT].input_value(0)
    lightness = next(node for node in model.get_parameters() if node.get_friendly_name() == "lightness")
    begun = opset13.result(cut)
    first = openvino.Model([begun], [lightness], "begin").clone()
    first.outputs[0].get_tensor().set_names({"begun"})
    joint = opset13.parameter(cut.get_partial_shape(), np.float32, "begun")
    joint.output(0).get_tensor().set_names({"begun"})
    for target in [target for target in cut.get_target_inputs() if target.get_node() != begun]:
        target.replace_source_output(joint.output(0))
    end = openvino.Model(model.get_results(), [joint, *model.get_parameters()], "end")
    return [(first, "f32"), (end, "bf16")]
