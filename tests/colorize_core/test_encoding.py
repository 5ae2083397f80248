import io
import struct
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms
from skimage import data

from colorize_core import encoding, exif, photo, xmp
from colorize_core.photo import Photo
from tests import metadata


@pytest.fixture(params=[np.uint8, np.uint16], ids=["8", "16"])
def coloured(request, rng) -> Photo:
    """Noise in every channel, of a size that is no multiple of anything."""
    top = np.iinfo(request.param).max + 1
    return Photo(rng.integers(0, top, (301, 203, 3), dtype=request.param), dpi=(300.0, 299.5))


@pytest.fixture
def see_through(coloured, rng) -> Photo:
    return replace(coloured, alpha=rng.integers(0, 256, (301, 203)).astype(coloured.pixels.dtype))


def test_png_is_what_independent_readers_read(coloured, see_through, monkeypatch):
    monkeypatch.setattr(encoding, "_STRIP_BYTES", 20_000)  # several strips
    assert np.array_equal(imagecodecs.png_decode(encoding.encode(coloured.pixels, "png")), coloured.pixels)
    got = imagecodecs.png_decode(encoding.encode(coloured.pixels, "png", see_through.alpha))
    assert np.array_equal(got, np.dstack([coloured.pixels, see_through.alpha]))
    image = Image.open(io.BytesIO(encoding.encode(coloured.pixels, "png", dpi=(300, 300))))
    image.load()
    assert round(image.info["dpi"][0]) == 300 and image.info["srgb"] == 0


def test_tiff_is_what_independent_readers_read(coloured, see_through, monkeypatch):
    monkeypatch.setattr(encoding, "_STRIP_BYTES", 20_000)
    content = encoding.encode(coloured.pixels, "tiff", see_through.alpha, dpi=coloured.dpi)
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        (page,) = tiff.pages
        assert np.array_equal(page.asarray(), np.dstack([coloured.pixels, see_through.alpha]))
        assert page.extrasamples == (2,) and len(page.dataoffsets) > 1 and not tiff.is_bigtiff
        assert page.get_resolution("inch") == coloured.dpi
    image = Image.open(io.BytesIO(encoding.encode(coloured.pixels, "tiff")))
    shown = coloured.pixels if coloured.bits == 8 else coloured.pixels >> 8
    assert np.array_equal(np.asarray(image), shown)
    assert "dpi" not in image.info


def test_tiff_pages_come_one_by_one(coloured, see_through):
    alive = []

    def pages():
        for page in (coloured, replace(see_through, pixels=see_through.pixels[:50], alpha=see_through.alpha[:50])):
            alive.append(page)
            yield page

    content = encoding.encode_tiff(replace(page, xmp=metadata.LABEL) for page in pages())
    for i, (page, got) in enumerate(zip(alive, photo.pages(content), strict=True)):
        assert np.array_equal(got.pixels, page.pixels) and np.array_equal(got.alpha, page.alpha)
        image = Image.open(io.BytesIO(content))
        image.seek(i)
        assert image.size == page.pixels.shape[1::-1] and "DigitalSourceType" in str(image.getxmp())


def test_beyond_32_bit_offsets_a_tiff_is_a_bigtiff(coloured, monkeypatch):
    monkeypatch.setattr(encoding, "_CLASSIC_TIFF_BYTES", 100_000)
    block = photo.read(metadata.scan("JPEG")).exif
    content = encoding.encode_tiff([replace(coloured, exif=block, xmp=metadata.LABEL)] * 2)
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        assert tiff.is_bigtiff and len(tiff.pages) == 2
        assert np.array_equal(tiff.pages[1].asarray(), coloured.pixels)
        assert tiff.pages[1].tags["ExifTag"].value["DateTimeOriginal"] == "1936:03:09 11:58:00"
    assert [exif.parse(page.exif).sub for page in photo.pages(content)] == [exif.parse(block).sub] * 2


