"""Reading one photograph: formats, pages, orientation, profiles, bit depth."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from colorize_core import color, exif

MAX_PIXELS = 400_000_000  # a decompression bomb declares more; the largest archival masters do not
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit lies below a 100-megapixel master; ours is checked before decoding

# Pillow renders these through an external program or a handler that the user installs.
_NOT_RASTER = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}

# Values of the TIFF 6.0 tags PhotometricInterpretation, PlanarConfiguration and ExtraSamples.
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_PLANAR = 2
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_NEW_SUBFILE_TYPE, _BITS_PER_SAMPLE, _PHOTOMETRIC = 254, 258, 262
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2


class PhotoError(ValueError):
    """A photograph that cannot be read; the message says what is wrong with it and what to do."""


class NotAnImageError(PhotoError):
    """Content that is in no image format at all, or damaged in its first bytes."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One decoded photograph, upright, in sRGB."""

    pixels: np.ndarray
    """(H, W) or (H, W, 3), uint8 or uint16, sRGB-coded."""
    alpha: np.ndarray | None = None
    """(H, W) of the type of ``pixels``, unassociated; None where the file has no alpha."""
    exif: bytes | None = None
    """A little-endian EXIF block (see ``exif.kept``) without orientation and without the "Exif" prefix."""
    dpi: tuple[float, float] | None = None
    """Horizontal and vertical resolution in dots per inch."""

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
    with _said_clearly(data), io.BytesIO(data) as file, Image.open(file) as image:
        return list(_pages(image, data).values())


def read(data: bytes, page: int = 0) -> Photo:
    """Decode a photograph in any raster format Pillow knows, and 16-bit PNG and TIFF at their full depth.

    ``page`` is an index into what ``measure`` lists. EXIF orientation is applied, an embedded ICC profile is
    converted to sRGB (one that cannot be used is ignored, as viewers do), associated alpha is divided out. 16-bit
    samples stay 16 bits; 32-bit and floating samples become 16 bits, stretched over their own range
    where they leave [0, 65535] or [0, 1]. Raises ``PhotoError``.
    """
    with _said_clearly(data):
        return _read(data, page)


@contextmanager
def _said_clearly(data: bytes) -> Iterator[None]:
    """Turns all that goes wrong with ``data`` into a ``PhotoError``."""
    if not data:
        raise PhotoError("the file is empty (0 bytes): copy it again from where it came from")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow and tifffile warn of oddities that they then get over
            yield
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise NotAnImageError(
            "the content is not an image in a format that can be read; if a viewer opens it, save it as PNG or TIFF"
        ) from None
    except MemoryError:
        raise PhotoError("there is not enough memory to decode it: give the workers more, or scale it down") from None
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(
            f"the image data is damaged, cut short, or of a kind the decoder lacks ({reason}): "
            "scan or copy it again, or save it as PNG or TIFF"
        ) from error


def _pages(image: Image.Image, data: bytes) -> dict[int, Page]:
    """The pages under the numbers of their frames; leaves ``image`` at any of them."""
    if image.format in _NOT_RASTER:
        raise PhotoError(f"{image.format} is not a photograph but a program or container: export it as PNG or TIFF")
    frames = [image.tell()]
    if (tiff := exif.as_tiff(image)) and tiff.tag_v2.next:
        kinds = [page.get(_NEW_SUBFILE_TYPE) for page in exif.chain(data)]
        frames = [i for i, kind in enumerate(kinds) if not (kind and kind.data[0] & _REDUCED_OR_MASK)] or [0]
    pages = {}
    for frame in frames:
        _select(image, frame)
        width, height = image.size
        if not width * height:
            raise PhotoError(f"it declares {width} x {height} pixels, which is no picture: scan or copy it again")
        if width * height > MAX_PIXELS:
            raise PhotoError(
                f"it declares {width} x {height} pixels, above the limit of {MAX_PIXELS // 10**6} megapixels: "
                "cut it into parts, or check whether the file is damaged"
            )
        deep = _is_deep(image, data) or image.mode in ("I", "F") or image.mode.startswith("I;")
        pages[frame] = Page(width, height, 16 if deep else 8)
    return pages


def _select(image: Image.Image, frame: int) -> None:
    if frame != image.tell():
        image.info.clear()  # else a page without a profile or resolution has that of the one before
        image.seek(frame)


