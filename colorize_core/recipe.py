"""What it takes to write a JPEG scan's own file again from the colour photograph that was made beside its luma.

That photograph has the scan's luma coefficients. All else of the file, byte for byte, is its recipe: headers and
tables, the bits of chroma and of what pads units, and what follows the end. Luma's bits follow from its coefficients,
the tables and the restart interval, if the scan's encoder wrote them as encoders do. That is seen while they are
decoded; of a progressive file, all of whose choices are seen by none but its encoder, by writing them as libjpeg does.
Where it is not so there is no recipe, and none where it would take more than ``SHARE`` of the scan.

The photograph has the scan's SHA-256 in any case, and behind it the recipe, deflated, in a JUMBF box "colorize scan"
(ISO/IEC 19566-5), the standard's place for what one program keeps for itself: segments APP11.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib

from colorize_core import jpeg, xmp
from colorize_core.jpeg import Jpeg, Settings, Unsuitable

SHARE, FEW = 0.25, 2048
"""Of a scan's bytes, what its recipe may take; so many it may take in any case."""

_APP11 = 0xEB
_NUMBER = b"JP" + struct.pack(">H", 0x6373)  # of the box among others: any, but the same in all its segments
_UUID_BOX = bytes.fromhex("7575696400110010800000aa00389b71")  # the type of a box that has a UUID and data of its own
_OURS = bytes.fromhex("2c4f1d0e8a5b4c0b9d5e6f0a7c3b1e42")
_VERSION = 1
_HEAD = 33  # bytes of version and digest
_COUNT = struct.Struct(">L")
_PART = 65533 - 16  # bytes of a box in a segment, beside what says whose they are
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_OF_COLOURS = (_NUMBER, b"ICC_PROFILE\0", b"Adobe\0")


class NotRestorable(ValueError):
    """A photograph that its scan does not come back from; the message says why."""


class NoLuma(NotRestorable):
    """It was not made beside the luma of a JPEG scan."""


def of(scan: bytes, stored: Jpeg) -> list[bytes]:
    """What a photograph that gets the luma of ``scan`` is to have of it: marker segments, at least one.

    ``stored`` is what ``jpeg.read`` gives of ``scan``.
    """
    body = bytes([_VERSION]) + hashlib.sha256(scan).digest()
    recipe = _recipe(scan, stored)
    if recipe is not None and len(recipe) <= _most(stored):
        packed = isal_zlib.compress(recipe, 2)
        body += packed if len(packed) <= max(FEW, SHARE * len(scan)) else b""
    return _boxed(body)


def restore(photograph: bytes) -> tuple[bytes, bool]:
    """The scan's file, and whether it is that byte for byte; if not, it is a grey JPEG with its luma coefficients.

    Raises ``NotRestorable``.
    """
    try:
        found = list(segments(photograph))
        if (body := _unboxed(found)) is None:
            raise NoLuma("it was not made beside the luma of a JPEG scan")
        if len(body) < _HEAD or body[0] != _VERSION:
            raise NotRestorable("what it has of its scan is damaged, or of a later version of this program")
        stored = jpeg.read(photograph)
        if len(body) == _HEAD:
            return _grey(stored, found), False
    except Unsuitable as error:
        raise NotRestorable(f"it is damaged ({error}): restore it from a copy") from error
    try:
        recipe = zlib.decompressobj().decompress(body[_HEAD:], _most(stored))
        data = _cooked(recipe, stored.luma.coefficients.reshape(-1))
    except (zlib.error, Unsuitable, struct.error) as error:
        raise NotRestorable(f"what it has of its scan is damaged ({error}): restore it from a copy") from error
    if data is None or hashlib.sha256(data).digest() != body[1:_HEAD]:
        raise NotRestorable("its luma is no longer that of its scan: restore it from a copy")
    return data, True


def _boxed(body: bytes) -> list[bytes]:
    """Segments with a superbox of a description and a UUID box, whose head each of them repeats (19566-5, A, B, D)."""
    description = _box(b"jumd", _UUID_BOX + b"\3colorize scan\0")
    box = _box(b"jumb", description + _box(b"uuid", _OURS + body))
    parts = [box[8:][start : start + _PART] for start in range(0, len(box) - 8, _PART)]
    return [jpeg.segment(_APP11, _NUMBER + struct.pack(">L", i) + box[:8] + part) for i, part in enumerate(parts, 1)]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(body), kind) + body


def _unboxed(found: list[tuple[int, bytes]]) -> bytes | None:
    """The reverse, of a file's segments; None where there is no such box."""
    parts = [body for code, body in found if code == _APP11 and body.startswith(_NUMBER)]
    box = b"".join(body[16:] for body in sorted(parts, key=lambda body: body[4:8]))
    _, ours, body = box.partition(_OURS)
    return body if ours else None


