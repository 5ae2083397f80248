"""Colourizers of others, as small files that paint one chroma."""

import numpy as np
import pytest
from skimage import data

from colorize_core import color, foreign_engine, photo
from colorize_core.colorizer import Colorizer
from colorize_core.weights_file import WeightsError
from tests.foreign import CHROMA, gives_ab, gives_rgb, tint_of
from tests.oracle import fraction_kept


@pytest.fixture
def load(tmp_path):
    def load(content: bytes, manifest: str | None = None, name: str = "theirs") -> Colorizer:
        (tmp_path / f"{name}.onnx").write_bytes(content)
        if manifest is not None:
            (tmp_path / f"{name}.yaml").write_text(manifest)
        return Colorizer.load(str(tmp_path / f"{name}.onnx"), "cpu")

    return load


FILES = {
    "DDColor, static": (gives_ab(3, 512), 512),
    "DDColor, any size": (gives_ab(3, "side"), 256),
    "DDColor, half precision": (gives_ab(3, 256, half=True), 256),
    "ECCV16": (gives_ab(1, 256), 256),
    "SIGGRAPH17": (gives_ab(1, 256, spare=True), 256),
    "Caffe": (gives_ab(1, 224, step=4), 224),
}


@pytest.mark.parametrize("name", FILES)
def test_families_that_give_ab_are_known_by_their_shapes(load, name):
    content, side = FILES[name]
    colorizer = load(content)
    assert colorizer.input_side == side
    for grey in (data.camera(), data.camera()[:100]):
        (colouring,) = colorizer.predict([grey])
        assert np.allclose(colouring.chroma[0], CHROMA, atol=0.02) and colouring.confidence is None
        assert fraction_kept(grey, colorizer.colorize(photo.Photo(grey))) == 1.0


@pytest.mark.parametrize("white, manifest", [(255.0, None), (1.0, "family: deoldify-unit")])
def test_deoldify_gives_the_chroma_of_its_picture_and_not_its_lightness(load, white, manifest):
    colorizer = load(gives_rgb(256, white), manifest)
    grey = np.full((64, 96), 120, np.uint8)
    (colouring,) = colorizer.predict([grey])
    assert np.allclose(colouring.chroma[0], tint_of(120), atol=0.3)
    rgb = colorizer.colorize(photo.Photo(grey))
    assert (color.grey_of(rgb) == grey).all()


def test_a_network_of_lightness_is_shown_lightness_in_its_own_range(load, monkeypatch):
    seen = []
    raw = foreign_engine.ForeignEngine._raw
    monkeypatch.setattr(
        foreign_engine.ForeignEngine, "_raw", lambda self, given: seen.append(given) or raw(self, given)
    )
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    for content, low, high in (
        (gives_ab(1, 256), 0, 100),
        (gives_ab(1, 224, step=4), -50, 50),
        (gives_ab(3, 256), 0, 1),
    ):
        colorizer = load(content)
        seen.clear()
        colorizer.predict([ramp])
        assert seen[0].min() == pytest.approx(low, abs=1) and seen[0].max() == pytest.approx(high, rel=0.02)
    middle = colorizer.predict([np.full((64, 64), 128, np.uint8)]) and seen[-1]
    assert np.allclose(middle, 128 / 255, atol=2e-3), "grey as RGB, coded as sRGB codes it"


@pytest.mark.parametrize(
    "content, manifest, says",
    [
        (gives_ab(3, 256), "family: eccv16", "makes 2 channels of 3, but its manifest or family says input: lightness"),
        (gives_rgb(256), "output: ab", "makes 3 channels of 3, but"),
        (gives_rgb(256, 1.0), None, "not as light and dark as what it is shown"),
        (gives_rgb(256), "family: deoldify-unit\nunit: 1\nwhite: 2550", "not as light and dark"),
        (gives_ab(3, 256, scale=1 / 110), None, "such as unit: 110"),
        (gives_ab(3, 256, scale=10), None, "a mean chroma of 361 CIE units for a grey picture"),
        (gives_ab(3, 256), "side: 512", "side: 512, and it takes 256 alone"),
        (gives_ab(3, 256), "famly: ddcolor", "has a key famly, which means nothing"),
        (gives_ab(3, 256), "family: ddcolour", "not one of ddcolor, deoldify"),
        (gives_ab(3, 256), "white: bright", "white: bright, which is no number"),
        (gives_ab(3, 256), "[a", "is not YAML"),
        (gives_ab(3, 256), "- a", "not a list of keys and values"),
        (gives_ab(3, 256)[:150], None, "cannot be run as ONNX"),
        (b"not ONNX at all", None, "cannot be run as ONNX"),
        (gives_ab(5, 256), None, "its input has the shape"),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says_is_refused_with_a_sentence(load, content, manifest, says):
    with pytest.raises(WeightsError) as error:
        load(content, manifest)
    assert says in str(error.value) and "theirs.onnx cannot be used" in str(error.value), error.value
    assert "\n" not in str(error.value)


def test_an_ab_in_other_units_is_scaled(load):
    (colouring,) = load(gives_ab(3, 256, scale=1 / 110), "unit: 110").predict([data.camera()])
    assert np.allclose(colouring.chroma[0], CHROMA, atol=0.02)


def test_what_it_cannot_do_is_said(load):
    colorizer = load(gives_ab(3, 256))
    for options in ({"vividness": 0.5}, {"variants": 2}):
        with pytest.raises(ValueError, match="theirs give one colour for each pixel"):
            colorizer.predict([data.camera()], **options)


def test_on_a_gpu_it_takes_the_provider_of_onnx_runtime(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_engine, "gpu_runs_onnx", lambda: False)
    (tmp_path / "theirs.onnx").write_bytes(gives_ab(3, 256))
    with pytest.raises(WeightsError, match=r"onnxruntime-gpu, or leave GPUs alone with --gpus 0"):
        Colorizer.load(str(tmp_path / "theirs.onnx"), "cuda")


def test_onnx_runtime_gives_the_same(load):
    """As on a GPU, by its provider for processors."""
    colorizer = load(gives_ab(3, 256, half=True))
    runner = foreign_engine._OnnxRuntimeRunner(colorizer.file.data, 256, "CPUExecutionProvider")
    assert runner.inputs == colorizer.engine.run.inputs
    colorizer.engine.run = runner
    assert np.allclose(colorizer.predict([data.camera()])[0].chroma[0], CHROMA, atol=0.02)
