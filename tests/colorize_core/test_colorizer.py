import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from skimage import data

from colorize_core import metrics, network, photo, weights_file
from colorize_core.colorizer import Colorizer, network_input
from colorize_core.distribution import Calibration
from colorize_core.network import pack_weights
from colorize_core.weights_file import WeightsError, WeightsFile
from tests.oracle import fraction_kept


@pytest.fixture(scope="module")
def shipped() -> Colorizer:
    return Colorizer.load("default", "cpu")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_survive_packing(tmp_path, layout):
    """However they lie in memory: training has them with the channels last."""
    torch.manual_seed(0)
    model = network.build("resnet18", upsampling="deconv").to(memory_format=layout)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(pack_weights(model, "resnet18", {"upsampling": "deconv"}, 128, {"epochs": 3}))
    for uri in (str(path), f"file://{path}"):
        loaded = Colorizer.load(uri, "cpu")
        assert loaded.file.config["training"] == {"epochs": 3}
        assert loaded.file.digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert loaded.file.model == f"mine@{loaded.file.digest[:12]}"
        for key, value in network.of_file(loaded.file).state_dict().items():
            assert torch.allclose(value.float(), model.state_dict()[key].float(), atol=1e-3), key


def test_a_path_that_ends_like_ours_is_not_ours(tmp_path):
    """Only what ships is trusted without a look."""
    shipped = weights_file.SHIPPED / f"{weights_file.DEFAULT}.safetensors"
    (tmp_path / shipped.name).write_bytes(shipped.read_bytes())
    with pytest.raises(WeightsError, match="cannot be read"):
        WeightsFile.read(str(tmp_path / weights_file.DEFAULT))
    assert not WeightsFile.read(str(tmp_path / shipped.name)).ships and WeightsFile.read(weights_file.DEFAULT).ships


def test_older_files_whose_colours_were_weighed_by_rarity_still_colour(tmp_path):
    model = network.build("lite0")
    state = {**model.state_dict(), "prior": torch.ones(290) / 290}
    header = {"network": "lite0", "settings": {}, "input_side": 96, "training": {}}
    header["calibration"] = {"gain": 1.3, "middle": 8.0, "width": 2.0}
    (tmp_path / "old.safetensors").write_bytes(save(state, {"colorize": json.dumps(header)}))
    old = Colorizer.load(str(tmp_path / "old.safetensors"), "cpu")
    assert old.calibration == Calibration(middle=8.0, width=2.0)
    assert metrics.colorfulness(old.colorize(photo.Photo(data.camera()))) > 0


def test_older_files_whose_hints_acted_otherwise_are_used_without(tmp_path):
    state = {**network.build("lite0").state_dict(), "hints.scene.weight": torch.zeros(160, 3)}
    header = {"network": "lite0", "settings": {"hints": True}, "input_side": 96, "training": {}}
    (tmp_path / "old.safetensors").write_bytes(save(state, {"colorize": json.dumps(header)}))
    old = Colorizer.load(str(tmp_path / "old.safetensors"), "cpu")
    assert old.predict([data.camera()])[0].chroma[0].any() and not old.file.takes_hints
    assert not hasattr(network.of_file(old.file), "hints"), "nor are they trained on"


def test_shipped_weights_say_what_they_are(shipped):
    path = weights_file.SHIPPED / f"{weights_file.DEFAULT}.safetensors"
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["colorize"])
    assert header == shipped.file.config
    assert header["network"] == "lite2" and header["training"]["photographs"] > 20_000
    assert path.stat().st_size < 16_000_000


def test_shipped_weights_give_colour(shipped):
    assert metrics.colorfulness(shipped.colorize(photo.Photo(data.camera()))) > 5


