"""Writes ``graphs/``: each network of PyTorch, and what of ``distribution`` belongs to it, as ONNX without weights.

    python -m colorize_core.tracing

Run it when ``network.py`` or ``distribution.py`` computes something else than before; it takes two minutes. Inputs:
``lightness``, CIE L* in [0, 100], float32 (N, 1, H, W); ``hints``, float32 (N, 3, H/4, W/4), in graphs that take them;
``vividness`` and ``amplification``, scalars; and the weights by their names. Outputs: ``ab`` in CIE units, float32
(N, 2, h, w), and of a distribution ``difference``, (N,), and ``logits``, (N, Q, h, w). N, H and W are free.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from colorize_core import distribution, network, weights_file

TRACED: dict[str, tuple[str, dict]] = {
    "lite0": ("lite0", {}),
    "lite0-hints": ("lite0", {"hints": True}),
    "lite2": ("lite2", {}),
    "lite2-hints": ("lite2", {"hints": True}),
    "resnet18": ("resnet18", {}),
    "resnet18-deconv": ("resnet18", {"upsampling": "deconv"}),
}


class _Graph(nn.Module):
    def __init__(self, model: network.Network):
        super().__init__()
        self.models = [model]  # in a list, so that its weights are none of this module

    def forward(
        self,
        weights: dict[str, Tensor],
        lightness: Tensor,
        vividness: Tensor | None = None,
        amplification: Tensor | None = None,
        hints: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        (model,) = self.models
        output = functional_call(model, weights, (lightness,) if hints is None else (lightness, hints))
        if vividness is None:
            return (model.chroma(output).clamp(-128, 127),)
        return *distribution.colours(output, model.bins, vividness, amplification), output


def trace(name: str, settings: dict) -> bytes:
    """A network's graph."""
    model = network.build(name, **settings).eval()
    weights = {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    inputs: dict[str, Any] = {"weights": weights, "lightness": torch.rand(2, 1, 64, 96) * 100}
    shapes: dict[str, Any] = {"weights": dict.fromkeys(weights), "lightness": free}
    outputs = ["ab"]
    if hasattr(model, "bins"):
        inputs |= {"vividness": torch.tensor(0.5), "amplification": torch.tensor(3.0)}
        shapes |= {"vividness": None, "amplification": None}
        outputs += ["difference", "logits"]
    if settings.get("hints"):
        inputs |= {"hints": torch.zeros(2, 3, 16, 24)}
        shapes |= {"hints": free}
    names = [*weights, *list(inputs)[1:]]
    program = torch.onnx.export(
        _Graph(model).eval(), kwargs=inputs, dynamo=True, dynamic_shapes=shapes,
        input_names=names, output_names=outputs, external_data=False, verbose=False,
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]  # stack traces
    del proto.graph.value_info[:]
    return proto.SerializeToString(deterministic=True)


def main() -> None:
    for stem, (name, settings) in TRACED.items():
        data = trace(name, settings)
        (weights_file.GRAPHS / f"{stem}.onnx").write_bytes(data)
        print(f"{stem}.onnx: {len(data) / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
