from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from skimage import data

from colorize_core import network
from colorize_core.colorizer import Colorizer
from colorize_core.hints import Hint
from colorize_core.network import pack_weights
from colorize_core.openvino_engine import OpenVinoEngine
from colorize_core.pytorch_engine import PyTorchEngine
from colorize_core.tracing import TRACED
from colorize_core.weights_file import GRAPHS, WeightsFile

SCANS = data.camera(), data.camera()[:300], data.camera()[:, :100]


def random_weights(name: str, settings: dict) -> WeightsFile:
    torch.manual_seed(0)
    model = network.build(name, **settings)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after some training
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, network._Hints):  # they begin at 0
            for layer in (module.mix[2], module.precision):
                torch.nn.init.normal_(layer.weight, 0, 0.02)
    return WeightsFile.parse(pack_weights(model, name, settings, 96, {}), name)


def test_every_graph_ships():
    assert {path.stem for path in GRAPHS.glob("*.onnx")} == TRACED.keys()


@pytest.mark.parametrize("graph", TRACED)
def test_a_graph_computes_what_its_network_does(graph):
    """Where this fails, python -m colorize_core.tracing writes the graphs anew."""
    file = random_weights(*TRACED[graph])
    ours, theirs = (
        Colorizer(file, Colorizer.from_file(file, "cpu").calibration, engine)
        for engine in (OpenVinoEngine(file, "float32"), PyTorchEngine(file, "cpu", "float32"))
    )
    options: dict = {"variants": 3, "confidence_map": True} if file.gives_distribution else {}
    if file.takes_hints:
        options["hints"] = [[Hint(50, 50, (40, 20), 30), Hint(20, 250, None)]]
    for scan in SCANS:
        (one,), (other,) = (colorizer.predict([scan], **options) for colorizer in (ours, theirs))
        assert len(one.chroma) == len(other.chroma)
        for ab, wanted in zip(one.chroma, other.chroma, strict=True):
            assert ab.shape == wanted.shape and np.abs(ab - wanted).max() < 0.02
        if file.gives_distribution:
            assert one.expected_difference == pytest.approx(other.expected_difference, abs=1e-3)
            assert one.confidence == pytest.approx(other.confidence, abs=1e-3)
            assert np.abs(one.confidence_map - other.confidence_map).max() < 1e-2


@pytest.mark.parametrize("precision", ["fast", "float32"])
def test_the_same_bytes_come_out_whatever_else_there_is(rng, precision):
    """Alone, among 63 others of any shape, and asked for by 16 threads at once."""
    shapes = [(160, 120), (120, 160), (90, 160), (30, 400)]
    greys = [rng.integers(0, 256, shapes[i % 4], dtype=np.uint8) for i in range(64)]
    colorizer = Colorizer.load("default", "cpu", precision)
    together = colorizer.predict(greys)
    alone = [Colorizer.load("default", "cpu", precision).predict([grey])[0] for grey in greys[:8]]
    with ThreadPoolExecutor(16) as threads:
        threaded = list(threads.map(lambda grey: colorizer.predict([grey])[0], greys))
    for found in (alone, threaded):
        for one, other in zip(found, together, strict=False):
            assert one.chroma[0].tobytes() == other.chroma[0].tobytes() and one.confidence == other.confidence


@pytest.mark.parametrize("hints", [None, [[Hint(50, 50, (40, 20), 30)]]])
def test_the_fast_precision_is_near_float32(hints):
    fast, exact = (Colorizer.load("default", "cpu", precision) for precision in ("fast", "float32"))
    for scan in SCANS:
        (one,), (other,) = (colorizer.predict([scan], hints=hints) for colorizer in (fast, exact))
        assert np.linalg.norm(one.chroma[0] - other.chroma[0], axis=2).mean() < 1
        assert one.confidence == pytest.approx(other.confidence, abs=0.05)


def test_a_network_without_distribution_is_as_near():
    fast, exact = (Colorizer.load("resnet18", "cpu", precision) for precision in ("fast", "float32"))
    (one,), (other,) = (colorizer.predict([data.camera()]) for colorizer in (fast, exact))
    assert np.linalg.norm(one.chroma[0] - other.chroma[0], axis=2).mean() < 0.5
