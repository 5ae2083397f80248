"""Writing one photograph: PNG, JPEG and TIFF, with what its scan carried and word of where its colours come from."""

import io
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import cv2
import imagecodecs
import numpy as np
from isal import isal_zlib
from PIL import ImageCms

from colorize_core import exif, iptc, jpeg, xmp
from colorize_core.exif import BYTE, LONG, LONG8, RATIONAL, SHORT, UNDEFINED, Directories, Field
from colorize_core.photo import Photo

Format = Literal["png", "jpeg", "tiff"]

_PNG_LEVEL = 2  # of ISA-L, whose files are as small as zlib's of level 1, in a quarter of the time
_STRIP_BYTES = 1 << 20  # strips of rows are compressed one by one: no copy of a whole scan is ever made
_CLASSIC_TIFF_BYTES = 1 << 32  # what 32-bit offsets reach; beyond, a TIFF is a BigTIFF
_SEGMENT_BYTES = 65533  # what a JPEG's marker segment holds
_JPEG_SIDE = 65500  # libjpeg's limit, in pixels


def holds(format: Format, photograph: Photo, pages: int = 1) -> bool:
    """Whether a file of ``format`` holds all of a photograph: its size, its depth, its alpha, and its ``pages``.

    Only PNG and TIFF keep every pixel's luminance as well; see ``encode``.
    """
    if format == "jpeg" and (photograph.bits > 8 or photograph.alpha is not None):
        return False
    if format == "jpeg" and max(photograph.pixels.shape[:2]) > _JPEG_SIDE:
        return False
    return format == "tiff" or pages == 1


def encode(
    rgb: np.ndarray,
    format: Format,
    alpha: np.ndarray | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    xmp: bytes | None = None,
    iptc: bytes | None = None,
) -> bytes:
    """sRGB, (H, W, 3) uint8 or uint16, to a file of ``format`` that declares sRGB, with the metadata of ``Photo``.

    PNG and TIFF are lossless, at the depth of ``rgb``. JPEG (quality 95, chroma at half size) is not; ``spliced`` keeps
    the luma of a scan. ``alpha`` is (H, W) of the same type. PNG has no place
    for IPTC-IIM: what XMP has a property for is said there. Of EXIF that outgrows the 64 KB that JPEG has for it, the
    largest values are dropped, such as a maker note; XMP continues in an extension. The same input gives the same
    bytes. Raises ``ValueError`` for what the format does not hold.
    """
    photograph = Photo(rgb, alpha, exif, dpi, xmp, iptc)
    if not holds(format, photograph):
        raise ValueError(
            f"JPEG holds 8 bits, no alpha and up to {_JPEG_SIDE} pixels a side, not {photograph.bits} bits, "
            f"{rgb.shape[1]} x {rgb.shape[0]} pixels{' and alpha' if alpha is not None else ''}: write PNG or TIFF"
        )
    if format == "tiff":
        return encode_tiff([photograph])
    return _encode_png(photograph) if format == "png" else _encode_jpeg(photograph)


def encode_tiff(pages: Iterable[Photo]) -> bytes:
    """A TIFF of one or more pages, each sRGB of its own size, depth and metadata, compressed without loss.

    Deflate with horizontal differencing (TIFF 6.0, section 14; TIFF Technical Note 2), which every common viewer
    opens. Where ``pages`` makes them one by one, one at a time is in memory. Beyond 4 GB it is a BigTIFF.
    """
    file = io.BytesIO()
    file.write(bytes(16))  # room for the header of either kind, which is known in the end
    directories = []
    for page in pages:
        offsets, counts = [], []
        for strip in _strips(page):
            offsets.append(file.tell())
            differences = imagecodecs.delta_encode(strip, axis=1)
            # It takes arrays too, whatever its types say.
            counts.append(file.write(imagecodecs.deflate_encode(differences, level=1)))  # type: ignore[arg-type]
        directories.append((_tiff_tags(page, counts), offsets))
        del page  # before the next one is made
    room = sum(len(exif.packed(found, 0, big=True)) + 8 * len(offsets) for found, offsets in directories)
    big = file.tell() + room >= _CLASSIC_TIFF_BYTES
    file.write(bytes(file.tell() % 2))
    first = file.tell()
    for i, (found, offsets) in enumerate(directories):
        found.main[273] = _field(LONG8 if big else LONG, *offsets)
        file.write(exif.packed(found, file.tell(), big, more=i + 1 < len(directories)))
    file.seek(0)
    file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHL", b"II", 42, first))
    return file.getvalue()


