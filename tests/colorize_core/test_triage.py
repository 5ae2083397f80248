import cv2
import numpy as np
import pytest
from skimage import data

from colorize_core import color, photo, triage
from colorize_core.photo import Photo
from tests.pictures import pages, tinted

PHOTOGRAPHS = {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
GREYS = {name: color.grey_of(rgb) for name, rgb in PHOTOGRAPHS.items()} | {"camera": data.camera()}
PAGES = [page for number, page in enumerate(pages(9)) if number != 1]  # skimage's text() is too dark and coarse


def kinds(pixels: np.ndarray) -> set[str]:
    """What uint8 pixels are found to be, at 8 and at 16 bits."""
    return {triage.kind(Photo(pixels)), triage.kind(Photo(pixels.astype(np.uint16) * 257))}


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    encoded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


def sepia(grey: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, browner in the shadows and yellower in the highlights."""
    level = grey[..., None] / 255
    return np.rint(255 * level ** np.array([0.8, 1.0, 1.3]) * (1, 0.95, 0.85)).astype(np.uint8)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_colour_photograph_is_colour(name):
    assert kinds(PHOTOGRAPHS[name]) == {"color"}


def test_a_colour_photograph_of_low_saturation_is_colour():
    lab = color.rgb_to_lab(PHOTOGRAPHS["astronaut"])
    faint = color.merge(GREYS["astronaut"], 0.25 * lab[..., 1:])
    assert kinds(faint) == {"color"}


@pytest.mark.parametrize("name", GREYS)
def test_a_grey_scan_is_grey_as_one_channel_and_as_three(name, rng):
    assert kinds(GREYS[name]) == {"grey"}
    three = np.repeat(GREYS[name][..., None], 3, axis=2)
    assert kinds(three) == {"grey"}
    assert kinds(jpeg(np.clip(three + rng.normal(0, 4, three.shape), 0, 255).astype(np.uint8), 60)) == {"grey"}


@pytest.mark.parametrize("name", GREYS)
def test_a_sepia_print_is_tinted_through_noise_and_jpeg(name, rng):
    toned = sepia(GREYS[name])
    assert kinds(toned) == {"tinted"}
    noisy = np.clip(toned + rng.normal(0, 4, toned.shape), 0, 255).astype(np.uint8)
    assert kinds(jpeg(noisy, 50)) == {"tinted"}


def test_tints_of_any_hue_that_fade_unevenly_are_tinted():
    found = [
        triage.kind(Photo(np.rint(255 * tinted(grey / np.float32(255), np.random.default_rng(seed))).astype(np.uint8)))
        for seed, grey in enumerate([*GREYS.values()] * 2)
    ]
    assert found.count("tinted") >= 9


def test_a_coloured_mount_does_not_make_a_sepia_print_colour():
    mounted = sepia(GREYS["camera"])
    mounted[:24], mounted[-24:] = (150, 30, 30), (30, 60, 150)
    assert kinds(mounted) == {"tinted"}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_text(page):
    assert kinds(page) == {"text"}


def test_a_photograph_on_white_ground_is_not_text():
    for grey in GREYS.values():
        cut_out = np.full((600, 600), 255, np.uint8)
        cut_out[200:400, 200:400] = cv2.resize(grey, (200, 200), interpolation=cv2.INTER_AREA)
        assert kinds(cut_out) == {"grey"}


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (40, 60), (3000, 5)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_constant_and_tiny_pictures_are_grey(shape, level):
    assert kinds(np.full(shape, level, np.uint8)) == {"grey"}
    assert kinds(np.full((*shape, 3), level, np.uint8)) == {"grey"}


def test_of_a_large_scan_few_pixels_are_looked_at(monkeypatch):
    """``benchmarks.triage`` prints how long that takes."""
    large = np.repeat(np.repeat(PHOTOGRAPHS["coffee"].astype(np.uint16) * 257, 10, axis=0), 10, axis=1)
    read, resize = [], cv2.resize
    monkeypatch.setattr(cv2, "resize", lambda pixels, *rest, **how: read.append(pixels) or resize(pixels, *rest, **how))
    assert triage.kind(Photo(large)) == "color"
    assert sum(pixels[..., 0].size for pixels in read) < large[..., 0].size / 10
    assert max(triage.reduced(large).shape) <= triage.SIDE


def test_real_scans_are_grey_or_tinted(shared):
    colour = {f"ms_old_photos__old__{letter}.png" for letter in "aceg"}  # autochromes and a faded portrait
    found = {path.name: triage.kind(photo.read(path.read_bytes())) for path in sorted((shared / "historic").iterdir())}
    assert {found[name] for name in colour} == {"color"}
    others = [kind for name, kind in found.items() if name not in colour]
    assert sum(kind in ("grey", "tinted") for kind in others) >= len(others) - 1
