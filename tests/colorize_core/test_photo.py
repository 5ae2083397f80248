import dataclasses
import gc
import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile
from skimage import data

from colorize_core import color, exif, photo


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((96, 64))


@pytest.mark.parametrize(
    "mode, kinds",
    [
        ("L", ["PNG", "TIFF"]),
        ("LA", ["PNG", "TIFF"]),
        ("RGB", ["PNG", "TIFF", "BMP"]),
        ("RGBA", ["PNG", "TIFF"]),
        ("P", ["PNG", "GIF"]),
        ("1", ["PNG", "TIFF"]),
        ("CMYK", ["TIFF"]),
    ],
)
def test_read_gives_the_pixels_that_were_stored(picture, mode, kinds):
    image = picture.convert(mode)
    for kind in kinds:
        got = photo.read(encoded(image, kind))
        assert np.array_equal(got.rgb, np.asarray(image.convert("RGB")))
        assert (got.alpha is not None) == mode.endswith("A")
        assert got.bits == 8


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_read_lossy_formats(picture, kind):
    got = photo.read(encoded(picture, kind, quality=95)).rgb.astype(float)
    assert np.abs(got - np.asarray(picture)).mean() < 6
    grey = photo.read(encoded(picture.convert("L"), "JPEG", quality=95))
    assert grey.pixels.ndim == 2 and grey.grey is grey.pixels


def test_alpha_is_kept_and_unassociated():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 100
    got = photo.read(encoded(Image.fromarray(rgba), "PNG"))
    assert (got.alpha == 100).all() and (got.pixels[..., 0] == 200).all()
    deep = np.full((4, 4, 4), 10_000, np.uint16)
    deep[..., 3] = 20_000
    for extra, level in (("unassalpha", 10_000), ("assocalpha", 32_767)):
        file = io.BytesIO()
        tifffile.imwrite(file, deep, photometric="rgb", extrasamples=[extra])
        got = photo.read(file.getvalue())
        assert (abs(got.pixels.astype(int) - level) <= 1).all() and (got.alpha == 20_000).all()


@pytest.mark.parametrize("options", [{}, {"planarconfig": "separate"}, {"byteorder": ">"}, {"compression": "zlib"}])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_stay_16_bits_in_tiff(options, channels, rng):
    pixels = rng.integers(0, 65536, (40, 30, channels), dtype=np.uint16)
    stored = np.moveaxis(pixels, -1, 0) if options.get("planarconfig") else pixels
    file = io.BytesIO()
    kind = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(file, stored.squeeze(), photometric=kind, **(options if channels == 3 else {}))
    got = photo.read(file.getvalue())
    assert got.bits == 16
    assert np.array_equal(got.pixels, pixels.squeeze())


def test_16_bit_white_is_zero_is_not_a_negative():
    file = io.BytesIO()
    tifffile.imwrite(file, np.full((4, 4), 1000, np.uint16), photometric="miniswhite")
    assert (photo.read(file.getvalue()).pixels == 64535).all()


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 2), (20, 30, 3), (20, 30, 4)])
def test_16_bits_stay_16_bits_in_png(shape, rng):
    pixels = rng.integers(0, 65536, shape, dtype=np.uint16)
    got = photo.read(imagecodecs.png_encode(pixels))
    colours = 3 if len(shape) == 3 and shape[2] > 2 else 1
    assert np.array_equal(np.atleast_3d(got.pixels), np.atleast_3d(pixels)[..., :colours])
    if len(shape) == 3 and shape[2] in (2, 4):
        assert np.array_equal(got.alpha, pixels[..., -1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation, rng):
    pixels = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for kind in ("PNG", "TIFF"):
        stored = encoded(Image.fromarray(pixels), kind, exif=exif)
        upright = np.asarray(
            ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(Image.fromarray(pixels), "PNG", exif=exif))))
        )
        got = photo.read(stored)
        assert np.array_equal(got.pixels, upright)
        assert got.exif is None, "the only tag was the orientation"
    deep = rng.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, deep, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    shown = np.asarray(
        ImageOps.exif_transpose(
            Image.open(io.BytesIO(encoded(Image.fromarray((deep >> 8).astype(np.uint8)), "PNG", exif=exif)))
        )
    )
    assert np.array_equal((photo.read(file.getvalue()).pixels >> 8).astype(np.uint8), shown)


