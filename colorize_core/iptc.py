"""IPTC-IIM, captions, names and rights of the time before XMP: where files keep the records, and what is in them.

The records are carried as the bytes they are. Layouts: IPTC-NAA Information Interchange Model 4.2, section 1.5, and
Adobe's Photoshop file formats, "Image Resource Blocks".
"""

import struct

import numpy as np

from colorize_core.exif import LONG, Field

RESOURCE = 0x0404  # among Photoshop's image resources
_APPLICATION = 2  # the record that captions and the like are in
_UTF_8 = b"\x1b%G"  # the value of 1:90, coded character set


def in_resources(resources: bytes) -> bytes | None:
    """The records in Photoshop's image resources (JPEG's APP13, TIFF's tag 34377); None where there are none."""
    position = 0
    while resources[position : position + 4] == b"8BIM":
        (kind, name_length) = struct.unpack_from(">HB", resources, position + 4)
        position += 6 + (name_length + 2) // 2 * 2  # with its length, padded to an even number of bytes
        (size,) = struct.unpack_from(">L", resources, position)
        if kind == RESOURCE:
            return resources[position + 4 : position + 4 + size] or None
        position += 4 + size + size % 2
    return None


def in_tag(field: Field) -> bytes | None:
    """The records in TIFF's tag 33723. As numbers, which some write, their bytes may lie in another order."""
    swapped = np.frombuffer(field.data, np.uint32).byteswap().tobytes() if field.type == LONG else field.data
    return next((data for data in (field.data, swapped) if data[:1] == b"\x1c"), None)


def as_resources(records: bytes) -> bytes:
    return struct.pack(">4sHHL", b"8BIM", RESOURCE, 0, len(records)) + records + bytes(len(records) % 2)


def datasets(records: bytes) -> dict[int, list[str]]:
    """The values of the application record by the numbers of their data sets; ends where the records are damaged."""
    found: list[tuple[int, int, bytes]] = []
    position = 0
    while records[position : position + 1] == b"\x1c" and position + 5 <= len(records):
        record, number, size = struct.unpack_from(">BBH", records, position + 1)
        position += 5
        if size & 0x8000:  # an extended data set: these are as many bytes of its size
            length = size & 0x7FFF
            size = int.from_bytes(records[position : position + length], "big")
            position += length
        found.append((record, number, records[position : position + size]))
        position += size
    utf_8 = (1, 90, _UTF_8) in found
    values: dict[int, list[str]] = {}
    for record, number, value in found:
        if record == _APPLICATION and number:
            values.setdefault(number, []).append(_text(value, utf_8))
    return values


def _text(value: bytes, utf_8: bool) -> str:
    """UTF-8 is common without being declared; what is neither is a Windows or Mac code page, most often 1252."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8" if utf_8 else "cp1252", "replace")