def _most(stored: Jpeg) -> int:
    """Bytes that a recipe may have once it is inflated, so that it takes no memory beyond what coefficients take."""
    return stored.luma.coefficients.nbytes + (1 << 20)


def _recipe(scan: bytes, stored: Jpeg) -> bytes | None:
    """For each scan of the file what comes before its bits, how many bytes these are, and whether they follow; then
    the bits themselves or, where they are luma's, what ``blocks.decoded`` has put aside. In the end the rest."""
    pieces, at, luma = [], 0, stored.luma.coefficients.reshape(-1)
    for part in stored.scans:
        settings, size = part.settings, part.end - part.start
        if not (follow := _has_luma(settings)):
            bits = scan[part.start : part.end]
        elif part.aside is None or (
            _of_band(settings) and _bits(settings, luma, b"", size) != scan[part.start : part.end]
        ):
            return None
        else:
            bits = part.aside
        pieces += [_COUNT.pack(part.start - at), scan[at : part.start]]
        pieces += [struct.pack(">LB", size, follow), _COUNT.pack(len(bits)), bits]
        at = part.end
    return b"".join([*pieces, _COUNT.pack(len(scan) - at), scan[at:]])


def _cooked(recipe: bytes, luma: np.ndarray) -> bytes | None:
    """The file; None where luma is not its scan's. Raises ``Unsuitable`` and ``struct.error`` for what is no recipe."""
    headers: list[bytes] = []
    pieces: list[bytes] = []
    at = 0

    def taken() -> bytes:
        nonlocal at
        begin = at + _COUNT.size
        at = begin + _COUNT.unpack_from(recipe, at)[0]
        return recipe[begin:at]

    while True:
        headers.append(taken())
        pieces.append(headers[-1])
        if at >= len(recipe):
            return b"".join(pieces)
        size, follow = struct.unpack_from(">LB", recipe, at)
        at += 5
        bits = taken()
        if follow:
            bits = _bits(_last_settings(headers), luma, bits, size) or b""
        if len(bits) != size:
            return None
        pieces.append(bits)


def _last_settings(headers: list[bytes]) -> Settings:
    """What the last of some headers, of a scan each, says of its scan. Raises ``Unsuitable``."""
    reader, found = jpeg.Reader(b"".join(headers)), []
    for code, body in reader.segments():
        if code == jpeg.SOS:
            found.append(reader.settings(body))
            if len(found) == len(headers):
                break
        else:
            reader.take(code, body)
    if len(found) < len(headers):
        raise Unsuitable("a scan is missing")
    return found[-1]


def _has_luma(settings: Settings) -> bool:
    return not settings.layout[:, 0].all()


def _of_band(settings: Settings) -> bool:
    from colorize_core import blocks

    return settings.kind in (blocks.AC_FIRST, blocks.AC_REFINED)


def _bits(settings: Settings, luma: np.ndarray, aside: bytes, size: int) -> bytes | None:
    """Of a scan with luma, ``size`` bytes at most; None where that cannot be."""
    from colorize_core import blocks, recoding

    restart, layout, units, spectrum, kind, tables, codes = settings
    if (layout[layout[:, 0] == 0, 1:3].prod(axis=1) * 64 != len(luma)).any():
        return None
    out = np.empty(size + recoding.SPARE, np.uint8)
    if _of_band(settings):
        refined = kind == blocks.AC_REFINED
        end = recoding.band_written_again(out, spectrum, refined, restart, codes[layout[0, 6]], luma)
    else:
        spare = np.frombuffer(aside + bytes(16), np.uint8)
        end = recoding.written_again(out, layout, units, spectrum, kind, restart, codes, tables, luma, spare)
    return out[:end].tobytes() if 0 <= end <= size else None


def _grey(stored: Jpeg, found: list[tuple[int, bytes]]) -> bytes:
    """A grey JPEG of luma, with the photograph's metadata, but for its profile and word of its colours."""
    kept = []
    for code, body in found:
        if body.startswith(_XMP):
            packet = xmp.unlabelled(body[len(_XMP) :])
            kept += [jpeg.segment(code, _XMP + packet)] if packet else []
        elif 0xE0 <= code <= 0xEF and not body.startswith(_OF_COLOURS):
            kept.append(jpeg.segment(code, body))
    return jpeg.write(stored.luma, (), (stored.height, stored.width), kept)


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Of a JPEG, the markers and bodies of those before the first bits. Raises ``Unsuitable``."""
    for code, body in jpeg.Reader(data).segments():
        if code == jpeg.SOS:
            return
        yield code, body