def _read(data: bytes, page: int) -> Photo:
    with io.BytesIO(data) as file, Image.open(file) as image:
        frames = list(_pages(image, data))
        if not 0 <= page < len(frames):
            raise PhotoError(f"it has no page {page + 1}, only {len(frames)}: check whether the file has changed")
        frame = frames[page]
        _select(image, frame)
        profile = image.info.get("icc_profile")
        dpi, block = _dpi(image), exif.kept(image, data)
        if _is_deep(image, data):
            channels = _read_deep_png(data, image) if image.format == "PNG" else _read_deep_tiff(data, frame)
        else:
            image.load()
            channels = _channels(image)
        # After decoding: where Pillow has turned the picture itself, as it does a TIFF, it drops the tag.
        channels = _upright(channels, _orientation(image))
    colours = channels.shape[2] - (channels.shape[2] in (2, 4))
    alpha = np.ascontiguousarray(channels[..., colours]) if colours < channels.shape[2] else None
    pixels = np.ascontiguousarray(channels[..., 0] if colours == 1 else channels[..., :3])
    if profile:
        pixels = _to_srgb(pixels, profile)
    return Photo(pixels, alpha, block, dpi)


def _channels(image: Image.Image) -> np.ndarray:
    """(H, W, 1 | 2 | 3 | 4): grey or RGB, with or without alpha."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;"):
        return _stretched(np.asarray(image))[..., None]
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


def _stretched(values: np.ndarray) -> np.ndarray:
    """Levels without a known white, (H, W), to uint16."""
    if values.dtype == np.uint16:
        return values
    floating = values.dtype.kind == "f"
    if floating:
        values = np.nan_to_num(values)
    low, high = float(values.min()), float(values.max())
    unit = 1.0 if floating and high <= 1 else 65535.0
    if low < 0 or high > unit:
        unit = max(high - low, 1e-12)
    else:
        low = 0.0
    levels = np.empty(values.shape, np.uint16)
    for row, line in zip(levels, values, strict=True):  # by lines, for whole scans in float64 take 8 bytes a pixel
        row[:] = np.rint((line.astype(np.float64) - low) / unit * 65535)
    return levels


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether samples have 16 bits that Pillow would cut to 8."""
    if image.format == "PNG":
        return data[24] == 16 and data[25] in (2, 4, 6)  # bit depth and colour type
    return (
        (tiff := exif.as_tiff(image)) is not None
        and set(tiff.tag_v2.get(_BITS_PER_SAMPLE, ())) == {16}
        and tiff.tag_v2.get(_PHOTOMETRIC, _MIN_IS_WHITE) in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB)
    )


def _read_deep_png(data: bytes, image: Image.Image) -> np.ndarray:
    """(H, W, 2 | 3 | 4) uint16."""
    image.load()  # checks that the file is whole
    return np.atleast_3d(imagecodecs.png_decode(data))


def _read_deep_tiff(data: bytes, frame: int) -> np.ndarray:
    """(H, W, 1 | 2 | 3 | 4) uint16."""
    with io.BytesIO(data) as file, tifffile.TiffFile(file) as tiff:  # closed, or it keeps the data for a while
        page = cast(tifffile.TiffPage, tiff.pages[frame])  # a TiffFrame, which knows less, must be asked for
        pixels = np.atleast_3d(page.asarray().squeeze()).astype(np.uint16, copy=False)
        if page.planarconfig == _PLANAR and page.samplesperpixel > 1:
            pixels = np.moveaxis(pixels, 0, -1)
        if page.photometric == _MIN_IS_WHITE:
            np.invert(pixels, out=pixels)
        colours = 3 if page.photometric == _RGB else 1
        extra = page.extrasamples[:1]
    if extra == (_ASSOCIATED_ALPHA,):
        _unassociate(pixels, colours)
    return pixels[..., : colours + (extra in ((_ASSOCIATED_ALPHA,), (_UNASSOCIATED_ALPHA,)))]


def _unassociate(pixels: np.ndarray, colours: int) -> None:
    """Divide the alpha in channel ``colours`` out of those before it, in place."""
    for line in pixels:
        alpha = np.maximum(line[:, colours : colours + 1], 1) / 65535
        line[:, :colours] = np.rint(line[:, :colours] / alpha).clip(0, 65535)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata must not cost the photograph
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8; CIPA DC-008, table 6) to (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


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


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in image.info.get("dpi", (0, 0)))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 < x <= 1e5 and 1 < y <= 1e5 else None  # Pillow has 1 for a TIFF without
