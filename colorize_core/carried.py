"""What a scan carries beside its pixels: EXIF, XMP and IPTC-IIM, wherever its format keeps them.

Damaged metadata is left behind and does not cost the photograph.
"""

from contextlib import suppress
from typing import NamedTuple

from PIL import Image

from colorize_core import exif, iptc, tiff, xmp
from colorize_core.exif import Directories

_PHOTOSHOP = b"Photoshop 3.0\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"


class Metadata(NamedTuple):
    """As ``Photo`` has them."""

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None


def by_tiff(found: Directories, turned: bool) -> Metadata:
    """Of a page of a TIFF, which was ``turned`` upright or stands as it was stored."""
    main, block, packet, records = found.main, None, None, None
    with suppress(Exception):
        block = exif.kept(found)
    with suppress(Exception):
        packet = xmp.kept(main[tiff.XMP].data, turned=turned) if tiff.XMP in main else None
    with suppress(Exception):
        records = iptc.in_tag(main[tiff.IPTC]) if tiff.IPTC in main else None
        if not records and tiff.PHOTOSHOP in main:
            records = iptc.in_resources(main[tiff.PHOTOSHOP].data)
    return Metadata(block, packet, records)


def by_image(image: Image.Image, turned: bool) -> Metadata:
    """Of any other format, once Pillow has loaded it, for metadata may follow the pixels."""
    block = packet = records = None
    with suppress(Exception):
        found = _raw_profile(image, "exif") or image.info.get("exif")
        block = exif.kept(exif.parse(found.removeprefix(b"Exif\0\0"))) if found else None
    with suppress(Exception):
        found = image.info.get("xmp") or _raw_profile(image, "xmp")
        packet = xmp.kept(found, _extended_xmp(image), turned) if found else None
    with suppress(Exception):
        records = iptc.in_resources(_photoshop_resources(image) or _raw_profile(image, "iptc") or b"")
    return Metadata(block, packet, records)


def _raw_profile(image: Image.Image, kind: str) -> bytes | None:
    """What ImageMagick writes into a PNG's text, as hexadecimal digits after three lines; PNG itself had no place."""
    text = image.info.get(f"Raw profile type {kind}")
    return bytes.fromhex("".join(text.split("\n")[3:])) if text else None


def _photoshop_resources(image: Image.Image) -> bytes:
    """Of a JPEG, in as many segments as they take."""
    return b"".join(body[len(_PHOTOSHOP) :] for body in _segments(image) if body.startswith(_PHOTOSHOP))


def _extended_xmp(image: Image.Image) -> bytes | None:
    """What a JPEG's XMP continues in: parts with whose it is, its length and their offset (XMP Part 3, 1.1.3.1)."""
    parts = [body[len(_XMP_EXTENSION) :] for body in _segments(image) if body.startswith(_XMP_EXTENSION)]
    parts = [part for part in parts if part[:32] in image.info["xmp"]]
    return b"".join(part[40:] for part in sorted(parts, key=lambda part: part[36:40])) or None


def _segments(image: Image.Image) -> list[bytes]:
    """A JPEG's application segments."""
    return [body for _, body in getattr(image, "applist", [])]
