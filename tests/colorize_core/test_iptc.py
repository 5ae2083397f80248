import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, IptcImagePlugin

from colorize_core import encoding, exif, iptc, photo, xmp

PIXELS = np.zeros((8, 8, 3), np.uint8)


def dataset(record: int, number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


RECORDS = b"".join(
    dataset(2, number, value.encode())
    for number, value in [
        (0, "\0\4"),
        (5, "Plate 7"),
        (25, "lake"),
        (25, "boat"),
        (55, "19360309"),
        (60, "115800-0800"),
        (80, "Dorothea Lange"),
        (90, "Nipomo"),
        (101, "USA"),
        (105, "Destitute"),
        (110, "FSA"),
        (116, "Public domain"),
        (120, "Åse on the lake"),
    ]
)


def tiff(tag: int, kind: int, value: bytes, byteorder: str = "<") -> bytes:
    file = io.BytesIO()
    count = len(value) // {1: 1, 4: 4, 7: 1}[kind]
    tags = [(tag, kind, count, value, True)]
    tifffile.imwrite(file, PIXELS, photometric="rgb", byteorder=byteorder, extratags=tags, metadata=None)
    return file.getvalue()


def jpeg(*segments: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", extra=b"".join(segments))
    return file.getvalue()


def app13(resources: bytes) -> bytes:
    body = b"Photoshop 3.0\0" + resources
    return struct.pack(">BBH", 0xFF, 0xED, len(body) + 2) + body


RESOURCES = (
    b"8BIM\x03\xed\0\0" + struct.pack(">L", 3) + b"abc\0"  # of an odd length, padded
    + b"8BIM\x04\x0c\x03abc" + struct.pack(">L", 2) + b"xy"  # with a name
    + b"8BIM\x04\x04\0\0" + struct.pack(">L", len(RECORDS)) + RECORDS + bytes(len(RECORDS) % 2)
)  # fmt: skip


@pytest.mark.parametrize(
    "scan",
    [
        jpeg(app13(RESOURCES)),
        tiff(33723, 7, RECORDS),
        tiff(33723, 1, RECORDS, ">"),
        tiff(33723, 4, RECORDS + bytes(-len(RECORDS) % 4)),
        tiff(33723, 4, RECORDS + bytes(-len(RECORDS) % 4), ">"),
        tiff(34377, 7, RESOURCES),
    ],
    ids=["JPEG", "TIFF", "TIFF, bytes", "TIFF, numbers", "TIFF, swapped numbers", "TIFF, Photoshop"],
)
def test_records_arrive_as_they_are(scan):
    read = photo.read(scan)
    assert read.iptc.rstrip(b"\0") == RECORDS
    for format in ("jpeg", "tiff"):
        content = encoding.encode(read.rgb, format, iptc=read.iptc)
        info = IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(content)))
        assert info[(2, 120)].decode() == "Åse on the lake" and info[(2, 25)] == [b"lake", b"boat"]
        assert photo.read(content).iptc.rstrip(b"\0") == RECORDS


def test_png_has_them_as_xmp_where_xmp_lacks_them():
    packet = xmp.with_iptc(None, RECORDS)
    found = described(encoding.encode(PIXELS, "png", iptc=RECORDS))
    assert found["title"]["Alt"]["li"] == {"lang": "x-default", "text": "Plate 7"}
    assert found["description"]["Alt"]["li"]["text"] == "Åse on the lake"
    assert found["rights"]["Alt"]["li"]["text"] == "Public domain"
    assert found["subject"]["Bag"]["li"] == ["lake", "boat"]
    assert found["creator"]["Seq"]["li"] == "Dorothea Lange"
    assert (found["City"], found["Country"], found["Headline"], found["Credit"]) == (
        "Nipomo",
        "USA",
        "Destitute",
        "FSA",
    )
    assert found["DateCreated"] == "1936-03-09T11:58:00-08:00"
    assert xmp.with_iptc(packet, RECORDS.replace(b"Nipomo", b"Berlin")) == packet, "what XMP says stands"
    made = xmp.labelled(None, xmp.Provenance("colorize", "1", "ab" * 32))
    both = described(encoding.encode(PIXELS, "png", xmp=made, iptc=RECORDS))
    assert both["City"] == "Nipomo" and both["AISystemUsed"] == "colorize"


def described(content: bytes) -> dict:
    return Image.open(io.BytesIO(content)).getxmp()["xmpmeta"]["RDF"]["Description"]


@pytest.mark.parametrize(
    "value, declared, text",
    [
        ("Åse".encode(), True, "Åse"),
        ("Åse".encode(), False, "Åse"),
        ("Åse".encode("cp1252"), False, "Åse"),
        (b"Dalarna\0\x07", False, "Dalarna"),
    ],
)
def test_encodings(value, declared, text):
    records = dataset(1, 90, b"\x1b%G") * declared + dataset(2, 120, value)
    found = described(encoding.encode(PIXELS, "png", iptc=records))
    assert found["description"]["Alt"]["li"]["text"] == text


@pytest.mark.parametrize(
    "day, time, date",
    [("19360309", "", "1936-03-09"), ("19360000", "", "1936"), ("19360300", "", "1936-03"), ("c. 1936", "", "c. 1936")],
)
def test_dates_say_as_much_as_is_known(day, time, date):
    assert xmp._date(day, time) == date


@pytest.mark.parametrize("damaged", [b"", b"\x1c", RECORDS[:-5], b"\x1c\2\x78\xff\xff" + b"x", bytes(100), b"8BIM" * 9])
def test_damaged_records_cost_nothing(damaged):
    for scan in (jpeg(app13(b"8BIM\x04\x04\0\0" + struct.pack(">L", 99) + damaged)), tiff(33723, 7, damaged + b"\0")):
        read = photo.read(scan)
        assert read.pixels.shape == (8, 8, 3)
        for format in ("png", "jpeg", "tiff"):
            assert photo.read(encoding.encode(read.rgb, format, iptc=read.iptc)).pixels.shape == (8, 8, 3)
    iptc.datasets(damaged)


def test_records_beyond_64_kb_take_several_segments_of_a_jpeg():
    large = RECORDS + b"".join(dataset(2, 202, bytes([i]) * 30_000) for i in range(5))
    content = encoding.encode(PIXELS, "jpeg", iptc=large)
    assert photo.read(content).iptc == large
    assert Image.open(io.BytesIO(content)).size == (8, 8)


def test_they_have_one_place():
    """Not among EXIF's tags too, which TIFF keeps in the same directory."""
    block = exif.parse(photo.read(tiff(33723, 7, RECORDS)).exif or exif.block_of(exif.Directories({}, {})))
    assert 33723 not in block.main