def _tiff_tags(page: Photo, counts: list[int]) -> Directories:
    """All but where the strips begin. Tags by their numbers in TIFF 6.0, and 700, 33723, 34675 for XMP, IPTC, ICC."""
    height, width, samples = *page.pixels.shape[:2], 3 if page.alpha is None else 4
    found = exif.parse(page.exif) if page.exif else Directories({}, {})
    found.main.update({
        256: _field(LONG, width),
        257: _field(LONG, height),
        258: _field(SHORT, *[page.bits] * samples),
        259: _field(SHORT, 8),  # deflate
        262: _field(SHORT, 2),  # RGB
        277: _field(SHORT, samples),
        278: _field(LONG, _rows(page)),
        279: _field(LONG, *counts),
        282: _rational(page.dpi[0] if page.dpi else 1),
        283: _rational(page.dpi[1] if page.dpi else 1),
        284: _field(SHORT, 1),  # samples of a pixel lie side by side
        296: _field(SHORT, 2 if page.dpi else 1),  # per inch, or an aspect ratio only
        317: _field(SHORT, 2),  # horizontal differencing
        34675: Field(UNDEFINED, srgb_profile()),
    })  # fmt: skip
    if page.alpha is not None:
        found.main[338] = _field(SHORT, 2)  # unassociated alpha
    if page.xmp:
        found.main[700] = Field(BYTE, page.xmp)
    if page.iptc:
        found.main[33723] = Field(UNDEFINED, page.iptc)
    return found


def _field(kind: int, *values: int) -> Field:
    return Field(kind, struct.pack(f"<{len(values)}{ {SHORT: 'H', LONG: 'L', LONG8: 'Q'}[kind] }", *values))


def _rational(value: float) -> Field:
    return Field(RATIONAL, struct.pack("<LL", *Fraction(value).limit_denominator(10_000).as_integer_ratio()))


def _strips(page: Photo) -> Iterator[np.ndarray]:
    """Strips of rows, (n, W, 3) or with alpha (n, W, 4); n is that of ``_rows``, but for the last."""
    rows = _rows(page)
    for top in range(0, len(page.pixels), rows):
        strip = page.pixels[top : top + rows]
        yield strip if page.alpha is None else np.dstack([strip, page.alpha[top : top + rows]])


