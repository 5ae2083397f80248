"""EXIF: which tags a photograph keeps, and the TIFF directories (IFDs) that carry them from file to file.

Values are carried as the bytes they are, so that types, rationals, encodings and maker notes stay what they were.
A *block* is a TIFF file without pixels (CIPA DC-008, 4.5): a header, IFD0, and the Exif and GPS directories it points
to. The layouts are those of TIFF 6.0, section 2, and of BigTIFF.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from PIL import ExifTags

BYTE, SHORT, LONG, RATIONAL, UNDEFINED, IFD, LONG8, IFD8 = 1, 3, 4, 5, 7, 13, 16, 18
# Type -> numpy's, little-endian, of a value; a rational is a pair.
_DTYPES = {
    kind: np.dtype(code)
    for kind, code in {
        1: "u1", 2: "u1", 3: "<u2", 4: "<u4", 5: "2<u4", 6: "i1", 7: "u1", 8: "<i2", 9: "<i4", 10: "2<i4", 11: "<f4",
        12: "<f8", 13: "<u4", 16: "<u8", 18: "<u8",
    }.items()
}  # fmt: skip
_SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)

# Tags that describe how a file stored its pixels, untrue of the photograph once it is stored anew.
_STORAGE_TAGS = {
    *range(254, 260), 262, 263, 266, 273, 274, 277, 278, 279, 284, 292, 293, 301, 317, 318, 319, 320, 322, 323, 324,
    325, 330, 332, 338, 339, 347, 512, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724, 40961, 40962,
    40963, 40965,
}  # fmt: skip


class Field(NamedTuple):
    """The value of one tag."""

    type: int
    data: bytes
    """Little-endian, one value after the other."""


Directory = dict[int, Field]


def integers(field: Field | None) -> tuple[int, ...]:
    """The values of a field of unsigned integers; none where there is no such field."""
    if field is None or field.type not in (BYTE, SHORT, LONG, IFD, LONG8, IFD8):
        return ()
    return tuple(np.frombuffer(field.data, _DTYPES[field.type]).tolist())


def rationals(field: Field | None) -> tuple[float, ...]:
    """The values of a field of unsigned rationals; none where there is no such field, or one is divided by zero."""
    if field is None or field.type != RATIONAL:
        return ()
    pairs = np.frombuffer(field.data, np.uint32).reshape(-1, 2).tolist()
    return tuple(above / below for above, below in pairs) if all(below for _, below in pairs) else ()


class Directories(NamedTuple):
    """IFD0 and what it points to."""

    main: Directory
    sub: dict[int, Directory]
    """Under the tag that points to them: Exif and GPS, where there are any."""


def kept(found: Directories) -> bytes | None:
    """The block of the tags that stay true of a photograph, little-endian; None where there are none.

    Left out are orientation, thumbnail and all else that describes stored pixels, pointers, and what has a place of
    its own in ``Photo`` (XMP, IPTC). The colour space is said to be sRGB.
    """
    sub = {tag: true for tag, directory in found.sub.items() if (true := _true_of_any_file(directory))}
    if ExifTags.IFD.Exif in sub:
        sub[ExifTags.IFD.Exif][ExifTags.Base.ColorSpace] = Field(SHORT, b"\1\0")  # sRGB
    found = Directories(_true_of_any_file(found.main), sub)
    return block_of(found) if found.main or found.sub else None


def _true_of_any_file(directory: Directory) -> Directory:
    return {
        tag: field
        for tag, field in directory.items()
        if tag not in _STORAGE_TAGS and field.type not in (IFD, LONG8, IFD8)
    }


def parse(data: bytes, offset: int | None = None) -> Directories:
    """The directory at ``offset``, or the first one, of a TIFF or BigTIFF file or a block, and its sub-directories.

    Raises ``struct.error`` or ``KeyError`` where there is none.
    """
    file = _File(data)
    return file.directories(file.first if offset is None else offset)[0]


def chain(data: bytes) -> Iterator[Directories]:
    """The main directories of a TIFF or BigTIFF file, one after the other; ends where the chain is damaged."""
    file = _File(data)
    offset, seen = file.first, {0}
    with suppress(struct.error):
        while offset not in seen:
            seen.add(offset)
            directories, offset = file.directories(offset)
            yield directories


class _Layout(NamedTuple):
    """What tells TIFF from BigTIFF, and the byte orders: formats of ``struct``, their order of bytes included."""

    entries: struct.Struct
    entry: struct.Struct
    offset: struct.Struct

    @classmethod
    def of(cls, data: bytes) -> "_Layout":
        order = {b"II": "<", b"MM": ">"}[data[:2]]
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        return cls(*(struct.Struct(order + code) for code in (("Q", "HHQ8s", "Q") if big else ("H", "HHL4s", "L"))))


class _File:
    """A TIFF file whose directories are being read."""

    def __init__(self, data: bytes):
        self.data, self.layout = data, _Layout.of(data)
        (self.first,) = self.layout.offset.unpack_from(data, self.layout.offset.size)
        self.room = len(data)  # for values: else a bomb of directories that share theirs multiplies them

    def directories(self, offset: int) -> tuple[Directories, int]:
        """The directory at ``offset`` with what it points to, and the offset of the next one; 0 where there is none."""
        main, following = self._read(offset)
        sub: dict[int, Directory] = {}
        for tag in _SUB_DIRECTORIES:
            if tag in main:
                with suppress(struct.error):
                    sub[tag], _ = self._read(int.from_bytes(main.pop(tag).data, "little"))
        return Directories(main, sub), following

    def _read(self, offset: int) -> tuple[Directory, int]:
        data, layout = self.data, self.layout
        if offset > len(data):  # it may be larger than an offset that struct knows
            raise struct.error("a directory beyond the end")
        (entries,) = layout.entries.unpack_from(data, offset)
        offset += layout.entries.size
        directory: Directory = {}
        swapped = layout.entries.format[0] == ">"
        for start in range(offset, offset + entries * layout.entry.size, layout.entry.size):
            tag, kind, count, value = layout.entry.unpack_from(data, start)
            if kind not in _DTYPES:
                continue
            dtype = _DTYPES[kind]
            size = count * dtype.itemsize
            if size > len(value):
                (value_at,) = layout.offset.unpack(value)
                value = data[value_at : value_at + size] if size <= self.room else b""
                self.room -= len(value)
            if len(value) < size:  # cut short
                continue
            value = value[:size]
            if swapped:
                value = np.frombuffer(value, dtype.base).byteswap().tobytes()
                if tag == ExifTags.Base.UserComment and value.startswith(b"UNICODE\0"):  # in the order of its file
                    value = value[:8] + np.frombuffer(value[8 : size // 2 * 2], np.uint16).byteswap().tobytes()
            directory.setdefault(tag, Field(kind, value))  # of a tag that comes twice readers take the first
        end = offset + entries * layout.entry.size
        following = data[end : end + layout.offset.size].ljust(layout.offset.size, b"\0")  # some lack the last one
        return directory, layout.offset.unpack(following)[0]


def packed(directories: Directories, position: int, big: bool = False, more: bool = False) -> bytes:
    """Directories as they stand in a little-endian file at byte ``position``, which must be even.

    ``big`` makes it BigTIFF; with ``more``, the next page's directory follows at once.
    """
    pointer, code = (LONG8, "<Q") if big else (LONG, "<L")
    main = directories.main | dict.fromkeys(directories.sub, Field(pointer, struct.pack(code, 0)))
    end = position + len(_packed(main, position, 0, big))
    bodies = []
    for tag, directory in directories.sub.items():
        main[tag] = Field(pointer, struct.pack(code, end))
        bodies.append(_packed(directory, end, 0, big))
        end += len(bodies[-1])
    return _packed(main, position, end if more else 0, big) + b"".join(bodies)


def _packed(directory: Directory, position: int, following: int, big: bool) -> bytes:
    inline, offset = (8, "<Q") if big else (4, "<L")
    values_at = position + (8 if big else 2) + len(directory) * (20 if big else 12) + inline
    entries, values = [struct.pack("<Q" if big else "<H", len(directory))], io.BytesIO()
    for tag, (kind, data) in sorted(directory.items()):
        count = len(data) // _DTYPES[kind].itemsize
        entries.append(struct.pack("<HHQ" if big else "<HHL", tag, kind, count))
        if len(data) <= inline:
            entries.append(data.ljust(inline, b"\0"))
        else:
            entries.append(struct.pack(offset, values_at + values.tell()))
            values.write(data + b"\0" * (len(data) % 2))
    return b"".join([*entries, struct.pack(offset, following), values.getvalue()])


def block_of(directories: Directories) -> bytes:
    """A block, without the "Exif" prefix."""
    return b"II*\0\x08\0\0\0" + packed(directories, 8)


def shortened(block: bytes, limit: int) -> bytes:
    """The block at no more than ``limit`` bytes: the largest values go first, such as a maker note."""
    if len(block) <= limit:
        return block
    directories = parse(block)
    while len(block := block_of(directories)) > limit:
        fields = [(directory, tag) for directory in (directories.main, *directories.sub.values()) for tag in directory]
        directory, tag = max(fields, key=lambda field: len(field[0][field[1]].data))
        del directory[tag]
    return block


def with_orientation(block: bytes | None, orientation: int) -> bytes | None:
    """The block with word of how a file's pixels are to be turned, 1 to 8; 1, upright, goes without saying."""
    if orientation == 1:
        return block
    directories = parse(block) if block else Directories({}, {})
    directories.main[ExifTags.Base.Orientation] = Field(SHORT, struct.pack("<H", orientation))
    return block_of(directories)