def test_jpeg_is_close_and_holds_8_bits_alone(rng):
    rgb = data.astronaut()
    content = encoding.encode(rgb, "jpeg", dpi=(600, 300))
    image = Image.open(io.BytesIO(content))
    assert image.info["dpi"] == (600, 300) and "sRGB" in ImageCms.getProfileDescription(
        ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    )
    assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]
    assert np.abs(np.asarray(image).astype(int) - rgb).mean() < 2.5
    for refused in (
        {"rgb": rgb.astype(np.uint16)},
        {"rgb": rgb, "alpha": rgb[..., 0]},
        {"rgb": np.zeros((1, 65501, 3), np.uint8)},
    ):
        with pytest.raises(ValueError, match="write PNG or TIFF"):
            encoding.encode(format="jpeg", **refused)


def test_holds_says_where_nothing_is_lost(coloured, see_through):
    eight = coloured.bits == 8
    answers = {"png": (True, True, False), "jpeg": (eight, False, False), "tiff": (True, True, True)}
    for format, (plain, alpha, pages) in answers.items():
        assert encoding.holds(format, coloured) == plain
        assert encoding.holds(format, see_through) == alpha
        assert encoding.holds(format, coloured, pages=2) == pages


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
def test_the_same_photograph_gives_the_same_bytes(format):
    encoded = []
    for _ in range(2):
        encoding.srgb_profile.cache_clear()
        encoded.append(encoding.encode(data.astronaut(), format))
    assert encoded[0] == encoded[1]


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("kind", metadata.SCANS)
def test_all_that_a_format_holds_arrives(kind, format):
    cannot = {"jpeg": {"16 bits", "alpha", "pages"}, "png": {"pages"}, "tiff": set()}[format]
    arrived = metadata.arrived(kind, metadata.written(metadata.scan(kind), format))
    assert {name for name, there in arrived.items() if there is False} <= cannot
    assert sum(there is True for there in arrived.values()) >= 8


def test_exif_too_large_for_jpeg_loses_its_largest_values():
    maker_note = exif.Field(exif.UNDEFINED, bytes(70_000))
    fields = {36867: exif.Field(2, b"1936:03:09 11:58:00\0"), 37500: maker_note}
    block = exif.block_of(exif.Directories({271: exif.Field(2, b"Graflex\0")}, {34665: fields}))
    rgb = np.zeros((8, 8, 3), np.uint8)
    tags = Image.open(io.BytesIO(encoding.encode(rgb, "jpeg", exif=block))).getexif()
    assert tags[271] == "Graflex" and dict(tags.get_ifd(ExifTags.IFD.Exif)) == {36867: "1936:03:09 11:58:00"}
    for format in ("png", "tiff"):
        got = exif.parse(photo.read(encoding.encode(rgb, format, exif=block)).exif)
        assert got.sub[34665][37500] == maker_note


def test_a_block_written_elsewhere_is_carried_by_tiff():
    exif_block = metadata.tags().tobytes().removeprefix(b"Exif\0\0")
    assert exif_block[:2] == b"MM"
    content = encoding.encode(np.zeros((8, 8, 3), np.uint8), "tiff", exif=exif_block)
    assert struct.unpack_from("<2sH", content) == (b"II", 42)
    assert photo.read(content).exif is not None


def test_provenance_can_be_read_back():
    packet = xmp.provenance(xmp.Provenance("colorize", "1.0 <&> model", "ab" * 32))
    for format in ("png", "jpeg", "tiff"):
        image = Image.open(io.BytesIO(encoding.encode(np.zeros((4, 4, 3), np.uint8), format, xmp=packet)))
        description = image.getxmp()["xmpmeta"]["RDF"]["Description"]
        assert description["DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
        assert description["AISystemVersionUsed"] == "1.0 <&> model"
        assert description["source"] == "sha256:" + "ab" * 32
