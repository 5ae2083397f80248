"""Luma is carried over as it is stored, judged by Pillow's libjpeg, which decodes both files as grey."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from skimage import data

from colorize_core import jpeg

SIDES = [(1, 1), (1, 33), (7, 9), (8, 8), (9, 16), (15, 17), (16, 1), (17, 31), (33, 2), (33, 17), (64, 96)]
OPTIONS = [
    {}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1},
    {"progressive": True, "restart_marker_rows": 1}, {"quality": 5}, {"quality": 100},
]  # fmt: skip


def encoded(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", **options)
    return file.getvalue()


def grey(content: bytes) -> np.ndarray:
    """What libjpeg makes of its luma alone."""
    image = Image.open(io.BytesIO(content))
    image.draft("L", image.size)
    assert image.mode == "L"
    return np.asarray(image)


def coloured(scan: jpeg.Jpeg, rng) -> bytes:
    halves = (-(-scan.height // 2), -(-scan.width // 2))
    chroma = rng.integers(90, 170, (2, *halves), dtype=np.uint8)
    return jpeg.write(scan.luma, chroma, (scan.height, scan.width))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decoded_as_grey_the_output_is_the_scan(options, rng):
    for (height, width), subsampling in itertools.product(SIDES, (None, 0, 1, 2)):
        pixels = data.camera() if subsampling is None else data.astronaut()
        how = options if subsampling is None else options | {"subsampling": subsampling}
        content = encoded(pixels[100 : 100 + height, 200 : 200 + width], **how)
        scan = jpeg.read(content)
        output = coloured(scan, rng)
        assert np.array_equal(grey(output), grey(content))
        again = jpeg.read(output)
        assert np.array_equal(again.luma.coefficients, scan.luma.coefficients)
        assert again.sampling == ((2, 2), (1, 1), (1, 1)) and Image.open(io.BytesIO(output)).convert("RGB")


def test_chroma_is_where_it_was_put():
    scan = jpeg.read(encoded(np.full((40, 60), 128, np.uint8)))
    blue, red = np.full((2, 20, 30), 128, np.uint8)
    blue[:, 15:], red[10:] = 160, 90
    output = np.asarray(Image.open(io.BytesIO(jpeg.write(scan.luma, (blue, red), (40, 60)))).convert("YCbCr"))
    assert abs(output[:, :20, 1].astype(int) - 128).max() <= 3 and abs(output[:, 40:, 1].astype(int) - 160).max() <= 3
    assert abs(output[:10, :, 2].astype(int) - 128).max() <= 3 and abs(output[30:, :, 2].astype(int) - 90).max() <= 3


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_reduced_pictures_are_what_libjpeg_makes(n, subsampling):
    content = encoded(data.astronaut()[:257, :403], subsampling=subsampling, quality=90)
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (403 * n // 8, 257 * n // 8))
    picture = jpeg.read(content).picture(n, chroma=True)
    assert picture.shape[1::-1] == image.size
    assert np.abs(picture.astype(int) - np.asarray(image)).mean() < 3
    assert np.abs(jpeg.read(content).picture(n).astype(int) - np.asarray(image.convert("L"))).mean() < 3


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_cut_short_or_damaged_is_found_or_read_without_harm(options, rng):
    content = encoded(data.camera()[:64, :96], **options)
    for end in range(2, len(content), 7):
        with pytest.raises(jpeg.Unsuitable):
            jpeg.read(content[:end])
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(2, len(content), 3):
            damaged[place] = rng.integers(256)
        try:
            scan = jpeg.read(bytes(damaged))
            coloured(scan, rng)
        except jpeg.Unsuitable:
            continue


def test_other_kinds_are_told_apart():
    for content in (
        b"", b"\xff\xd8", encoded(data.astronaut()[:16, :16], keep_rgb=True),
        encoded(np.zeros((8, 8, 4), np.uint8)[..., :3])[:-2],
    ):  # fmt: skip
        with pytest.raises(jpeg.Unsuitable):
            jpeg.read(content)


def test_tables_that_libjpeg_refuses_are_refused():
    """A size of DC beyond 15, though no block has it."""
    content = bytearray(encoded(data.camera()[:64, :96]))
    at = content.index(b"\xff\xc4") + 5 + 16 + 11
    assert content[at] == 11
    content[at] = 200
    with pytest.raises(OSError):
        grey(bytes(content))
    with pytest.raises(jpeg.Unsuitable):
        jpeg.read(bytes(content))


def test_coefficients_for_which_baseline_has_no_codes_are_not_read():
    """DC beyond 8 bits, as damage leaves it: each difference is written as the largest that there is."""
    content = encoded(np.full((8, 64), 200, np.uint8))
    scan = jpeg.read(content)
    scan.luma.coefficients[0, :, 0] = 2000 * (np.arange(8) % 2)
    with pytest.raises(jpeg.Unsuitable):
        jpeg.read(jpeg.write(scan.luma, (), (8, 64)))


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_are_read_at_the_best_quality(level):
    content = encoded(np.full((16, 16), level, np.uint8), quality=100)
    assert (jpeg.read(content).picture(8) == level).all()


def test_a_scan_without_an_end_of_block_gets_one_where_units_are_padded(rng):
    """Its own table has no code for that."""
    content = encoded(rng.integers(0, 256, (8, 24), dtype=np.uint8), quality=100, optimize=True)
    scan = jpeg.read(content)
    assert 0 not in scan.luma.ac.symbols
    assert np.array_equal(grey(coloured(scan, rng)), grey(content))


def test_ac_of_a_baseline_scan_is_carried_over_bit_by_bit(rng):
    content = encoded(data.astronaut()[:80, :112], quality=80)
    luma, again = (jpeg.read(file).luma.ac for file in (content, coloured(jpeg.read(content), rng)))
    assert (luma.counts, luma.symbols) == (again.counts, again.symbols)
    for one, other in zip(luma.places, again.places, strict=True):
        bits = [np.unpackbits(ac.bits)[begin:end] for ac, (begin, end) in ((luma, one), (again, other))]
        assert np.array_equal(*bits)
