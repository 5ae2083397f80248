import numpy as np
import pytest

from colorize_core import export
from colorize_core.colorizer import Colorizer


@pytest.mark.parametrize("weights", ["default", "resnet18"])
def test_onnx_gives_the_same_colours_for_any_batch_size_and_vividness(weights):
    import onnxruntime

    colorizer = Colorizer.load(weights, "cpu", "float32")
    session = onnxruntime.InferenceSession(export.to_onnx(colorizer.file, colorizer.calibration))
    rng = np.random.default_rng(0)
    for count, vividness in ((1, 0.0), (5, 1.0)):
        lightness = rng.uniform(0, 100, (count, 1, 32 * count, 96)).astype(np.float32)
        feed = {"lightness": lightness}
        if colorizer.file.gives_distribution:
            feed["vividness"] = np.array(vividness, np.float32)
        (ab,) = session.run(["ab"], feed)
        for i in range(count):
            ours = colorizer.engine.colours(lightness[i : i + 1], None, vividness, colorizer.calibration.amplification)
            assert ab[i].shape == ours.ab[0].shape and np.abs(ab[i] - ours.ab[0]).max() < 0.05