def exif_of(photograph: photo.Photo) -> Image.Exif:
    exif = Image.Exif()
    exif.load(photograph.exif)
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_is_kept_but_for_what_describes_the_stored_pixels(picture, kind):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Dorothea Lange"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif).update({36867: "1936:03:09 12:00:00", 40961: 65535, 40962: 96, 40965: 8})
    got = photo.read(encoded(picture, kind, exif=exif.tobytes(), dpi=(600, 600)))
    assert dict(exif_of(got)).keys() - {282, 283, 296} == {ExifTags.Base.Artist, ExifTags.IFD.Exif}
    assert exif_of(got)[ExifTags.Base.Artist] == "Dorothea Lange"
    assert exif_of(got).get_ifd(ExifTags.IFD.Exif) == {36867: "1936:03:09 12:00:00", 40961: 1}, "1: sRGB"
    assert got.dpi is None if kind == "WEBP" else round(got.dpi[0]) == 600


def test_exif_values_stay_what_they_are(picture):
    """Zero denominators, encodings and big-endian UTF-16, of which Pillow's own writing keeps none."""
    comment = b"UNICODE\0" + "Åsgård".encode("utf-16-be")
    values = struct.pack(">2L", 0, 0) + comment
    fields = [(33434, 5, 1, 68), (37510, 7, len(comment), 76)]
    sub = struct.pack(">H", 2) + b"".join(struct.pack(">HHLL", *field) for field in fields) + bytes(4)
    artist = "Åse".encode()
    main = struct.pack(">HHHL4s", 2, 315, 2, 4, artist) + struct.pack(">HHLL", 34665, 4, 1, 38) + bytes(4)
    block = b"MM\0*\0\0\0\x08" + main + sub + values
    got = exif.parse(photo.read(encoded(picture, "JPEG", exif=b"Exif\0\0" + block)).exif)
    assert got.main == {315: (2, artist)}
    assert got.sub[34665][33434].data == bytes(8)
    assert got.sub[34665][37510].data == b"UNICODE\0" + "Åsgård".encode("utf-16-le")


def test_damaged_exif_does_not_cost_the_photograph(picture):
    whole = Image.Exif()
    whole[ExifTags.Base.Artist] = "Dorothea Lange"
    block = whole.tobytes()
    for damaged in (b"Exif\0\0", b"Exif\0\0nonsense", block[:12], block[:-8], block[:14] + b"\xff\xff" + block[16:]):
        assert photo.read(encoded(picture, "JPEG", exif=damaged)).pixels.shape == (64, 96, 3)


def test_resolution_is_none_where_a_tiff_has_none(picture):
    assert photo.read(encoded(picture, "TIFF")).dpi is None


def test_a_profile_is_converted_to_srgb(rng):
    adobe = imagecodecs.cms_profile("adobergb")
    pixels = rng.integers(30, 220, (16, 16, 3), dtype=np.uint8)
    got = photo.read(encoded(Image.fromarray(pixels), "PNG", icc_profile=adobe)).pixels.astype(int)
    want = np.asarray(
        ImageCms.profileToProfile(
            Image.fromarray(pixels), ImageCms.ImageCmsProfile(io.BytesIO(adobe)), ImageCms.createProfile("sRGB")
        )
    )
    assert np.abs(got - want).max() <= 2
    assert np.abs(got - pixels.astype(int)).max() > 10
    file = io.BytesIO()
    tifffile.imwrite(file, pixels.astype(np.uint16) * 257, photometric="rgb", iccprofile=adobe)
    assert np.abs(photo.read(file.getvalue()).pixels / 257 - want).max() <= 2


def test_an_srgb_or_broken_profile_changes_nothing(picture):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    got = photo.read(encoded(picture, "PNG", icc_profile=srgb)).pixels.astype(int)
    assert np.abs(got - np.asarray(picture)).max() <= 1
    got = photo.read(encoded(picture, "PNG", icc_profile=srgb[:100] + bytes(500)))
    assert np.array_equal(got.pixels, np.asarray(picture))


def bomb(width: int, height: int) -> bytes:
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_errors_are_sentences(picture):
    whole = encoded(picture, "JPEG")
    for content, said in [
        (b"", "empty"),
        (b"Dear diary", "not an image"),
        (whole[: len(whole) // 2], "cut short"),
        (bomb(100_000, 100_000), "100000 x 100000"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n", "EPS"),
    ]:
        with pytest.raises(photo.PhotoError, match=said):
            photo.read(content)


def declared(width: int, height: int) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4), np.uint8), photometric="minisblack", metadata=None)
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+") as tiff:
        tiff.pages[0].tags[256].overwrite(width)
        tiff.pages[0].tags[257].overwrite(height)
    return file.getvalue()


