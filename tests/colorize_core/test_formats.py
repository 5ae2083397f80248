import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import AvifImagePlugin, Image

from colorize_core import formats, photo
from colorize_core.formats import HEAD_BYTES, NotAnImageError, PhotoError, UnknownContentError


def raw(make: str, *, dng: bool = False, photometric: int | str = "cfa", at_end: bool = False) -> bytes:
    """A TIFF as cameras write it: a preview of 160 x 120 first, and the sensor's values in a directory below it."""
    tags = [(271, 2, 0, make, True)] + ([(50706, 1, 4, (1, 4, 0, 0), True)] if dng else [])
    pattern = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)]
    sensor = np.full((1200, 1600), 1000, np.uint16) if photometric == "cfa" else np.zeros((600, 800, 3), np.uint16)
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=">") as tiff:
        preview = np.full((120, 160, 3), 90, np.uint8)
        tiff.write(preview, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
        tiff.write(sensor, photometric=photometric, extratags=pattern if photometric == "cfa" else [], metadata=None)
    return file.getvalue()


def ftyp(*brands: bytes) -> bytes:
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">L", 8 + len(body)) + b"ftyp" + body + bytes(5000)


@pytest.mark.parametrize(
    "content, named",
    [
        (raw("NIKON CORPORATION"), "raw camera file .Nikon NEF.: develop it to TIFF"),
        (raw("NIKON", photometric="rgb"), "raw camera file .Nikon NEF.: develop it to TIFF"),  # of a film scanner
        (raw("Leica", dng=True), "raw camera file .DNG."),
        (raw("PENTAX Corporation"), "Pentax PEF"),
        (raw("SONY"), "Sony ARW"),
        (raw("Nobody's"), "raw camera file .Nobody's."),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(5000), "Canon CR2"),
        (b"II*\0\x08\0\0\0IIIICwaR" + bytes(5000), "Phase One IIQ"),
        (ftyp(b"crx ", b"isom"), "Canon CR3"),
        (b"IIRO\x08\0\0\0" + bytes(5000), "Olympus ORF"),
        (b"IIU\0\x18\0\0\0" + bytes(5000), "Panasonic RW2"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(5000), "Fujifilm RAF"),
        (ftyp(b"heic", b"mif1", b"heic"), "HEIF, HEIC.: convert it to TIFF or PNG"),
        (ftyp(b"mif1", b"heic"), "HEIF"),
        (b"\xff\x0a\xfa\x1f" + bytes(500), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(500), "JPEG XL"),
        (b"II\xbc\x01" + bytes(500), "JPEG XR"),
        (b"8BPS\0\2" + bytes(500), "PSB"),
        (bytes(128) + b"DICM" + bytes(500), "DICOM"),
    ],
)
def test_a_photograph_in_a_format_that_is_not_read_is_an_error_that_names_it(content, named):
    for step in (
        lambda: photo.read(content),
        lambda: photo.measure(content),
        lambda: photo.sniff(content[:HEAD_BYTES]),
    ):
        with pytest.raises(PhotoError, match=named) as caught:
            step()
        assert not isinstance(caught.value, NotAnImageError | UnknownContentError)
        assert not formats.is_stray(caught.value, "box/notes.txt"), "whatever it is called"


@pytest.mark.parametrize(
    "content, named",
    [
        (b"%PDF-1.7\n" + bytes(2000), "PDF document.*as TIFF"),
        (b"\n\n%PDF-1.4\n" + bytes(2000), "PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF\n", "EPS"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4000), "AppleDouble"),
        (b"\0\0\0\1Bud1" + bytes(4000), ".DS_Store"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4000), "Thumbs.db"),
        (b"PK\3\4\x14\0" + bytes(400), "ZIP"),
        (ftyp(b"isom", b"mp41"), "film"),
        (ftyp(b"qt  "), "film"),
        (b"\x1aE\xdf\xa3" + bytes(400), "film"),
        (b"RIFF\0\0\0\0AVI " + bytes(400), "film"),
        (bytes(257) + b"ustar\x0000" + bytes(300), "tar archive"),
        (b"SQLite format 3\0" + bytes(400), "SQLite"),
    ],
)
def test_what_is_no_photograph_is_stray_whatever_it_is_called(content, named):
    for step in (photo.read, photo.measure, photo.sniff):
        with pytest.raises(NotAnImageError, match=named) as caught:
            step(content)
        assert formats.is_stray(caught.value, "box/._a.jpg")


