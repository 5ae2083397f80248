import hashlib
import io
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from colorize_core import encoding, photo, xmp

MADE = xmp.Provenance("colorize", "1.0 <&> model", "ab" * 32)
FORMATS = ("png", "jpeg", "tiff")
PIXELS = np.zeros((8, 8, 3), np.uint8)

PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 9">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:archive="http://archive.example/terms/"
 dc:format="image/tiff" tiff:Orientation="6" tiff:Make="Graflex" photoshop:ColorMode="1" photoshop:City="Nipomo"
 xmpMM:DocumentID="xmp.did:scan" xmpMM:InstanceID="xmp.iid:scan" crs:Exposure2012="+1.00" archive:shelf="LOT 123"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm">
<dc:title><rdf:Alt>
<rdf:li xml:lang="x-default">Åse &amp; Ole</rdf:li><rdf:li xml:lang="de">Ase</rdf:li></rdf:Alt></dc:title>
<dc:source>Glass plate 7</dc:source>
<dc:subject><rdf:Bag><rdf:li>lake</rdf:li><rdf:li>boat</rdf:li></rdf:Bag></dc:subject>
<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description>
<rdf:Description rdf:about="" xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/">
<xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="x-default">Ask first</rdf:li></rdf:Alt></xmpRights:UsageTerms>
</rdf:Description>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def scan(kind: str, packet: bytes = PACKET, orientation: int = 1) -> bytes:
    """Written by Pillow, (20, 40) as stored."""
    file, exif, text = io.BytesIO(), Image.Exif(), PngInfo()
    exif[274] = orientation
    text.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    options = {
        "PNG": {"pnginfo": text, "exif": exif},
        "TIFF": {"tiffinfo": {700: packet, 274: orientation}},
        "JPEG": {"xmp": packet, "exif": exif},
        "WEBP": {"xmp": packet, "exif": exif},
    }[kind]
    Image.new("L", (40, 20), 90).save(file, kind, **options)
    return file.getvalue()