@pytest.mark.parametrize("name, scale", [("default", 4), ("resnet18", 1)])
def test_chroma_has_the_documented_shape_type_and_range(name, scale):
    colorizer = Colorizer.load(name, "cpu")
    (ab,) = colorizer.predict([data.camera()])[0].chroma
    assert ab.shape == (colorizer.input_side // scale, colorizer.input_side // scale, 2) and ab.dtype == np.float32
    assert np.abs(ab).max() <= 128


def test_vividness_raises_the_colourfulness_step_by_step(shipped):
    scan = photo.Photo(data.camera())
    colorful = [metrics.colorfulness(shipped.colorize(scan, vividness)) for vividness in (0, 0.5, 1)]
    assert colorful[0] < colorful[1] < colorful[2]
    between = metrics.colorfulness(shipped.colorize(scan))
    assert colorful[0] < between < colorful[2], "the default lies between"


def test_variants_and_confidence(shipped):
    (one,), (three,) = (shipped.predict([data.camera()], variants=n) for n in (1, 3))
    assert len(one.chroma) == 1 and len(three.chroma) == 3
    assert np.array_equal(one.chroma[0], three.chroma[0]), "the first variant is the colouring without variants"
    for other in three.chroma[1:]:
        assert other.dtype == np.float32
        assert 5 < np.linalg.norm(other - one.chroma[0], axis=2).mean() < 15
    assert 0 <= one.confidence <= 1 and one.confidence_map is None
    (mapped,) = shipped.predict([data.camera()], confidence_map=True)
    assert mapped.confidence == one.confidence and mapped.confidence_map.shape == one.chroma[0].shape[:2]
    assert 0 <= mapped.confidence_map.min() < mapped.confidence_map.max() <= 1


def test_weights_that_give_one_colour_say_so():
    seed = Colorizer.load("resnet18", "cpu")
    (colouring,) = seed.predict([data.camera()])
    assert colouring.confidence is None and colouring.confidence_map is None
    for options in ({"vividness": 0.5}, {"variants": 2}):
        with pytest.raises(ValueError, match="resnet18 give one colour for each pixel"):
            seed.predict([data.camera()], **options)


@pytest.mark.parametrize("vividness", [-0.1, 1.1, float("nan")])
def test_vividness_is_limited(shipped, vividness):
    with pytest.raises(ValueError, match=r"vividness must lie in \[0, 1\]"):
        shipped.predict([data.camera()], vividness)


def test_colouring_on_a_processor_needs_no_pytorch():
    """Its import takes seconds and hundreds of MB, in every process."""
    colour = "from jobs.coloring import worker; from colorize_core.colorizer import Colorizer; import numpy as np; "
    colour += "Colorizer.load('default', 'cpu').predict([np.zeros((64, 64), np.uint8)], None, 2, True)"
    code = f"import sys; {colour}; sys.exit(bool({{'torch', 'torchvision', 'onnx'}} & {{*sys.modules}}))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_predict_batches_photographs_of_any_size(shipped, rng):
    greys = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((300, 400), (400, 300), (30, 40), (999, 10))]
    greys.append((greys[0].astype(np.uint16)) * 257)
    together = shipped.predict(greys)
    for grey, colouring in zip(greys, together, strict=True):
        (ab,) = colouring.chroma
        height, width = network_input(grey, shipped.input_side).shape
        assert ab.shape[0] / height == ab.shape[1] / width
        assert np.array_equal(ab, shipped.predict([grey])[0].chroma[0]), "it depends on its neighbours"
    eight, sixteen = together[0].chroma[0], together[-1].chroma[0]
    assert np.abs(eight - sixteen).mean() < 0.5, "8 and 16 bits of the same scan get the same colours"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colorize_keeps_size_depth_and_grey(shipped, rng, dtype):
    grey = rng.integers(0, np.iinfo(dtype).max, (123, 77), dtype=dtype, endpoint=True)
    rgb = shipped.colorize(photo.Photo(grey))
    assert rgb.shape == (123, 77, 3) and rgb.dtype == dtype
    assert fraction_kept(grey, rgb) == 1.0


@pytest.mark.parametrize(
    "shape, want", [((768, 1024), (192, 256)), ((500, 500), (224, 224)), ((10, 4000), (64, 896)), ((1, 1), (224, 224))]
)
def test_what_the_network_sees_keeps_the_aspect_ratio_at_a_constant_area(shape, want):
    small = network_input(np.full(shape, 119, np.uint8), 224)
    assert small.shape == want
    assert np.allclose(small, 50, atol=0.3)  # sRGB level 119 is L* 50


def test_a_jobs_driver_needs_no_pytorch():
    """Its import takes two seconds and some hundred MB."""
    look = "from jobs import colorize; colorize.WeightsFile.read().check(0.5, 3)"
    code = f"import sys; {look}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", network.NETWORKS)
def test_a_file_says_whether_its_network_gives_a_distribution(name):
    model = network.build(name)
    file = WeightsFile.parse(pack_weights(model, name, {}, 64, {}), "a")
    assert file.gives_distribution == hasattr(model, "bins")


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
    with pytest.raises(WeightsError, match=r"cannot be read .* one that ships \(lite2, resnet18"):
        Colorizer.load(str(tmp_path / "missing.safetensors"), "cpu")
    unknown = tmp_path / "unknown.safetensors"
    unknown.write_bytes(pack_weights(network.build("resnet18"), "resnet99", {}, 128, {}))
    with pytest.raises(WeightsError, match="no network called 'resnet99'"):
        Colorizer.load(str(unknown), "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_not_taken_for_bad_weights(device):
    with pytest.raises(ValueError, match=f"{device} is no device here") as error:
        Colorizer.load("default", device)
    assert not isinstance(error.value, WeightsError)
