import contextlib
import subprocess
import sys

import numpy as np

from colorize_core.colorizer import Colorizer


def test_onnx_gives_the_same_colours_for_any_batch_size_and_vividness(tmp_path, monkeypatch):
    import onnxruntime

    # In float32, as ONNX Runtime computes, on processors with bfloat16 too.
    monkeypatch.setattr("colorize_core.colorizer.autocast", lambda device: contextlib.nullcontext())

    path = tmp_path / "colorizer.onnx"
    done = subprocess.run([sys.executable, "-m", "jobs.export", str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "equal to PyTorch within" in done.stdout
    session, colorizer = onnxruntime.InferenceSession(path), Colorizer.load("default", "cpu")
    rng = np.random.default_rng(0)
    for count, vividness in ((1, 0.0), (5, 1.0)):
        lightness = rng.uniform(0, 100, (count, 1, 32 * count, 96)).astype(np.float32)
        (ab,) = session.run(["ab"], {"lightness": lightness, "vividness": np.array(vividness, np.float32)})
        ours = colorizer.predict_ab(torch_from(lightness), vividness).numpy()
        assert ab.shape == ours.shape and np.abs(ab - ours).max() < 0.05


def torch_from(array: np.ndarray):
    import torch

    return torch.from_numpy(array)
