"""Scans that carry all that a format can, and what of it arrives in another, judged by readers that are not ours:
Pillow, tifffile, ExifRead.
"""

import io
import struct
from dataclasses import replace

import exifread
import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin
from PIL.PngImagePlugin import PngInfo

from colorize_core import encoding, photo, xmp

SCANS = ("JPEG", "PNG", "TIFF 8", "TIFF 16")
SIZE = (60, 40)  # as stored; upright, it stands on its short side
COLOUR, DEEP_LEVEL, ALPHA = (200, 80, 60), 40_001, 100
EXIF_FIELDS = {
    "DateTimeOriginal": ("EXIF DateTimeOriginal", "1936:03:09 11:58:00"),
    "Make": ("Image Make", "Graflex"),
    "Artist, UTF-8": ("Image Artist", "Åse Lange"),
    "GPS latitude": ("GPS GPSLatitude", "[35, 2, 69/2]"),
    "GPS longitude": ("GPS GPSLongitude", "[120, 28, 36]"),
    "UserComment": ("EXIF UserComment", "Nipomo"),
}
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 tiff:Orientation="6">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Migrant Mother</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Åse &amp; seven children</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>pea pickers</rdf:li><rdf:li>California</rdf:li></rdf:Bag></dc:subject>
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">Public domain</rdf:li></rdf:Alt></dc:rights>
</rdf:Description></rdf:RDF></x:xmpmeta>""".encode()
XMP_FIELDS = {
    "XMP title": ("title", ["Migrant Mother"]),
    "XMP description": ("description", ["Åse & seven children"]),
    "XMP keywords": ("subject", ["pea pickers", "California"]),
    "XMP rights": ("rights", ["Public domain"]),
}
# By number and, in formats that have no place for IPTC-IIM, by XMP's name. Headline and city are in no XMP of the scan.
IPTC_FIELDS = {
    "IPTC caption": (120, "description", ["Åse & seven children"]),
    "IPTC keywords": (25, "subject", ["pea pickers", "California"]),
    "IPTC headline": (105, "Headline", ["Destitute"]),
    "IPTC city": (90, "City", ["Nipomo"]),
}
MADE = xmp.Provenance("colorize", "test", "ab" * 32)
LABEL = xmp.provenance(MADE)


def tags() -> Image.Exif:
    """What EXIF_FIELDS looks for, and an orientation that turns the picture by a quarter."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Graflex"
    exif[ExifTags.Base.Artist] = "Åse Lange".encode()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif).update({36867: "1936:03:09 11:58:00", 37510: b"ASCII\0\0\0Nipomo"})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (35.0, 2.0, 34.5), 3: "W", 4: (120.0, 28.0, 36.0)})
    return exif


def records() -> bytes:
    """IPTC-IIM in UTF-8."""
    values = [(1, 90, "\x1b%G")]
    values += [(2, number, value) for number, _, values in sorted(IPTC_FIELDS.values()) for value in values]
    return b"".join(
        struct.pack(">BBBH", 0x1C, record, number, len(value.encode())) + value.encode()
        for record, number, value in values
    )


def scan(kind: str) -> bytes:
    """A file of one of SCANS: one colour (JPEG without alpha, TIFF in two pages), or 16-bit grey in a TIFF 16."""
    format, file = kind.split()[0], io.BytesIO()
    options = {"exif": tags().tobytes(), "dpi": (600, 600)}
    if kind == "TIFF 16":
        image = Image.fromarray(np.full(SIZE[::-1], DEEP_LEVEL, np.uint16))
        options["icc_profile"] = imagecodecs.cms_profile("gray", gamma=1.8)
    else:
        image = Image.new("RGB" if kind == "JPEG" else "RGBA", SIZE, COLOUR if kind == "JPEG" else (*COLOUR, ALPHA))
        options["icc_profile"] = imagecodecs.cms_profile("adobergb")
    resources = struct.pack(">4sHHL", b"8BIM", 0x0404, 0, len(records())) + records() + bytes(len(records()) % 2)
    if format == "TIFF":
        carried = tags()
        carried[700], carried[33723] = XMP, records()
        options |= {"save_all": True, "append_images": [image], "exif": carried.tobytes()}
    elif format == "JPEG":
        body = b"Photoshop 3.0\0" + resources
        options |= {"xmp": XMP, "extra": struct.pack(">BBH", 0xFF, 0xED, len(body) + 2) + body}
    else:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        options["pnginfo"].add_text("Raw profile type iptc", f"\niptc\n{len(resources):8}\n{resources.hex()}\n")
    image.save(file, format, **options)
    return file.getvalue()