def _rows(page: Photo) -> int:
    return min(len(page.pixels), max(1, _STRIP_BYTES // page.pixels[0].nbytes))


def _encode_png(page: Photo) -> bytes:
    """Like libpng's own writer, but strip by strip: every line is filtered by the one above (PNG, 9.2)."""
    height, width = page.pixels.shape[:2]
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    colour_type = 2 if page.alpha is None else 6
    file.write(_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, page.bits, colour_type, 0, 0, 0)))
    file.write(_chunk(b"sRGB", b"\0"))
    if page.dpi:
        file.write(_chunk(b"pHYs", struct.pack(">LLB", *(round(dots / 0.0254) for dots in page.dpi), 1)))
    if page.exif:
        file.write(_chunk(b"eXIf", page.exif))
    if packet := xmp.with_iptc(page.xmp, page.iptc) if page.iptc else page.xmp:
        file.write(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    deflate = isal_zlib.compressobj(_PNG_LEVEL)
    above = 0
    for strip in _strips(page):
        lines = strip.astype(strip.dtype.newbyteorder(">")).view(np.uint8).reshape(len(strip), -1)
        filtered = np.full((len(lines), 1 + lines.shape[1]), 2, np.uint8)  # 2: the filter type Up
        np.subtract(lines[0], above, out=filtered[0, 1:])
        np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
        above = lines[-1].copy()
        file.write(_chunk(b"IDAT", deflate.compress(filtered.ravel())))
    file.write(_chunk(b"IDAT", deflate.flush()))
    file.write(_chunk(b"IEND", b""))
    return file.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", isal_zlib.crc32(body, isal_zlib.crc32(kind)))


def _encode_jpeg(page: Photo) -> bytes:
    luma, red, blue = cv2.split(cv2.cvtColor(page.pixels, cv2.COLOR_RGB2YCrCb))
    chroma, size = [halved(plane) for plane in (blue, red)], page.pixels.shape[:2]
    segments = jpeg_segments(page, 1, srgb_profile())
    return jpeg.write(jpeg.plane(luma, jpeg.luma_steps()), chroma, (size[0], size[1]), segments)


def halved(plane: np.ndarray) -> np.ndarray:
    """(H, W) uint8 to averages of 2 x 2, sides rounded up; what an odd side lacks repeats its last line."""
    height, width = plane.shape
    even = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(even, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)


def jpeg_segments(page: Photo, orientation: int, profile: bytes) -> list[bytes]:
    """What a photograph carries, its pixels stored with an ``orientation`` and an ICC ``profile``, as a JPEG's marker
    segments; JFIF's first, Exif's second (JFIF 1.02; CIPA DC-008, 4.5.5)."""
    density = [1, *(min(round(dots), 65535) for dots in page.dpi)] if page.dpi else [0, 1, 1]
    segments = [jpeg.segment(0xE0, b"JFIF\0\1\1" + struct.pack(">BHHBB", *density, 0, 0))]
    if block := exif.with_orientation(page.exif, orientation):
        segments.append(jpeg.segment(0xE1, b"Exif\0\0" + exif.shortened(block, _SEGMENT_BYTES - 6)))
    if page.xmp:
        packet, extension = xmp.split(page.xmp)
        segments.append(jpeg.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
        if extension:
            segments += _xmp_extension(extension)
    if page.iptc:
        segments += _segments(0xED, b"Photoshop 3.0\0", iptc.as_resources(page.iptc))
    segments.append(jpeg.segment(0xE2, b"ICC_PROFILE\0\1\1" + profile))
    return segments


def _segments(marker: int, prefix: bytes, body: bytes) -> Iterator[bytes]:
    """As many as it takes; readers put together what follows the prefixes."""
    for start in range(0, len(body), _SEGMENT_BYTES - len(prefix)):
        yield jpeg.segment(marker, prefix + body[start : start + _SEGMENT_BYTES - len(prefix)])


def _xmp_extension(extension: bytes) -> Iterator[bytes]:
    """XMP Specification Part 3, 1.1.3.1: each part says whose extension it is, how long that is, and its offset."""
    part = _SEGMENT_BYTES - 75
    for start in range(0, len(extension), part):
        place = struct.pack(">LL", len(extension), start)
        head = b"http://ns.adobe.com/xmp/extension/\0" + xmp.digest(extension) + place
        yield jpeg.segment(0xE1, head + extension[start : start + part])


@lru_cache
def srgb_profile() -> bytes:
    """An ICC profile of a few hundred bytes, the same ones every time: its date of creation is fixed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def srgb_profile_with(tone: np.ndarray) -> bytes:
    """The same with another tone curve: linear light of each of n levels, in [0, 1] (ICC.1:2001-04, 6.5.3)."""
    srgb = srgb_profile()
    curve = b"curv" + struct.pack(">LL", 0, len(tone)) + np.rint(65535 * tone).astype(">u2").tobytes()
    (count,) = struct.unpack_from(">L", srgb, 128)
    entries = [struct.unpack_from(">4sLL", srgb, 132 + 12 * i) for i in range(count)]
    tags = {name: srgb[start : start + size] for name, start, size in entries}
    tags |= dict.fromkeys([b"rTRC", b"gTRC", b"bTRC"], curve)
    table, bodies, places = struct.pack(">L", len(tags)), b"", {}
    for name, tag in tags.items():
        if tag not in places:  # tags may share what they hold
            places[tag] = 132 + 12 * len(tags) + len(bodies)
            bodies += tag + bytes(-len(tag) % 4)
        table += struct.pack(">4sLL", name, places[tag], len(tag))
    head = srgb[4:84] + bytes(16) + srgb[100:128]  # the digest at 84 would be of other content
    return struct.pack(">L", 128 + len(table) + len(bodies)) + head + table + bodies
