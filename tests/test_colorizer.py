import hashlib
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open

from benchmarks.exactness import fraction_kept
from colorize_core import colorizer, network, photo
from colorize_core.colorizer import Colorizer, WeightsError, pack_weights, thumbnail


@pytest.fixture(scope="module")
def shipped() -> Colorizer:
    return Colorizer.load("default", "cpu")


def test_weights_survive_packing(tmp_path):
    torch.manual_seed(0)
    model = network.build("resnet18", upsampling="deconv")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(pack_weights(model, "resnet18", {"upsampling": "deconv"}, 128, {"epochs": 3}))
    for uri in (str(path), f"file://{path}"):
        loaded = Colorizer.load(uri, "cpu")
        assert loaded.config["training"] == {"epochs": 3}
        assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert loaded.model == f"mine@{loaded.digest[:12]}"
        for key, value in loaded.network.state_dict().items():
            assert torch.allclose(value.float(), model.state_dict()[key].float(), atol=1e-3), key


def test_shipped_weights_say_what_they_are(shipped):
    path = colorizer.SHIPPED / f"{colorizer.DEFAULT}.safetensors"
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["colorize"])
    assert header == shipped.config
    assert header["network"] == "resnet18" and header["training"]["photographs"] > 20_000
    assert path.stat().st_size < 16_000_000


def test_shipped_weights_give_colour(shipped):
    from skimage import data

    from colorize_core import metrics

    assert metrics.colorfulness(shipped.colorize(photo.Photo(data.camera()))) > 5


def test_predict_ab_has_the_documented_shape_type_and_range(shipped):
    ab = shipped.predict_ab(torch.rand(3, 1, 64, 96) * 100)
    assert ab.shape == (3, 2, 64, 96) and ab.dtype == torch.float32
    assert ab.abs().max() <= 128


def test_predict_batches_photographs_of_any_size(shipped, rng):
    greys = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((300, 400), (400, 300), (30, 40), (999, 10))]
    greys.append((greys[0].astype(np.uint16)) * 257)
    together = shipped.predict(greys)
    for grey, colouring in zip(greys, together, strict=True):
        (ab,) = colouring.chroma
        height, width = thumbnail(grey, shipped.input_side).shape
        assert ab.shape[0] / height == ab.shape[1] / width
        assert np.abs(ab - shipped.predict([grey])[0].chroma[0]).max() < 0.05
    eight, sixteen = together[0].chroma[0], together[-1].chroma[0]
    assert np.abs(eight - sixteen).max() < 1, "8 and 16 bits of the same scan get the same colours"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colorize_keeps_size_depth_and_grey(shipped, rng, dtype):
    grey = rng.integers(0, np.iinfo(dtype).max, (123, 77), dtype=dtype, endpoint=True)
    rgb = shipped.colorize(photo.Photo(grey))
    assert rgb.shape == (123, 77, 3) and rgb.dtype == dtype
    assert fraction_kept(grey, rgb) == 1.0


@pytest.mark.parametrize(
    "shape, want", [((768, 1024), (192, 256)), ((500, 500), (224, 224)), ((10, 4000), (64, 896)), ((1, 1), (224, 224))]
)
def test_thumbnail_keeps_the_aspect_ratio_at_a_constant_area(shape, want):
    small = thumbnail(np.full(shape, 119, np.uint8), 224)
    assert small.shape == want
    assert np.allclose(small, 50, atol=0.3)  # sRGB level 119 is L* 50


def test_unusable_weights_are_refused_with_a_sentence(tmp_path):
    garbage, cut, foreign, pickled = (tmp_path / f"{n}.safetensors" for n in ("garbage", "cut", "foreign", "pickled"))
    garbage.write_bytes(b"not weights at all")
    whole = pack_weights(network.build("resnet18"), "resnet18", {}, 128, {})
    cut.write_bytes(whole[: len(whole) // 2])
    foreign.write_bytes(pack_weights(torch.nn.Linear(2, 2), "resnet18", {}, 128, {}))
    pickled.write_bytes(pickle.dumps({"network": "resnet18"}))
    for path in (garbage, cut, foreign, pickled):
        with pytest.raises(WeightsError, match=r"not a .safetensors file written by jobs.train"):
            Colorizer.load(str(path), "cpu")
    with pytest.raises(WeightsError, match=r"cannot be read .* one that ships \(resnet18"):
        Colorizer.load(str(tmp_path / "missing.safetensors"), "cpu")
    unknown = tmp_path / "unknown.safetensors"
    unknown.write_bytes(pack_weights(network.build("resnet18"), "resnet99", {}, 128, {}))
    with pytest.raises(WeightsError, match="no network called 'resnet99'"):
        Colorizer.load(str(unknown), "cpu")