def written(content: bytes, format: encoding.Format) -> bytes:
    """The scan as read, in another format: what JPEG and PNG do not hold is left out."""
    pages = [replace(page, pixels=page.rgb, xmp=xmp.labelled(page.xmp, MADE)) for page in photo.pages(content)]
    first = pages[0]
    if format == "tiff":
        return encoding.encode_tiff(pages)
    fits = encoding.holds(format, first)
    rgb, alpha = (first.rgb, first.alpha) if fits else (first.rgb_8bit, None)
    return encoding.encode(rgb, format, alpha, first.exif, first.dpi, first.xmp, first.iptc)


def arrived(kind: str, output: bytes) -> dict[str, bool | None]:
    """Per thing carried, whether ``output``, written from a scan of ``kind``, has it; None where the scan had none."""
    image = Image.open(io.BytesIO(output))
    carried, found = (exifread.process_file(io.BytesIO(content)) for content in (scan(kind), output))
    result: dict[str, bool | None] = {
        name: _text(found, key) == value if _text(carried, key) == value else None
        for name, (key, value) in EXIF_FIELDS.items()
    }
    result["orientation, applied"] = image.size == SIZE[::-1] and "Image Orientation" not in found
    result["profile, converted to sRGB"] = _declares_srgb(image) and _is_expected_colour(kind, image)
    result["resolution"] = round(float(image.info["dpi"][0])) == round(float(image.info["dpi"][1])) == 600
    pages, pixels = 1, None
    if image.format == "TIFF":
        with tifffile.TiffFile(io.BytesIO(output)) as tiff:
            pages, pixels = len(tiff.pages), tiff.pages[0].asarray()
    else:
        pixels = (imagecodecs.png_decode if image.format == "PNG" else imagecodecs.jpeg_decode)(output)
    result["16 bits"] = pixels.dtype == np.uint16 if kind == "TIFF 16" else None
    result["alpha"] = bool((pixels[..., 3:] == ALPHA).any()) if kind in ("PNG", "TIFF 8") else None
    result["pages"] = pages == 2 if kind.startswith("TIFF") else None
    packet = image.getxmp().get("xmpmeta", {}).get("RDF", {}).get("Description", {})
    for name, (key, values) in XMP_FIELDS.items():
        result[name] = _listed(packet.get(key)) == values
    info = IptcImagePlugin.getiptcinfo(image) or {}
    for name, (number, key, values) in IPTC_FIELDS.items():
        found = info.get((2, number), [])
        found = [value.decode() for value in (found if isinstance(found, list) else [found])]
        result[name] = (_listed(packet.get(key)) if image.format == "PNG" else found) == values
    result["XMP DigitalSourceType (ours)"] = packet.get("DigitalSourceType") == xmp.DIGITAL_SOURCE_TYPE
    return result


def _listed(value: str | dict | None) -> list[str]:
    """An XMP property as Pillow has it: a text, or a list of texts, some of them with their language."""
    items = next(iter(value.values()))["li"] if isinstance(value, dict) else value or []
    return [
        item["text"] if isinstance(item, dict) else item for item in (items if isinstance(items, list) else [items])
    ]


def _text(fields: dict, key: str) -> str:
    text = fields[key].printable if key in fields else ""
    return text.encode("latin-1").decode() if "Ã" in text else text  # bytes beyond ASCII are shown one by one


def _declares_srgb(image: Image.Image) -> bool:
    if image.format == "PNG":
        return "srgb" in image.info
    return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])))


def _is_expected_colour(kind: str, image: Image.Image) -> bool:
    """Whether it is the scan's colour as LittleCMS converts it, give or take JPEG's losses in both files."""
    grey = kind == "TIFF 16"
    stored = Image.new("L" if grey else "RGB", (1, 1), DEEP_LEVEL >> 8 if grey else COLOUR)
    name, options = ("gray", {"gamma": 1.8}) if grey else ("adobergb", {})
    profile = ImageCms.ImageCmsProfile(io.BytesIO(imagecodecs.cms_profile(name, **options)))
    srgb = ImageCms.createProfile("sRGB")
    want = ImageCms.profileToProfile(stored, profile, srgb, outputMode="RGB").getpixel((0, 0))
    return np.abs(np.subtract(image.convert("RGB").getpixel((5, 5)), want)).max() <= 4