@pytest.mark.parametrize("make", [bomb, declared])
def test_what_declares_too_much_fails_before_it_is_decoded(make, monkeypatch):
    def decoded(*arguments, **options):
        pytest.fail("pixels were decoded")

    for module, name in ((ImageFile.ImageFile, "load"), (TiffImageFile, "load"), (imagecodecs, "png_decode")):
        monkeypatch.setattr(module, name, decoded)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", decoded)
    for step in (photo.measure, photo.read):
        with pytest.raises(photo.PhotoError, match="100000 x 100000 pixels, above the limit of 400 megapixels"):
            step(make(100_000, 100_000))


def test_measure_fails_as_read_does():
    for content, said in [(b"", "empty"), (b"Dear diary", "not an image")]:
        with pytest.raises(photo.PhotoError, match=said):
            photo.measure(content)


def test_pages_have_sizes_depths_and_profiles_of_their_own(rng):
    grey = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    rgb = rng.integers(0, 256, (40, 10, 3), dtype=np.uint8)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        srgb = imagecodecs.cms_profile("srgb")
        tiff.write(rgb[:8, :8], photometric="rgb", subfiletype=1)  # a reduced copy: no page
        tiff.write(rgb, photometric="rgb", resolution=(300, 300), resolutionunit=2, iccprofile=srgb, subifds=1)
        tiff.write(rgb[::2, ::2], photometric="rgb", subfiletype=1)  # the pyramid below it
        tiff.write(grey, photometric="minisblack")
        tiff.write(np.zeros((20, 30), bool), photometric="minisblack", subfiletype=4)  # a mask
        tiff.write(255 - rgb, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    content = file.getvalue()
    assert photo.measure(content) == [(10, 40, 8), (30, 20, 16), (40, 10, 8)]
    first, second, third = photo.pages(content)
    assert np.abs(first.pixels.astype(int) - rgb).max() <= 1 and first.dpi == (300, 300)
    assert np.array_equal(second.pixels, grey) and second.dpi is None
    assert np.array_equal(third.pixels, np.rot90(255 - rgb, -1)), "the profile is the first page's"
    assert np.array_equal(photo.read(content).pixels, first.pixels)


def test_an_animation_is_one_page(picture):
    frames = [picture.rotate(angle).quantize() for angle in (90, 180)]
    for kind in ("GIF", "WEBP", "PNG"):
        content = encoded(picture, kind, save_all=True, append_images=frames)
        assert photo.measure(content) == [(96, 64, 8)]
        assert photo.read(content).rgb.shape == (64, 96, 3)


def test_measure_says_what_read_gives(shared):
    for path in sorted((shared / "odd").rglob("*.*")):
        content = path.read_bytes()
        try:
            got = photo.read(content)
        except photo.PhotoError:
            continue
        page = photo.measure(content)[0]
        assert got.bits == page.bits, path
        assert sorted(got.pixels.shape[:2]) == sorted((page.width, page.height)), path


def test_what_pillow_reads_is_read_and_the_rest_is_an_error(shared):
    files = sorted((shared / "odd").rglob("*.*"))
    assert len(files) == 173
    for path in files:
        content = path.read_bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Image.open(io.BytesIO(content)).load()
            readable = True
        except Exception:
            readable = path.name == "imageio-binaries__multipage_rgb.tif"  # float64 in colour, which is read here
        try:
            got = photo.read(content)
        except photo.PhotoError:
            assert not readable, path
            continue
        assert readable, path
        assert got.rgb.shape == (*got.grey.shape, 3)
        assert got.alpha is None or got.alpha.shape == got.grey.shape


def test_16_bit_files_look_as_pillow_shows_them(shared):
    compared = 0
    for path in sorted((shared / "odd/deep16").iterdir()):
        content = path.read_bytes()
        image = Image.open(io.BytesIO(content))
        if image.mode not in ("RGB", "RGBA") or path.name == "TwelveMonkeys__flower-rgb-planar-16.tif":
            continue  # Pillow 13 swaps the bytes of the flower; ours shows a flower
        got, want = photo.read(content), np.asarray(image.convert("RGBA")).astype(int)
        visible = want[..., 3] > 128
        assert np.abs((got.rgb >> 8).astype(int) - want[..., :3])[visible].max(initial=0) <= 4, (
            path
        )  # Pillow divides alpha out of 8 bits
        compared += 1
    assert compared >= 5


def test_grey_of_a_tinted_scan_is_its_luminance(picture):
    scan = photo.read(encoded(picture, "PNG"))
    assert np.array_equal(scan.grey, color.grey_of(np.asarray(picture)))


def test_a_file_is_let_go_of_once_it_is_decoded():
    """At once, not when rings of references are collected: a large scan's file is as large as its pixels."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((64, 64), np.uint16))
    content = file.getvalue()
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(content)
        photo.measure(content)
        photo.read(content)
        assert sys.getrefcount(content) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "zlib"}], ids=str)
def test_white_is_white_at_the_bits_that_a_tiff_declares(bits, channels, options, rng):
    top = 2**bits - 1
    values = rng.integers(0, top + 1, (40, 31, channels), dtype=np.uint16)
    values[0, 0], values[0, 1] = 0, top
    content = packed_tiff(values, bits, **options)
    got = photo.read(content)
    assert photo.measure(content) == [(31, 40, 16)] and got.bits == 16
    assert np.array_equal(got.pixels, np.rint(values.squeeze() * (65535 / top)).astype(np.uint16))


def packed_tiff(values: np.ndarray, bits: int, byteorder: str = "<", compression: str = "") -> bytes:
    """(H, W, 1 | 3), its samples packed without gaps; tifffile writes none of these."""
    height, width, samples = values.shape
    digits = (values.reshape(height, -1)[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)
    if bits == 16 and byteorder == "<":
        rows = rows.reshape(height, -1, 2)[..., ::-1]
    strip = zlib.compress(rows.tobytes()) if compression else rows.tobytes()
    codes = {"H": 3, "L": 4}
    entries = [(256, "L", [width]), (257, "L", [height]), (258, "H", [bits] * samples)]
    entries += [(259, "H", [8 if compression else 1]), (262, "H", [2 if samples == 3 else 1]), (273, "L", [8])]
    entries += [(277, "H", [samples]), (278, "L", [height]), (279, "L", [len(strip)])]
    at = 8 + len(strip) + len(strip) % 2
    beyond, fields = b"", b""
    for tag, code, numbers in entries:
        value = struct.pack(f"{byteorder}{len(numbers)}{code}", *numbers)
        if len(value) > 4:
            place = at + 2 + 12 * len(entries) + 4 + len(beyond)
            beyond, value = beyond + value, struct.pack(f"{byteorder}L", place)
        fields += struct.pack(f"{byteorder}HHL", tag, codes[code], len(numbers)) + value.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[byteorder] + struct.pack(f"{byteorder}L", at)
    directory = struct.pack(f"{byteorder}H", len(entries)) + fields + bytes(4) + beyond
    return head + strip + bytes(len(strip) % 2) + directory


def float_tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **({"photometric": "minisblack"} | options))
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite_do_not_darken_the_rest(dtype, odd):
    values = np.linspace(0, 1, 1200, dtype=dtype).reshape(30, 40)
    want = photo.read(float_tiff(values)).pixels.copy()
    assert want.max() == 65535
    values[3, 3], want[3, 3] = odd, 65535 if odd == np.inf else 0
    assert np.array_equal(photo.read(float_tiff(values)).pixels, want)
    wide = np.linspace(-100, 900, 1200, dtype=np.float32).reshape(30, 40)
    want = photo.read(float_tiff(wide)).pixels.copy()
    wide[3, 3], want[3, 3] = odd, 65535 if odd == np.inf else 0
    assert np.array_equal(photo.read(float_tiff(wide)).pixels, want)
    with pytest.raises(photo.PhotoError, match="no value in it is a finite number"):
        photo.read(float_tiff(np.full((8, 8), odd, dtype)))


def test_samples_of_other_kinds_are_what_they_mean(rng):
    colours = rng.random((20, 30, 3)).astype(np.float32)
    got = photo.read(float_tiff(colours, photometric="rgb"))
    assert np.array_equal(got.pixels, np.rint(colours.astype(float) * 65535))
    signed = rng.integers(-1000, 1000, (20, 30)).astype(np.int16)
    signed[0, 0], signed[0, 1] = -1000, 1000
    got = photo.read(float_tiff(signed)).pixels
    assert (got[0, 0], got[0, 1]) == (0, 65535) and np.array_equal(np.argsort(got[1]), np.argsort(signed[1]))
    one_wide = rng.integers(0, 65536, (20, 1), dtype=np.uint16)
    assert np.array_equal(photo.read(float_tiff(one_wide)).pixels, one_wide)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_book_of_pages_is_gone_through_once(dtype, monkeypatch):
    """Every page used to be looked for from the beginning: thousands of small ones took minutes."""
    read = Counter()

    def count(owner, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments, **options):
            read[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    count(TiffImagePlugin.ImageFileDirectory_v2, "load")  # each of these reads a directory
    count(exif._File, "_read")
    count(tifffile.TiffPage, "__init__")
    count(Image, "open")
    count(tifffile, "TiffFile")
    for pages in (20, 40):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as tiff:
            for i in range(pages):
                tiff.write(np.full((8, 8), i, dtype), photometric="minisblack")
        read.clear()
        assert len(photo.measure(file.getvalue())) == pages
        assert [int(page.pixels[0, 0]) for page in photo.pages(file.getvalue())] == list(range(pages))
        assert read["open"] + read["TiffFile"] == 1
        assert read["load"] + read["_read"] + read["__init__"] <= 5 * pages + 5
        if dtype == np.uint16:
            assert "load" not in read, "8-bit pages alone are Pillow's"


def test_pages_of_every_depth_alternate(rng):
    stored = [
        rng.integers(0, 256, (8, 9 + i), dtype=np.uint8).astype(np.uint8 if i % 2 else np.uint16) for i in range(5)
    ]
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for page in stored:
            tiff.write(page, photometric="minisblack")
    for got, want in zip(photo.pages(file.getvalue()), stored, strict=True):
        assert got.pixels.dtype == want.dtype and np.array_equal(got.pixels, want)


def test_the_process_keeps_its_settings(picture, monkeypatch):
    """Pillow's limit and the filters of warnings belong to whoever imports this."""
    code = "from PIL import Image; was = Image.MAX_IMAGE_PIXELS; import colorize_core.photo, colorize_core.encoding;"
    subprocess.run([sys.executable, "-c", code + "assert Image.MAX_IMAGE_PIXELS == was > 0"], check=True)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    filters = list(warnings.filters)
    content = encoded(picture, "PNG")
    assert photo.measure(content) and photo.read(content).pixels.shape == (64, 96, 3)
    with pytest.raises(photo.PhotoError):
        photo.read(content[:200])
    pages = photo.pages(encoded(picture, "TIFF", save_all=True, append_images=[picture]))
    next(pages)
    assert Image.MAX_IMAGE_PIXELS == 1000, "also while a caller works on one page"
    pages.close()

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(photo.read, [content] * 200))) == 200
    assert Image.MAX_IMAGE_PIXELS == 1000 and list(warnings.filters) == filters
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))