def described(content: bytes) -> dict:
    """The properties that Pillow finds."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.getxmp()["xmpmeta"]["RDF"]["Description"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_what_a_scan_says_arrives_beside_our_label(kind, format):
    scanned = photo.read(scan(kind))
    found = described(encoding.encode(scanned.rgb, format, xmp=xmp.labelled(scanned.xmp, MADE)))
    assert found["title"]["Alt"]["li"][0] == {"lang": "x-default", "text": "Åse & Ole"}
    assert found["title"]["Alt"]["li"][1] == {"lang": "de", "text": "Ase"}
    assert found["subject"]["Bag"]["li"] == ["lake", "boat"]
    assert found["UsageTerms"]["Alt"]["li"]["text"] == "Ask first"
    assert (found["City"], found["Make"], found["shelf"]) == ("Nipomo", "Graflex", "LOT 123")
    assert found["DigitalSourceType"] == xmp.DIGITAL_SOURCE_TYPE, "the older value is replaced"
    assert found["AISystemUsed"] == "colorize" and found["AISystemVersionUsed"] == "1.0 <&> model"
    assert found["source"] == "Glass plate 7", "where it comes from is for the archive to say"


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_not_coloured_keeps_its_words_and_gets_no_label(format):
    scanned = photo.read(scan("TIFF"))
    content = encoding.encode(scanned.rgb, format, xmp=xmp.labelled(scanned.xmp, None))
    found = described(content)
    assert found["DigitalSourceType"].endswith("/negativeFilm") and "AISystemUsed" not in found
    assert found["City"] == "Nipomo" and b"TrainedAlgorithmicMedia" not in content
    assert xmp.labelled(None, None) is None


def test_what_would_be_untrue_of_the_new_file_is_left_out():
    kept = xmp.kept(PACKET)
    for gone in (b"Orientation", b"Thumbnails", b"crs:", b"camera-raw", b"ColorMode", b"dc:format", b"image/tiff"):
        assert gone not in kept
    found = described(encoding.encode(PIXELS, "png", xmp=kept))
    assert "DocumentID" not in found and "InstanceID" not in found, "they name the scan"
    assert found["DerivedFrom"] == {"parseType": "Resource", "documentID": "xmp.did:scan", "instanceID": "xmp.iid:scan"}
    assert found["OriginalDocumentID"] == "xmp.did:scan"
    assert xmp.kept(kept) == kept, "once"


def test_regions_are_left_out_where_the_picture_was_turned():
    region = b'<mwg-rs:Regions xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/">x</mwg-rs:Regions>'
    packet = PACKET.replace(b"<dc:source>", region + b"<dc:source>").replace(b'tiff:Orientation="6"', b"")
    for kind in ("JPEG", "PNG", "TIFF"):
        assert b"mwg-rs:Regions" in photo.read(scan(kind, packet, 1)).xmp
        turned = photo.read(scan(kind, packet, 6))
        assert b"mwg-rs:Regions" not in turned.xmp and b"Nipomo" in turned.xmp


def test_without_words_of_the_scan_the_packet_is_what_it_always_was():
    digest = hashlib.sha256(xmp.labelled(None, xmp.Provenance("colorize", "1.0", "ab" * 32))).hexdigest()
    assert digest == "c6039266359889e24c28f8e3c443e16a46bf1076f4ab9ae291ce7cbd896511f1"


def test_every_page_of_a_tiff_keeps_its_own():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for place in (b"Nipomo", None, b"Oslo"):
            packet = PACKET.replace(b"Nipomo", place) if place else b""
            tags = [(700, 1, len(packet), packet, True)] if place else []
            tiff.write(np.zeros((20, 30), np.uint16), photometric="minisblack", extratags=tags, metadata=None)
    pages = [replace(page, pixels=page.rgb) for page in photo.pages(file.getvalue())]
    again = list(photo.pages(encoding.encode_tiff(pages)))
    for page in pages, again:
        assert [b"Nipomo" in (p.xmp or b"") for p in page] == [True, False, False]
        assert [b"Oslo" in (p.xmp or b"") for p in page] == [False, False, True]
    assert again[1].xmp is None


HOSTILE = {
    "bomb": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + PACKET.replace(b"lake", b"&b;"),
    "file": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + PACKET.replace(b"lake", b"&a;"),
    "undeclared": PACKET.replace(b"lake", b"&a;"),
    "cut": PACKET[: len(PACKET) // 2],
    "nonsense": b"\x00\x01\x02 not XML at all",
    "no RDF": b"<a><b/></a>",
    "deep": b"<a>" * 100_000,
    "empty": b"",
    "large": PACKET.replace(b"lake", b"x" * xmp.MAX_BYTES),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_hostile_and_damaged_xmp_costs_neither_the_photograph_nor_the_label(kind, name):
    started = time.thread_time()
    scanned = photo.read(scan(kind, HOSTILE[name]))
    assert scanned.pixels.shape == (20, 40) and scanned.xmp is None
    found = described(encoding.encode(scanned.rgb, "png", xmp=xmp.labelled(scanned.xmp, MADE)))
    assert found["DigitalSourceType"] == xmp.DIGITAL_SOURCE_TYPE and "title" not in found
    assert time.thread_time() - started < 2


def test_more_properties_than_a_packet_has_are_not_carried():
    """They would take seconds."""
    body = b"".join(b"<dc:a%d/>" % i for i in range(xmp.MAX_BYTES // 14))
    started = time.thread_time()
    assert xmp.kept(PACKET.replace(b"<dc:source>", body + b"<dc:source>")) is None
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("encoding_", ["utf-16-be", "utf-16-le", "utf-16", "utf-8-sig"])
def test_packets_in_other_encodings_are_read(encoding_):
    packet = xmp.kept(PACKET.decode().encode(encoding_))
    assert "Åse &amp; Ole".encode() in packet


def test_a_packet_beyond_64_kb_continues_in_an_extension():
    words = "x" * 150_000
    packet = PACKET.replace(b"Glass plate 7", words.encode())
    content = encoding.encode(PIXELS, "jpeg", xmp=xmp.labelled(xmp.kept(packet), MADE))
    assert described(content)["City"] == "Nipomo" and words not in str(described(content)), "Pillow reads the standard"
    assert described(content)["DigitalSourceType"] == xmp.DIGITAL_SOURCE_TYPE
    read = photo.read(content)
    assert words.encode() in read.xmp and b"Nipomo" in read.xmp and b"HasExtendedXMP" not in read.xmp
    for format in ("png", "tiff"):
        assert words in described(encoding.encode(PIXELS, format, xmp=read.xmp))["source"]
    # Parts of another packet's extension, or none at all, are not taken for it.
    foreign = content.replace(b"http://ns.adobe.com/xmp/extension/\0", b"http://ns.adobe.com/xmp/extension/\0" + b"0")
    assert words.encode() not in photo.read(foreign).xmp and b"Nipomo" in photo.read(foreign).xmp


def test_many_small_properties_are_split_in_one_pass():
    body = b"".join(b"<dc:a%d>%s</dc:a%d>" % (i, b"x" * 300, i) for i in range(xmp.MAX_PROPERTIES - 50))
    packet = xmp.labelled(xmp.kept(PACKET.replace(b"<dc:source>", body + b"<dc:source>")), MADE)
    started = time.thread_time()
    standard, extension = xmp.split(packet)
    assert time.thread_time() - started < 5
    assert len(standard) <= 65_502 < len(extension) and b"AISystemUsed" in standard
    assert len(photo.read(encoding.encode(PIXELS, "jpeg", xmp=packet)).xmp) > 1_500_000
