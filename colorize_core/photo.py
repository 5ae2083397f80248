"""Reading and writing one photograph: formats, orientation, profiles, bit depth, metadata."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from xml.sax.saxutils import escape

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from colorize_core import color

MAX_PIXELS = 400_000_000  # a decompression bomb declares more; the largest archival masters do not
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit lies below a 100-megapixel master; ours is checked before decoding

# Pillow renders these through an external program or a handler that the user installs.
_NOT_RASTER = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}

# Tags that describe how a TIFF stored its pixels, untrue of the photograph once it is stored anew.
_STORAGE_TAGS = {
    *range(254, 260), 262, 263, 266, 273, 274, 277, 278, 279, 284, 292, 293, 301, 317, 318, 319, 320, 322, 323, 324,
    325, 330, 332, 338, 339, 347, 512, 513, 514, 529, 530, 531, 532, 700, 34377, 34675, 37724,
}  # fmt: skip

_SUB_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)

# Values of the TIFF 6.0 tags PhotometricInterpretation, PlanarConfiguration and ExtraSamples.
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_PLANAR = 2
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
    """A TIFF-structured EXIF block without orientation and without the "Exif" prefix."""
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


def read(data: bytes) -> Photo:
    """Decode a photograph in any raster format Pillow knows, and 16-bit PNG and TIFF at their full depth.

    The first frame or page is read. EXIF orientation is applied, an embedded ICC profile is converted to
    sRGB (one that cannot be used is ignored, as viewers do), associated alpha is divided out. 16-bit
    samples stay 16 bits; 32-bit and floating samples become 16 bits, stretched over their own range
    where they leave [0, 65535] or [0, 1]. Raises ``PhotoError``.
    """
    if not data:
        raise PhotoError("the file is empty (0 bytes): copy it again from where it came from")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow and tifffile warn of oddities that they then get over
            return _read(data)
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


def _read(data: bytes) -> Photo:
    with Image.open(io.BytesIO(data)) as image:
        if image.format in _NOT_RASTER:
            raise PhotoError(f"{image.format} is not a photograph but a program or container: export it as PNG or TIFF")
        width, height = image.size
        if not width * height:
            raise PhotoError(f"it declares {width} x {height} pixels, which is no picture: scan or copy it again")
        if width * height > MAX_PIXELS:
            raise PhotoError(
                f"it declares {width} x {height} pixels, above the limit of {MAX_PIXELS // 10**6} megapixels: "
                "cut it into parts, or check whether the file is damaged"
            )
        profile = image.info.get("icc_profile")
        dpi, exif = _dpi(image), _exif(image)
        channels = _read_deep(data, image)
        if channels is None:
            image.load()
            channels = _channels(image)
        # After decoding: where Pillow has turned the picture itself, as it does a TIFF, it drops the tag.
        channels = _upright(channels, _orientation(image))
    colours = channels.shape[2] - (channels.shape[2] in (2, 4))
    alpha = np.ascontiguousarray(channels[..., colours]) if colours < channels.shape[2] else None
    pixels = np.ascontiguousarray(channels[..., 0] if colours == 1 else channels[..., :3])
    if profile:
        pixels = _to_srgb(pixels, profile)
    return Photo(pixels, alpha, exif, dpi)


def _channels(image: Image.Image) -> np.ndarray:
    """(H, W, 1 | 2 | 3 | 4): grey or RGB, with or without alpha."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;"):
        return _stretched(np.asarray(image))[..., None]
    if mode == "LAB":
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
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
            return ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:
            pass  # a broken or foreign profile
    return image.convert("RGB")


def _stretched(values: np.ndarray) -> np.ndarray:
    """Levels without a known white to uint16."""
    if values.dtype == np.uint16:
        return values
    floating = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    unit = 1.0 if floating and high <= 1 else 65535.0
    if low < 0 or high > unit:
        values, unit = values - low, max(high - low, 1e-12)
    return np.rint(values / unit * 65535).astype(np.uint16)


def _read_deep(data: bytes, image: Image.Image) -> np.ndarray | None:
    """16-bit samples that Pillow would cut to 8 bits, (H, W, C); None where Pillow reads them as they are."""
    if image.format == "PNG" and data[24] == 16 and data[25] in (2, 4, 6):
        image.load()  # checks that the file is whole
        return np.atleast_3d(imagecodecs.png_decode(data))
    if image.format == "TIFF" and set(image.tag_v2.get(258, ())) == {16}:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            photometric, extra = int(page.photometric), [int(kind) for kind in page.extrasamples]
            if photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
                return None
            pixels = np.atleast_3d(page.asarray().squeeze()).astype(np.uint16)
            if page.planarconfig == _PLANAR and page.samplesperpixel > 1:
                pixels = np.moveaxis(pixels, 0, -1)
            if photometric == _MIN_IS_WHITE:
                pixels = 65535 - pixels
            colours = 3 if photometric == _RGB else 1
            has_alpha = extra[:1] in ([_ASSOCIATED_ALPHA], [_UNASSOCIATED_ALPHA])
            if extra[:1] == [_ASSOCIATED_ALPHA]:
                pixels = _unassociated(pixels, colours)
            return pixels[..., : colours + has_alpha]
    return None


def _unassociated(pixels: np.ndarray, colours: int) -> np.ndarray:
    alpha = np.maximum(pixels[..., colours : colours + 1], 1) / 65535
    colour = np.rint(pixels[..., :colours] / alpha).clip(0, 65535).astype(np.uint16)
    return np.concatenate([colour, pixels[..., colours:]], axis=2)


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
    return (x, y) if 1 <= x <= 1e5 and 1 <= y <= 1e5 else None


def _exif(image: Image.Image) -> bytes | None:
    kept = Image.Exif()
    try:
        exif = image.getexif()
        for tag, value in exif.items():
            if tag not in _STORAGE_TAGS and tag not in _SUB_IFDS:
                kept[tag] = value
        for tag in _SUB_IFDS:
            kept.get_ifd(tag).update(exif.get_ifd(tag))
        return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) or any(map(kept.get_ifd, _SUB_IFDS)) else None
    except Exception:  # damaged metadata must not cost the photograph
        return None


def encode_png(
    rgb: np.ndarray,
    alpha: np.ndarray | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    xmp: str | None = None,
) -> bytes:
    """sRGB, (H, W, 3) uint8 or uint16, to a PNG of the same depth, with the metadata of ``Photo``.

    ``alpha`` is (H, W) of the same type, ``xmp`` an XMP packet. The file declares sRGB.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR) if alpha is None else cv2.merge([*cv2.split(rgb)[::-1], alpha])
    png = cv2.imencode(".png", bgr)[1].tobytes()
    chunks = [_chunk(b"sRGB", b"\0")]
    if dpi:
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", round(dpi[0] / 0.0254), round(dpi[1] / 0.0254), 1)))
    if exif:
        chunks.append(_chunk(b"eXIf", exif))
    if xmp:
        chunks.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()))
    after_header = 33  # signature and IHDR
    return png[:after_header] + b"".join(chunks) + png[after_header:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def provenance_xmp(system: str, version: str, source_sha256: str) -> str:
    """An XMP packet that says the colours are machine-made, in the terms of IPTC Photo Metadata 2025.1.

    ``system`` and ``version`` name what made them; ``source_sha256`` identifies the file they were made from.
    """
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>{escape(system)}</Iptc4xmpExt:AISystemUsed>
<Iptc4xmpExt:AISystemVersionUsed>{escape(version)}</Iptc4xmpExt:AISystemVersionUsed>
<dc:source>sha256:{source_sha256}</dc:source>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""