def test_our_own_limit_stands(picture, monkeypatch):
    monkeypatch.setattr(photo, "MAX_PIXELS", 1000)
    for kind in ("PNG", "TIFF", "JPEG"):
        for step in (photo.measure, photo.read):
            with pytest.raises(photo.PhotoError, match="96 x 64 pixels, above the limit"):
                step(encoded(picture, kind))


def test_photographs_are_compared_by_identity_and_not_changed(picture):
    one, other = (photo.read(encoded(picture, "PNG")) for _ in range(2))
    assert one == one and one != other and len({one, other}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.dpi = (1, 1)
    for pixels in (one.pixels, one.rgb):
        with pytest.raises(ValueError, match="read-only"):
            pixels[0, 0] = 0
    mine = np.zeros((4, 4), np.uint8)
    photo.Photo(mine)
    mine[0, 0] = 1


def test_a_tiff_of_more_channels_than_a_photograph_has_is_not_decoded():
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4, 3), np.uint16), photometric="rgb", metadata=None)
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+") as tiff:
        tiff.pages[0].tags[256].overwrite(20_000)
        tiff.pages[0].tags[257].overwrite(20_000)
        tiff.pages[0].tags[277].overwrite(60_000)
    with pytest.raises(photo.PhotoError, match="60000 values for each pixel"):
        photo.read(file.getvalue())


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 8}, {"tile": (16, 16)}], ids=str)
def test_a_deep_tiff_that_lacks_a_part_is_an_error(options, rng):
    """Whether the file is cut short, or says nothing of where a part is: that part would be black."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(np.zeros((4, 4), np.uint16), subfiletype=1)  # so that the directory comes before what it is of
        tiff.write(rng.integers(0, 65536, (64, 48), dtype=np.uint16), metadata=None, **options)
    content = file.getvalue()
    assert photo.read(content).pixels.shape == (64, 48)
    for cut in (0.5, 0.9, 0.99):
        with pytest.raises(photo.PhotoError, match="damaged, cut short"):
            photo.read(content[: int(cut * len(content))])
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+") as tiff:
        tiff.pages[1].tags[257].overwrite(6400)
    with pytest.raises(photo.PhotoError, match="damaged, cut short"):
        photo.read(file.getvalue())