@pytest.mark.parametrize(
    "content", [b"", b"Dear diary", b"<!DOCTYPE html><title>404", bytes(4096), b"BMW, 1936\n", b"ab\n"]
)
def test_where_content_says_nothing_the_name_decides(content):
    for step in (photo.read, photo.measure):
        with pytest.raises(PhotoError) as caught:
            step(content)
        for name in ("a.jpg", "a.TIF", "a.nef", "a.heic", "a.jxl"):
            assert not formats.is_stray(caught.value, name), f"a photograph called {name} is lost"
        for name in ("notes.txt", "Makefile", "a.pdf", ".gitkeep", "a.jpg.md5", "a.mpg"):
            assert formats.is_stray(caught.value, name)


def test_a_photograph_damaged_after_its_first_bytes_is_an_error_whatever_it_is_called():
    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "PNG")
    for content, name in (
        (b"\xff\xd8\xff\xe0" + bytes(50), "JPEG"),
        (file.getvalue()[:20] + bytes(50), "PNG"),
        (b"II*\0\xff\xff\xff\0" + bytes(50), "damaged"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(50), "damaged"),
    ):
        with pytest.raises(PhotoError, match=name) as caught:
            photo.read(content)
        assert not formats.is_stray(caught.value, "notes.txt")


def test_the_first_kilobytes_of_every_photograph_are_let_through(shared):
    """Else a job, which reads no more of what is not an image, would lose it."""
    for path in sorted((shared / "odd").rglob("*.*")):
        content = path.read_bytes()
        try:
            photo.measure(content)
        except PhotoError:
            continue
        for size in (HEAD_BYTES, 4096):
            photo.sniff(content[:size])


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}])
def test_a_tiff_whose_directories_lie_behind_its_pixels_is_let_through(options):
    pages = np.random.default_rng(0).integers(0, 65536, (3, 300, 400), dtype=np.uint16)
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as tiff:
        for page in pages:
            tiff.write(page)
    photo.sniff(file.getvalue()[:HEAD_BYTES])
    late = b"II*\0" + struct.pack("<L", 10_000_000) + bytes(HEAD_BYTES)
    photo.sniff(late[:HEAD_BYTES])


def test_pyramids_and_thumbnails_are_not_taken_for_raw_files():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(np.full((64, 64, 3), 9, np.uint8), photometric="rgb", subifds=1, metadata=None)
        tiff.write(np.full((32, 32, 3), 9, np.uint8), photometric="rgb", subfiletype=1, metadata=None)
    assert photo.read(file.getvalue()).pixels.shape == (64, 64, 3)
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((8, 8), np.uint8), subfiletype=1, extratags=[(271, 2, 0, "NIKON", True)])
    assert photo.read(file.getvalue()).pixels.shape == (8, 8), "a wrong flag alone does not cost a photograph"


def test_avif_without_a_decoder_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    with pytest.raises(PhotoError, match="AVIF"):
        photo.sniff(ftyp(b"avif", b"mif1", b"miaf"))


def test_offsets_beyond_all_bounds_are_damage():
    big = b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(HEAD_BYTES)
    pointing = b"II+\0\x08\0\0\0" + struct.pack("<QQHHQQ", 16, 1, 34665, 16, 1, 2**64 - 1) + bytes(HEAD_BYTES)
    for content in big, pointing:
        photo.sniff(content)
        for step in (photo.measure, photo.read):
            with pytest.raises(PhotoError):
                step(content)
