"""Scans come back from their colour photographs: as their own files, or as grey ones with their luma."""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image
from skimage import data

from colorize_core import jpeg, recipe
from tests import jpegs


def coloured(scan: bytes, segments: Sequence[bytes] = ()) -> bytes:
    """A colour photograph beside a scan's luma, without its recipe."""
    stored = jpeg.read(scan)
    halves = (-(-stored.height // 2), -(-stored.width // 2))
    chroma = [np.full(halves, level, np.uint8) for level in (100, 150)]
    return jpeg.write(stored.luma, chroma, (stored.height, stored.width), segments)


def attached(scan: bytes) -> bytes:
    return coloured(scan, recipe.of(scan, jpeg.read(scan)))


def encoded(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def scan() -> bytes:
    return encoded(data.camera()[:150, :201], quality=85)


@pytest.mark.parametrize("encoder", ["Pillow", "OpenCV", "imagecodecs", "ImageMagick"])
def test_scans_of_many_makings_come_back_byte_for_byte(encoder):
    scans = [made for made in jpegs.made() if made.encoder == encoder]
    if not scans:
        pytest.skip(f"for want of {encoder}")
    for made in scans:
        photograph = attached(made.data)
        assert np.array_equal(jpegs.grey(photograph), jpegs.grey(made.data)), made.name
        restored, is_file = recipe.restore(photograph)
        if is_file or made.kind != "colour":  # whose chroma may be too much
            assert restored == made.data, made.name
        else:
            assert np.array_equal(jpegs.grey(restored), jpegs.grey(made.data)), made.name


def test_historic_scans_come_back_byte_for_byte(shared):
    scans = [file.read_bytes() for file in sorted((shared / "historic").iterdir()) if file.suffix in (".jpg", ".jpeg")]
    assert scans
    for scan in scans:
        assert recipe.restore(attached(scan)) == (scan, True)


def test_what_else_is_in_the_file_comes_back_too(scan):
    image = Image.open(io.BytesIO(scan))
    image.getexif()[270] = "a caption"
    file = io.BytesIO()
    profile = bytes(100_000)  # more than one segment
    image.save(file, "JPEG", exif=image.getexif(), icc_profile=profile, comment="a comment", quality="keep")
    for content in (file.getvalue(), file.getvalue() + b"what a camera leaves behind the picture" * 100):
        assert recipe.restore(attached(content)) == (content, True)


def test_a_recipe_of_many_segments(rng):
    scan = encoded(rng.integers(0, 255, (900, 900), np.uint8), quality=90) + rng.bytes(150_000)
    photograph = attached(scan)
    assert photograph.count(b"\xff\xeb") >= 3
    assert recipe.restore(photograph) == (scan, True)
    assert np.array_equal(jpegs.grey(photograph), jpegs.grey(scan))


def test_a_recipe_is_small_and_left_out_where_it_would_not_be(scan):
    assert len(attached(scan)) - len(coloured(scan)) < 600
    large = scan + np.random.default_rng(0).bytes(len(scan))
    assert len(attached(large)) - len(coloured(large)) < 200
    grey, is_file = recipe.restore(attached(large))
    assert not is_file
    assert np.array_equal(jpeg.read(grey).luma.coefficients, jpeg.read(scan).luma.coefficients)
    assert np.array_equal(jpegs.grey(grey), jpegs.grey(scan)) and Image.open(io.BytesIO(grey)).mode == "L"


def test_chroma_of_a_scan_in_colour_comes_back_where_it_is_small():
    scan = encoded(data.astronaut(), quality=90, subsampling=2)
    photograph = attached(scan)
    assert len(photograph) - len(coloured(scan)) < recipe.SHARE * len(scan)
    assert recipe.restore(photograph) == (scan, True)


@pytest.mark.parametrize("ending", ["zeros", "run"])
def test_a_scan_of_an_unusual_encoder_comes_back_as_luma_alone(ending):
    """Bits that fill a byte with zeros, or a run of zeros before the end of a block: allowed, and done by nobody."""
    scan = encoded(np.full((8, 8), 190, np.uint8))
    stored = jpeg.read(scan)
    start, end = stored.scans[0].start, stored.scans[0].end
    codes = stored.scans[0].settings.codes
    bits = "".join(f"{byte:08b}" for byte in scan[start:end])
    end_of_block = f"{codes[4, 0] >> 5:0{codes[4, 0] & 31}b}"
    whole = bits.rindex(end_of_block) + len(end_of_block)
    if ending == "zeros":
        other = bits[:whole] + "0" * (-whole % 8)
    else:
        run = f"{codes[4, 0xF0] >> 5:0{codes[4, 0xF0] & 31}b}"
        other = bits[: whole - len(end_of_block)] + run + end_of_block
        other += "1" * (-len(other) % 8)
    unusual = bytes(int(other[i : i + 8], 2) for i in range(0, len(other), 8)).replace(b"\xff", b"\xff\0")
    odd = scan[:start] + unusual + scan[end:]
    assert odd != scan and np.array_equal(jpegs.grey(odd), jpegs.grey(scan))
    grey, is_file = recipe.restore(attached(odd))
    assert not is_file and np.array_equal(jpegs.grey(grey), jpegs.grey(scan))


def test_the_digest_is_the_scan_s(scan):
    photograph = attached(scan)
    assert hashlib.sha256(scan).digest() in photograph


def test_a_photograph_that_was_edited_without_loss_still_has_its_scan(scan):
    """Other metadata, other chroma, other tables: luma's coefficients are what counts."""
    stored = jpeg.read(scan)
    ours = recipe.of(scan, stored)
    caption = jpeg.segment(0xFE, b"a caption")
    chroma = [np.full((75, 101), level, np.uint8) for level in (90, 90)]
    edited = jpeg.write(stored.luma, chroma, (150, 201), [caption, *ours])
    assert recipe.restore(edited) == (scan, True)


def test_a_photograph_that_was_encoded_anew_has_not(scan):
    photograph = attached(scan)
    again = encoded(np.asarray(Image.open(io.BytesIO(photograph))), quality=80)
    with pytest.raises(recipe.NotRestorable, match="no longer that of its scan"):
        recipe.restore(b"".join([again[:2], *recipe.of(scan, jpeg.read(scan)), again[2:]]))


def test_what_was_not_made_beside_a_scan_says_so(scan):
    for other in (coloured(scan), scan):
        with pytest.raises(recipe.NoLuma):
            recipe.restore(other)
    for damaged in (b"", b"\xff\xd8", scan[:50], b"no JPEG"):
        with pytest.raises(recipe.NotRestorable):
            recipe.restore(damaged)


def test_a_damaged_photograph_gives_its_scan_or_says_why_not(scan, rng):
    photograph = attached(scan)
    for _ in range(300):
        damaged = bytearray(photograph)
        for place in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        if rng.random() < 0.2:
            del damaged[rng.integers(len(damaged)) :]
        try:
            restored, is_file = recipe.restore(bytes(damaged))
        except recipe.NotRestorable as error:
            assert str(error)
            continue
        assert restored == scan and is_file
