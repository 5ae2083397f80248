"""Reading one photograph: formats, pages, orientation, profiles, bit depth."""

import io
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from colorize_core import carried, color, exif, formats, tiff
from colorize_core.carried import Metadata
from colorize_core.exif import Directories
from colorize_core.formats import NotAnImageError, PhotoError, sniff

MAX_PIXELS = 400_000_000  # a decompression bomb declares more; the largest archival masters do not
MAX_BYTES = 8 * MAX_PIXELS
"""Of a file: what the largest photograph takes uncompressed, in 16-bit RGB with alpha."""

# Pillow renders these through an external program or a handler that the user installs.
_NOT_RASTER = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One decoded photograph, upright, in sRGB. Nothing of it can be changed in place: see ``dataclasses.replace``."""

    pixels: np.ndarray
    """(H, W) or (H, W, 3), uint8 or uint16, sRGB-coded."""
    alpha: np.ndarray | None = None
    """(H, W) of the type of ``pixels``, unassociated; None where the file has no alpha."""
    exif: bytes | None = None
    """A little-endian EXIF block (see ``exif.kept``) without orientation and without the "Exif" prefix."""
    dpi: tuple[float, float] | None = None
    """Horizontal and vertical resolution in dots per inch."""
    xmp: bytes | None = None
    """An XMP packet in UTF-8, without what describes the stored file (see ``xmp.kept``)."""
    iptc: bytes | None = None
    """IPTC-IIM records as the file has them."""

    def __post_init__(self):
        for name in ("pixels", "alpha"):
            if (array := getattr(self, name)) is not None:
                view = array.view()
                view.flags.writeable = False  # the caller's own array stays as it is
                object.__setattr__(self, name, view)

    @property
    def grey(self) -> np.ndarray:
        """The grey scan: (H, W) of the type of ``pixels``, the level nearest in CIE L*."""
        return self.pixels if self.pixels.ndim == 2 else color.grey_of(self.pixels)

    @property
    def rgb(self) -> np.ndarray:
        """(H, W, 3) of the type of ``pixels``."""
        return self.pixels if self.pixels.ndim == 3 else np.repeat(self.pixels[..., None], 3, axis=2)

    @property
    def rgb_8bit(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return self.rgb if self.bits == 8 else (self.rgb // 257).astype(np.uint8)

    @property
    def bits(self) -> int:
        """Bits per sample: 8 or 16."""
        return self.pixels.dtype.itemsize * 8


class Page(NamedTuple):
    """What a file declares of one of its pages."""

    width: int
    """In pixels; where an orientation turns the photograph by a quarter, this may be its height."""
    height: int
    bits: int
    """Bits per sample that ``read`` will give: 8 or 16."""


def measure(data: bytes) -> list[Page]:
    """The pages of a photograph, from the headers alone: nothing is decoded.

    A TIFF has as many as it has directories of its own that are neither reduced copies nor masks. Every other
    format has one: the first frame of an animation, the main picture of an MPO. Raises ``PhotoError``.
    """
    with said_clearly(data):
        sniff(data)
        if tiff.is_one(data):
            return [_tiff_page(found) for _, found in tiff.pages(data)]
        with io.BytesIO(data) as file, Image.open(file) as image:
            return [_page(image, data)]


def read(data: bytes) -> Photo:
    """The first of the ``pages`` of a photograph. Raises ``PhotoError``."""
    with closing(pages(data)) as found:
        return next(found)


def pages(data: bytes) -> Generator[Photo, None, None]:
    """Decode a photograph in any raster format Pillow knows, and PNG and TIFF of more than 8 bits at their full depth.

    What ``measure`` lists, one after the other, each decoded when it is asked for; at least one. EXIF orientation is
    applied, an embedded ICC profile is converted to sRGB (one that cannot be used is ignored, as viewers do),
    associated alpha is divided out. Samples of 9 to 16 bits become 16 bits, with white at 65535; 32-bit and floating
    ones too, stretched over the range of their finite values where they leave [0, 65535] or [0, 1].

    Raises ``PhotoError``, whose message says what is wrong and what to do, and leaves it to the caller to say with
    which file; ``formats`` says which of its kinds means what.
    """
    photographs = (_tiff_pages if tiff.is_one(data) else _only_page)(data)
    while True:
        with said_clearly(data):  # not beyond the yield, for it holds for the whole process
            photograph = next(photographs, None)
        if photograph is None:
            return
        yield photograph


_under_way = 0
_while_under_way = ExitStack()
_changing = threading.Lock()


@contextmanager
def pillow_set_up() -> Iterator[None]:
    """Pillow's limit on pixels is lifted, and warnings are silent, while any thread is in here.

    Both are settings of the whole process, and its other threads may use Pillow too. The limit lies below a
    100-megapixel master; here ``MAX_PIXELS`` is checked before decoding.
    """
    global _under_way
    with _changing:
        if not _under_way:
            _while_under_way.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # Pillow and tifffile warn of oddities that they then get over
            _while_under_way.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
        _under_way += 1
    try:
        yield
    finally:
        with _changing:
            _under_way -= 1
            if not _under_way:
                _while_under_way.close()


@contextmanager
def said_clearly(data: bytes) -> Iterator[None]:
    """Turns all that goes wrong with ``data`` into a ``PhotoError``; Pillow is set up for it."""
    try:
        with pillow_set_up():
            yield
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise formats.unknown(data) from None
    except MemoryError:
        raise PhotoError("there is not enough memory to decode it: give the workers more, or scale it down") from None
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(
            f"the image data is damaged, cut short, or of a kind the decoder lacks ({reason}): "
            "scan or copy it again, or save it as PNG or TIFF"
        ) from error


def _checked(width: int, height: int, bits: int) -> Page:
    if not width * height:
        raise PhotoError(f"it declares {width} x {height} pixels, which is no picture: scan or copy it again")
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"it declares {width} x {height} pixels, above the limit of {MAX_PIXELS // 10**6} megapixels: "
            "cut it into parts, or check whether the file is damaged"
        )
    return Page(width, height, bits)


def _page(image: Image.Image, data: bytes) -> Page:
    if image.format in _NOT_RASTER:
        raise NotAnImageError(
            f"{image.format} is not a photograph but a program or container: export it as PNG or TIFF"
        )
    deep = _is_deep_png(image, data) or image.mode in ("I", "F") or image.mode.startswith("I;")
    width, height = image.size
    return _checked(width, height, 16 if deep else 8)


def _tiff_page(found: Directories) -> Page:
    width, height = (tiff.number_in(found.main, tag) for tag in (tiff.WIDTH, tiff.HEIGHT))
    if tiff.number_in(found.main, tiff.ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    return _checked(width, height, 16 if tiff.is_deep(found.main) else 8)


def _only_page(data: bytes) -> Iterator[Photo]:
    """Of any format but TIFF."""
    sniff(data)
    with io.BytesIO(data) as file, Image.open(file) as image:
        _page(image, data)
        profile, dpi = image.info.get("icc_profile"), dpi_of(*image.info.get("dpi", (0, 0)))
        image.load()  # all of it, to check that it is whole, and since metadata may follow the pixels
        channels = np.atleast_3d(imagecodecs.png_decode(data)) if _is_deep_png(image, data) else _channels(image)
        orientation = orientation_of(image)
        photograph = _photo(channels, orientation, profile, dpi, carried.by_image(image, orientation != 1))
    yield photograph


def _tiff_pages(data: bytes) -> Iterator[Photo]:
    """The file is opened once and gone through forwards: archives keep books as TIFFs of thousands of pages."""
    sniff(data)
    with _TiffReader(data) as reader:
        found = tiff.pages(data)
        page = next(found, None)
        while page:
            photograph = reader.photo(*page)
            page = next(found, None)
            if page is None:
                reader.close()  # Pillow's copy of the pixels is not needed any more
            yield photograph


class _TiffReader(ExitStack):
    """A TIFF, opened once in each of the libraries that decode its pages."""

    def __init__(self, data: bytes):
        super().__init__()
        self.data = data

    @cached_property
    def image(self) -> Image.Image:
        return self.enter_context(Image.open(self.enter_context(io.BytesIO(self.data))))

    @cached_property
    def deep(self) -> tifffile.TiffFile:
        return self.enter_context(tifffile.TiffFile(self.enter_context(io.BytesIO(self.data))))

    def photo(self, number: int, found: Directories) -> Photo:
        main, orientation = found.main, tiff.number_in(found.main, tiff.ORIENTATION, 1)
        _tiff_page(found)
        if tiff.is_deep(main):
            channels, left = tiff.decode(self.deep, number), orientation
        else:
            if number != self.image.tell():
                self.image.info.clear()  # else a page without transparency has that of the one before
                self.image.seek(number)
            self.image.load()
            channels, left = _channels(self.image), 1  # Pillow has turned it
        profile = main[tiff.ICC_PROFILE].data if tiff.ICC_PROFILE in main else None
        return _photo(channels, left, profile, _tiff_dpi(main), carried.by_tiff(found, orientation != 1))


def _photo(
    channels: np.ndarray, orientation: int, profile: bytes | None, dpi: tuple | None, metadata: Metadata
) -> Photo:
    """Of (H, W, 1 | 2 | 3 | 4) as stored, with the orientation that they still have (EXIF's 1 to 8)."""
    channels = upright(channels, orientation)
    colours = channels.shape[2] - (channels.shape[2] in (2, 4))
    alpha = np.ascontiguousarray(channels[..., colours]) if colours < channels.shape[2] else None
    pixels = np.ascontiguousarray(channels[..., 0] if colours == 1 else channels[..., :3])
    if profile:
        pixels = _to_srgb(pixels, profile)
    return Photo(pixels, alpha, metadata.exif, dpi, metadata.xmp, metadata.iptc)


def _channels(image: Image.Image) -> np.ndarray:
    """(H, W, 1 | 2 | 3 | 4): grey or RGB, with or without alpha."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;"):
        return tiff.stretched(np.asarray(image))[..., None]
    if mode == "LAB":
        image = _converted(image, ImageCms.createProfile("LAB"))
    elif "transparency" in image.info or mode in ("PA", "RGBa"):
        image = image.convert("LA" if mode in ("1", "L") else "RGBA")
    elif mode in ("1", "La"):
        image = image.convert({"1": "L", "La": "LA"}[mode])
    elif mode == "CMYK":
        image = _cmyk_to_rgb(image)
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    return np.atleast_3d(np.asarray(image))


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.pop("icc_profile", None)
    if profile:
        try:
            return _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except ImageCms.PyCMSError:
            pass  # a broken or foreign profile
    return image.convert("RGB")


def _converted(image: Image.Image, profile: ImageCms.core.CmsProfile | ImageCms.ImageCmsProfile) -> Image.Image:
    """To sRGB, mode RGB. Raises ``ImageCms.PyCMSError``."""
    srgb = ImageCms.createProfile("sRGB")
    return cast(Image.Image, ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB"))  # None if in place


def _is_deep_png(image: Image.Image, data: bytes) -> bool:
    """Whether samples have 16 bits that Pillow would cut to 8."""
    return image.format == "PNG" and data[24] == 16 and data[25] in (2, 4, 6)  # bit depth and colour type


def orientation_of(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata must not cost the photograph
        return 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8; CIPA DC-008, table 6) to (H, W) or (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The reverse of ``upright``."""
    return upright(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def _to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert from an ICC profile to sRGB at the same depth; unchanged where the profile cannot be used."""
    kind = profile[16:20]
    if kind not in (b"RGB ", b"GRAY") or (kind == b"GRAY") != (pixels.ndim == 2):
        return pixels
    try:
        srgb = imagecodecs.cms_profile("srgb")
        exact = imagecodecs.CMS.FLAGS.NOOPTIMIZE  # else 16-bit colours pass through a coarse table
        if kind == b"RGB ":
            return imagecodecs.cms_transform(pixels, profile, srgb, colorspace="rgb", outcolorspace="rgb", flags=exact)
        levels = np.arange(65536, dtype=np.uint16)[None]
        ramp = imagecodecs.cms_transform(levels, profile, srgb, colorspace="gray", outcolorspace="rgb", flags=exact)
        ramp = ramp[0, :, 1]
    except imagecodecs.CmsError:
        return pixels
    if pixels.dtype == np.uint8:
        ramp = np.rint(ramp[::257] / 257).astype(np.uint8)
    return ramp[pixels]


def dpi_of(x: float, y: float) -> tuple[float, float] | None:
    try:
        x, y = float(x), float(y)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 < x <= 1e5 and 1 < y <= 1e5 else None


def _tiff_dpi(directory: exif.Directory) -> tuple[float, float] | None:
    scale = {2: 1.0, 3: 2.54}.get(tiff.number_in(directory, tiff.RESOLUTION_UNIT, 2))  # inches, centimetres
    found = [exif.rationals(directory.get(tag)) for tag in (tiff.X_RESOLUTION, tiff.Y_RESOLUTION)]
    return dpi_of(*(scale * values[0] for values in found)) if scale and all(found) else None
