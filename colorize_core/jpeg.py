"""A JPEG's luma as it is stored, and a colour JPEG that has it: no pixel is decoded or encoded in between.

``read`` gives the quantised coefficients of a scan; ``planes`` of chroma at half the size go beside its luma, and
``write`` makes an ordinary baseline file of the three: one interleaved scan, 4:2:0, Huffman tables of its own. Decoded
as grey, that file is the scan, pixel by pixel. Sections are those of ITU T.81, which the loops in ``blocks`` carry out.
"""

import heapq
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

LUMA_QUALITY = 95  # of what was no JPEG, in libjpeg's terms
CHROMA_QUALITY = 90

_SOI, EOI, SOS, _DQT, _DHT, _DRI, _DNL = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xDC
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {_DHT, 0xC8, 0xCC}
_SIDE = 65500  # libjpeg's limit, in pixels

# Row by row, where each frequency comes in zigzag order (figure A.6).
_ZIGZAG = np.argsort(
    sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8)), kind="stable"
)
# Annex K's tables, row by row.
_LUMA_STEPS = """
    16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
_CHROMA_STEPS = """
    17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""


class Unsuitable(ValueError):
    """A JPEG whose luma cannot be taken as it is: of another process or colour space, incomplete or damaged."""


@dataclass(frozen=True, slots=True, eq=False)
class CodedAC:
    """The AC coefficients of a plane, Huffman-coded block by block."""

    bits: np.ndarray
    """uint8, among others; some bytes follow the last."""
    places: np.ndarray
    """(blocks, 2) int64: where each block's bits begin and end."""
    counts: bytes
    """Of the table: how many codes have each length from 1 to 16."""
    symbols: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One component of a picture, as a JPEG stores it."""

    coefficients: np.ndarray
    """(rows, columns, 64) int16: quantised, of blocks of 8 x 8 samples, in zigzag order."""
    steps: np.ndarray
    """(64,) uint16: those of the quantisation, in zigzag order."""
    ac: "CodedAC | None" = None
    """As the file has it, where that is in one sequential scan."""

    def samples(self, n: int, height: int, width: int) -> np.ndarray:
        """(height, width) uint8: the component with n x n samples, 1, 2, 4 or 8, of each block; (rows * n, columns * n)
        at most. Fewer than 8 come from the lowest frequencies, as libjpeg's reduced sizes do."""
        from colorize_core import blocks

        rows, columns = self.coefficients.shape[:2]
        places = _ZIGZAG.reshape(8, 8)[:n, :n].ravel()
        plane = np.empty((height, width), np.uint8)
        steps = self.steps[places].astype(np.float32)
        blocks.sampled(self.coefficients.reshape(-1), rows, columns, n, places, steps, plane)
        return plane


class Settings(NamedTuple):
    """What headers say of a scan of the file, as ``blocks.decoded`` takes it."""

    restart: int
    layout: np.ndarray
    units: tuple[int, int]
    spectrum: tuple[int, int, int]
    kind: int
    tables: tuple[np.ndarray, ...]
    codes: np.ndarray
    """Of its tables, as ``blocks.encoded`` takes them."""


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """The entropy-coded bytes of one scan of the file."""

    start: int
    """Where they begin."""
    end: int
    settings: Settings
    aside: bytes | None
    """The bits of all that is no luma of the picture, but for a band of a progressive file. None where the others do
    not follow from coefficients and tables alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Jpeg:
    """What a JPEG stores."""

    width: int
    height: int
    planes: tuple[Plane, ...]
    """Luma, and where there is chroma Cb and Cr."""
    sampling: tuple[tuple[int, int], ...]
    """Of each plane: its factors, across and down."""
    scans: tuple[Coded, ...]
    """Those that the file is made of."""

    @property
    def luma(self) -> Plane:
        return self.planes[0]

    def picture(self, n: int, chroma: bool = False) -> np.ndarray:
        """At n eighths of its size, rounded up, n being 1, 2, 4 or 8: luma, (h, w) uint8, or with ``chroma`` R'G'B',
        (h, w, 3) uint8."""
        height, width = -(-self.height * n // 8), -(-self.width * n // 8)
        luma = self.luma.samples(n, height, width)
        if not chroma:
            return luma
        if len(self.planes) == 1:
            return np.repeat(luma[..., None], 3, axis=2)
        found = [luma]
        most = self.sampling[0]
        for plane, (across, down) in zip(self.planes[1:], self.sampling[1:], strict=True):
            scale = min(8, n * max(most[0] // across, most[1] // down))
            size = [-(-side * scale * part // (8 * whole)) for side, part, whole in
                    ((self.height, down, most[1]), (self.width, across, most[0]))]  # fmt: skip
            found.append(cv2.resize(plane.samples(scale, *size), (width, height), interpolation=cv2.INTER_AREA
                         if size[0] > height or size[1] > width else cv2.INTER_LINEAR))  # fmt: skip
        return cv2.cvtColor(cv2.merge([found[0], found[2], found[1]]), cv2.COLOR_YCrCb2RGB)


def read(data: bytes) -> Jpeg:
    """The coefficients of a JPEG of 8 bits: baseline, extended or progressive with Huffman coding, grey or Y'CbCr.

    All of it is decoded and must be as the standard has it, to its end. Raises ``Unsuitable`` for all else.
    """
    reader = Reader(data)
    for code, body in reader.segments():
        if code == SOS:
            reader.scan(reader.settings(body))
        else:
            reader.take(code, body)
    return reader.jpeg()


def is_read(data: bytes) -> bool:
    """Whether ``read`` takes a JPEG, as far as what precedes its first scan says."""
    reader = Reader(data)
    try:
        for code, body in reader.segments():
            if code == SOS:
                return reader.has_luma
            reader.take(code, body)
    except Unsuitable:
        pass
    return False


@dataclass
class _Component:
    number: int
    identifier: int
    across: int
    down: int
    table: int
    """Of its quantisation."""
    rows: int = 0
    columns: int = 0
    coefficients: np.ndarray = field(default_factory=lambda: np.empty(0, np.int16))
    steps: np.ndarray | None = None
    ac: CodedAC | None = None
    low: np.ndarray = field(default_factory=lambda: np.full(64, -1))
    """For each coefficient the lowest bit that is known; -1 where nothing is."""


class _Tables:
    """Huffman tables: 0 to 3 for DC, 4 to 7 for AC; as ``blocks`` decodes with them (F.2.2.3)."""

    def __init__(self) -> None:
        from colorize_core.blocks import SHORT

        self.short = np.zeros((8, 1 << SHORT), np.uint16)
        """Length, in the upper byte, and symbol of the code that bits begin with; 0 where it is longer than they."""
        self.lasts = np.full((8, 17), -1, np.int64)
        """The last code of each length."""
        self.offsets = np.zeros((8, 17), np.int64)
        """From a code of a length to the place of its symbol."""
        self.symbols = np.zeros((8, 256), np.uint8)
        self.codes = np.zeros((8, 256), np.int64)
        """Of each symbol, as ``code_words`` gives them."""
        self.ambiguous = False
        """Whether a table has had two codes for one symbol."""
        self.quick = np.zeros((8, 1 << SHORT), np.int32)
        """Of AC: coefficient, zeros before it (4 bits) and length (8 bits) of the code that bits begin with and of the
        number behind; 0 where both are longer than they, or no number follows."""
        self.defined: dict[int, tuple[bytes, bytes]] = {}

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.short, self.lasts, self.offsets, self.symbols, self.quick

    def define(self, number: int, counts: bytes, symbols: bytes) -> None:
        self.short[number], self.lasts[number], self.offsets[number], self.quick[number] = _looked_up(counts, symbols)
        self.symbols[number, : len(symbols)] = np.frombuffer(symbols, np.uint8)
        self.codes[number] = code_words(counts, symbols)
        self.ambiguous |= len(set(symbols)) < len(symbols)
        self.defined[number] = counts, symbols


@lru_cache(64)  # tables: most scans have those of the standard, or their scanner's
def _looked_up(counts: bytes, symbols: bytes) -> tuple[np.ndarray, ...]:
    """What a table adds to each of ``_Tables.short``, ``lasts``, ``offsets`` and ``quick``. Raises ``Unsuitable``."""
    from colorize_core.blocks import SHORT

    short, lasts, offsets = np.zeros(1 << SHORT, np.uint16), np.full(17, -1, np.int64), np.zeros(17, np.int64)
    code = place = 0
    for length, count in enumerate(counts, 1):
        if code + count > 1 << length:
            raise Unsuitable("a Huffman table has more codes than there are")
        if count:
            offsets[length], lasts[length] = place - code, code + count - 1
        if length <= SHORT:
            each = 1 << (SHORT - length)
            some = [length << 8 | symbol for symbol in symbols[place : place + count]]
            short[code * each : (code + count) * each] = np.repeat(some, each)
        code, place = (code + count) << 1, place + count
    entries = short.astype(np.int32)
    sizes = entries & 15
    rest = SHORT - (entries >> 8) - sizes  # bits behind the number
    values = np.arange(1 << SHORT) >> np.maximum(rest, 0) & ((1 << sizes) - 1)
    values -= np.where(values >> np.maximum(sizes - 1, 0), 0, (1 << sizes) - 1)
    quick = values << 12 | (entries & 0xF0) << 4 | (SHORT - rest)
    return short, lasts, offsets, np.where((entries > 0) & (sizes > 0) & (rest >= 0), quick, 0)


class Reader:
    """What the segments of a JPEG have said so far, and what its scans have given."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 2
        """Where the next segment begins, or what of it is not read."""
        self.tables = _Tables()
        self.scans: list[Coded] = []
        self.quantisation: dict[int, np.ndarray] = {}
        self.restart = 0
        self.components: list[_Component] = []
        self.width = self.height = self.frame = 0
        self.jfif = False
        self.adobe: int | None = None

    def segments(self) -> Iterator[tuple[int, bytes]]:
        """Their markers and what is in them, to the end of the picture."""
        data = self.data
        if data[:2] != b"\xff\xd8":
            raise Unsuitable("it does not begin like a JPEG")
        while True:
            if data[self.at : self.at + 1] != b"\xff":
                raise Unsuitable("a marker is missing, or the file is cut short")
            while data[self.at : self.at + 1] == b"\xff":
                self.at += 1
            code = data[self.at] if self.at < len(data) else 0
            if code == EOI:
                return
            if not 0xC0 <= code <= 0xFE or 0xD0 <= code <= 0xD8:
                raise Unsuitable(f"a marker 0x{code:02x} is out of place")
            length = int.from_bytes(data[self.at + 1 : self.at + 3], "big")
            body = data[self.at + 3 : self.at + 1 + length]
            if length < 2 or len(body) != length - 2:
                raise Unsuitable("a segment is cut short")
            self.at += 1 + length
            yield code, body

    def take(self, code: int, body: bytes) -> None:
        if code == _DHT:
            self._huffman(body)
        elif code == _DQT:
            self._quantisation(body)
        elif code == _DRI:
            self.restart = int.from_bytes(body[:2], "big")
        elif code in _FRAMES:
            self._frame(code, body)
        elif code == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
            self.jfif = True
        elif code == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            self.adobe = body[11]
        elif not 0xE0 <= code <= 0xEF and code != 0xFE:
            raise Unsuitable(f"it has a segment 0x{code:02x}, which is not read here")

    def _huffman(self, body: bytes) -> None:
        while body:
            kind, number = body[0] >> 4, body[0] & 15
            counts, count = body[1:17], sum(body[1:17])
            symbols, largest = body[17 : 17 + count], 255 if kind else 15
            if kind > 1 or number > 3 or count > 256 or len(symbols) < count or max(symbols, default=0) > largest:
                raise Unsuitable("a Huffman table is damaged")
            self.tables.define(4 * kind + number, counts, symbols)
            body = body[17 + count :]

    def _quantisation(self, body: bytes) -> None:
        while body:
            deep, number = body[0] >> 4, body[0] & 15
            size = 64 << deep
            if deep > 1 or number > 3 or len(body) < 1 + size:
                raise Unsuitable("a quantisation table is damaged")
            steps = np.frombuffer(body[1 : 1 + size], ">u2" if deep else "u1").astype(np.uint16)
            if not steps.all():
                raise Unsuitable("a quantisation table has steps of zero")
            self.quantisation[number] = steps
            body = body[1 + size :]

    def _frame(self, code: int, body: bytes) -> None:
        if code not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            raise Unsuitable("it is arithmetic-coded, lossless or hierarchical")
        if self.components:
            raise Unsuitable("it has several frames")
        bits, self.height, self.width, count = struct.unpack(">BHHB", body[:6].ljust(6, b"\0"))
        if bits != 8 or count not in (1, 3) or len(body) != 6 + 3 * count:
            raise Unsuitable(f"it has {count} components of {bits} bits")
        if not 0 < self.height <= _SIDE or not 0 < self.width <= _SIDE:
            raise Unsuitable("its size is not in its frame")
        self.frame = code
        for i in range(count):
            identifier, factors, table = body[6 + 3 * i : 9 + 3 * i]
            self.components.append(_Component(i, identifier, factors >> 4, factors & 15, table))
        luma = self.components[0]
        for component in self.components:
            if not 1 <= component.across <= luma.across <= 4 or not 1 <= component.down <= luma.down <= 4:
                raise Unsuitable("its sampling factors are out of range, or luma is not sampled the finest")
            if luma.across % component.across or luma.down % component.down:
                raise Unsuitable("its sampling factors are no multiples of each other")
            across, down = luma.across // component.across, luma.down // component.down
            component.columns, component.rows = -(-self.width // (8 * across)), -(-self.height // (8 * down))
            component.coefficients = np.zeros(component.rows * component.columns * 64, np.int16)

    def settings(self, body: bytes) -> Settings:
        """Of the scan with this header; the one before has been read."""
        from colorize_core import blocks

        count = body[0] if body else 0
        if not self.components or not 1 <= count <= 3 or len(body) != 4 + 2 * count:
            raise Unsuitable("a scan's header is damaged")
        first, last, bits = body[1 + 2 * count :]
        high, low = bits >> 4, bits & 15
        chosen, layout = [], []
        for identifier, tables in zip(body[1 : 1 + 2 * count : 2], body[2 : 2 + 2 * count : 2], strict=True):
            found = [one for one in self.components if one.identifier == identifier]
            if len(found) != 1 or found[0] in chosen or tables >> 4 > 3 or tables & 15 > 3:
                raise Unsuitable("a scan's header is damaged")
            chosen += found
            (one,) = found
            across, down = (one.across, one.down) if count > 1 else (1, 1)
            layout.append([one.number, one.rows, one.columns, down, across, tables >> 4, 4 + (tables & 15)])
        for one in chosen:
            if one.steps is None:
                if one.table not in self.quantisation:
                    raise Unsuitable("a quantisation table is missing")
                one.steps = self.quantisation[one.table]
            self._progress(one, first, last, high, low, count)
        luma = self.components[0]
        units = (chosen[0].rows, chosen[0].columns)
        if count > 1:
            units = (-(-self.height // (8 * luma.down)), -(-self.width // (8 * luma.across)))
        if first == 0:
            sequential = self.frame != _PROGRESSIVE
            kind = blocks.SEQUENTIAL if sequential else blocks.DC_REFINED if high else blocks.DC_FIRST
        else:
            kind = blocks.AC_REFINED if high else blocks.AC_FIRST
        huffman, lines = self.tables, np.array(layout, np.int64)
        return Settings(self.restart, lines, units, (first, last, low), kind, huffman.arrays, huffman.codes.copy())

    def scan(self, settings: Settings) -> None:
        """Decode the scan whose bits follow."""
        from colorize_core import blocks

        start, data, (down, across) = self.at, np.frombuffer(self.data, np.uint8), settings.units
        intervals = -(-down * across // settings.restart) if settings.restart else 1
        coded, ends = np.empty(len(data) - start + blocks.SPARE, np.uint8), np.empty(intervals, np.int64)
        self.at, there, filled = blocks.unstuffed(data, start, coded, ends)
        if self.at < 0 or there != intervals:
            raise Unsuitable("a scan is cut short, or its restart markers are out of turn")
        planes = [one.coefficients for one in self.components]
        planes += [np.empty(0, np.int16)] * (3 - len(planes))
        luma, of_luma = self.components[0], settings.layout[settings.layout[:, 0] == 0]
        with_luma = settings.kind == blocks.SEQUENTIAL and len(of_luma) > 0
        places = np.empty((luma.rows * luma.columns if with_luma else 0, 2), np.int64)
        aside = np.empty(len(coded), np.uint8)
        put, usual = blocks.decoded(coded, ends, *settings[:-1], tuple(planes), places, aside)
        if put < 0:
            raise Unsuitable("its entropy-coded data are damaged")
        follows = usual and not filled and not self.tables.ambiguous
        self.scans.append(Coded(start, self.at, settings, aside[: -(-put // 8)].tobytes() if follows else None))
        if with_luma:
            luma.ac = CodedAC(coded, places, *self.tables.defined[of_luma[0, 6]])

    def _progress(self, one: _Component, first: int, last: int, high: int, low: int, count: int) -> None:
        """Take note of what of a component is known once a scan is decoded; only what the standard allows (G.1.1.1)."""
        if self.frame != _PROGRESSIVE:
            right = (first, last, high, low) == (0, 63, 0, 0)
        elif first == 0:
            right = last == 0
        else:
            right = first <= last < 64 and count == 1 and one.low[0] >= 0
        band = one.low[first : last + 1]
        if not right or low > 9 or (high and high != low + 1) or not (band == (high or -1)).all():
            raise Unsuitable("its scans are out of order")
        one.low[first : last + 1] = low

    def jpeg(self) -> Jpeg:
        """Once all is read."""
        if not self.components or self.components[0].low.any() or any(one.low[0] for one in self.components):
            raise Unsuitable("scans are missing")
        if not self.has_luma:
            raise Unsuitable("it is RGB")
        planes = []
        for one in self.components:
            assert one.steps is not None
            planes.append(Plane(one.coefficients.reshape(one.rows, one.columns, 64), one.steps, one.ac))
        factors = tuple((one.across, one.down) for one in self.components)
        return Jpeg(self.width, self.height, tuple(planes), factors, tuple(self.scans))

    @property
    def has_luma(self) -> bool:
        """Whether it is grey or Y'CbCr, as libjpeg guesses it."""
        if len(self.components) < 3 or self.jfif:
            return bool(self.components)
        if self.adobe is not None:
            return self.adobe != 0
        return bytes(one.identifier for one in self.components) != b"RGB"


def plane(samples: np.ndarray, steps: np.ndarray) -> Plane:
    """(H, W) uint8, transformed and quantised with ``steps``."""
    from colorize_core import blocks

    rows, columns = (-(-side // 8) for side in samples.shape)
    coefficients = np.empty((rows, columns, 64), np.int16)
    divisors = steps[_ZIGZAG].astype(np.float32)
    pixels = np.ascontiguousarray(samples)
    blocks.transformed(pixels, _ZIGZAG, divisors, rows, columns, coefficients.reshape(-1))
    return Plane(coefficients, steps)


def luma_steps(quality: int = LUMA_QUALITY) -> np.ndarray:
    """Annex K's, scaled as libjpeg does; (64,) uint16 in zigzag order."""
    return _scaled(_LUMA_STEPS, quality)


def chroma_steps(quality: int = CHROMA_QUALITY) -> np.ndarray:
    return _scaled(_CHROMA_STEPS, quality)


@lru_cache
def _scaled(text: str, quality: int) -> np.ndarray:
    percent = 200 - 2 * quality if quality >= 50 else 5000 // quality
    steps = np.empty(64, np.uint16)
    steps[_ZIGZAG] = np.clip((np.array(text.split(), int) * percent + 50) // 100, 1, 255)
    return steps


def write(
    luma: Plane, chroma: Sequence[np.ndarray] | np.ndarray, size: tuple[int, int], segments: Iterable[bytes] = ()
) -> bytes:
    """A baseline JPEG of ``size`` (height, width) with this luma as it is: 4:2:0, or grey where there is no chroma.

    ``chroma`` are Cb and Cr, uint8, of half the height and width, rounded up, in places between pairs of luma's
    (JFIF). ``segments`` are whole marker segments that come first, JFIF's the very first. The same input gives the same
    bytes. Raises ``Unsuitable`` where coefficients are larger than baseline has codes for.
    """
    height, width = size
    halves = (-(-height // 2), -(-width // 2))
    assert luma.coefficients.shape[:2] == (-(-height // 8), -(-width // 8)), "luma is not of that size"
    assert all(samples.shape == halves for samples in chroma), "chroma is not of half that size"
    planes = [luma, *(plane(samples, chroma_steps()) for samples in chroma)]
    deep = bool((luma.steps > 255).any())  # such steps are beyond baseline; libjpeg writes them so
    steps = [segment(_DQT, bytes([deep << 4]) + luma.steps.astype(">u2" if deep else "u1").tobytes())]
    if len(chroma):
        steps.append(segment(_DQT, b"\1" + chroma_steps().astype("u1").tobytes()))
        components, scan = [1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1], [3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]
        layout, units = [(2, 2, 0, 4), (1, 1, 1, 5), (1, 1, 1, 5)], (-(-height // 16), -(-width // 16))
    else:
        components, scan = [1, 0x11, 0], [1, 1, 0x00, 0, 63, 0]
        layout, units = [(1, 1, 0, 4)], (-(-height // 8), -(-width // 8))
    frame = struct.pack(">BHHB", 8, height, width, len(planes)) + bytes(components)
    tables, coded = _coded(planes, layout, units)
    head = [b"\xff\xd8", *segments, *steps, segment(_EXTENDED if deep else _BASELINE, frame), *tables]
    return b"".join([*head, segment(SOS, bytes(scan)), coded, b"\xff\xd9"])


def _coded(planes: list[Plane], places: list[tuple], units: tuple[int, int]) -> tuple[list[bytes], memoryview]:
    """Segments of Huffman tables, and the bytes that are coded with them, of one scan of all planes.

    ``places`` has of each plane its blocks in a unit (down, across), and the numbers of its tables for DC and AC.
    """
    from colorize_core import blocks

    luma, *chroma = planes
    padded = luma.coefficients.shape[0] % 2 or luma.coefficients.shape[1] % 2
    own = luma.ac if luma.ac and not (padded and 0 not in luma.ac.symbols) else None  # 0 ends a block
    coded = [*([own] if own else _coded_ac([luma])), *(_coded_ac(chroma) if chroma else [])]
    missing = 3 - len(planes)
    dc = (*(one.coefficients[..., 0].flatten() for one in planes), *[np.empty(0, np.int16)] * missing)
    layout = np.array([[i, *one.coefficients.shape[:2], *places[i]] for i, one in enumerate(planes)], np.int64)
    del chroma, planes[1:]  # their coefficients, as large as luma's half, are not needed any more
    frequencies, codes = np.zeros((8, 256), np.int64), np.zeros((8, 256), np.int64)
    blocks.counted_dc(dc, layout, units, frequencies)
    if frequencies[:, 12:].any():
        raise Unsuitable("its coefficients are larger than baseline has codes for")
    tables = []
    for number in sorted({number for place in places for number in place[2:]}):
        ac = coded[number & 1]
        counts, symbols = huffman(frequencies[number]) if number < 4 else (ac.counts, ac.symbols)
        tables.append(segment(_DHT, bytes([number >> 2 << 4 | number & 1, *counts, *symbols])))
        codes[number] = code_words(counts, symbols)
    bits = sum(int((ac.places[:, 1] - ac.places[:, 0]).sum()) for ac in coded) + 32 * 6 * units[0] * units[1]
    out = np.empty(bits // 4 + 64, np.uint8)  # room for stuffing, which costs nothing while it is untouched
    bits_of = (*(ac.bits for ac in coded), *[np.empty(0, np.uint8)] * missing)
    places_of = (*(ac.places for ac in coded), *[np.empty((0, 2), np.int64)] * missing)
    return tables, out[: blocks.spliced(dc, bits_of, places_of, layout, units, codes, out)].data


def _coded_ac(planes: list[Plane]) -> list[CodedAC]:
    """Of planes that share a table, the best one."""
    from colorize_core import blocks

    flat = [one.coefficients.reshape(-1) for one in planes]
    frequencies = np.zeros(256, np.int64)
    frequencies[0] = 1  # the end of a block, for what pads units
    for one in flat:
        blocks.counted(one, one.view(np.int64), frequencies)
    if frequencies.reshape(16, 16)[:, 11:].any():
        raise Unsuitable("its coefficients are larger than baseline has codes for")
    counts, symbols = huffman(frequencies)
    codes = code_words(counts, symbols)
    bits = int(frequencies @ ((codes & 31) + (np.arange(256) & 15)))  # of all of them, and so enough for each
    coded = []
    for one in flat:
        room, places = np.empty(bits // 8 + blocks.SPARE, np.uint8), np.empty((len(one) // 64, 2), np.int64)
        blocks.encoded(one, one.view(np.int64), codes, room, places)
        coded.append(CodedAC(room, places, counts, symbols))
    return coded


def huffman(frequencies: np.ndarray) -> tuple[bytes, bytes]:
    """The best codes of 16 bits at most for 256 symbols (K.2): how many have each length, and the symbols in order."""
    heap = [(int(n), -i, [i]) for i, n in enumerate(frequencies) if n]
    heap.append((0, -256, [256]))  # so that no code is all ones; the rarest, it has one of the longest
    heapq.heapify(heap)
    length = dict.fromkeys((i for _, _, (i,) in heap), 0)
    while len(heap) > 1:
        one, order, some = heapq.heappop(heap)
        other, _, more = heapq.heappop(heap)
        for symbol in (both := some + more):
            length[symbol] += 1
        heapq.heappush(heap, (one + other, order, both))
    counts = [0] * (max(16, *length.values()) + 1)
    for bits in length.values():
        counts[bits] += 1
    for bits in range(len(counts) - 1, 16, -1):  # figure K.3
        while counts[bits]:
            shorter = next(i for i in range(bits - 2, 0, -1) if counts[i])
            counts[bits] -= 2
            counts[bits - 1] += 1
            counts[shorter + 1] += 2
            counts[shorter] -= 1
    counts[max(bits for bits, count in enumerate(counts) if count)] -= 1
    del length[256]
    return bytes(counts[1:17]), bytes(both & 255 for both in sorted(size << 8 | each for each, size in length.items()))


@lru_cache(64)
def code_words(counts: bytes, symbols: bytes) -> np.ndarray:
    """Codes by symbol (annex C), times 32 plus their length; (256,) int64, 0 where a symbol has none. Read-only."""
    codes = np.zeros(256, np.int64)
    code, remaining = 0, iter(symbols)
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            codes[next(remaining)] = code << 5 | length
            code += 1
        code <<= 1
    codes.flags.writeable = False
    return codes


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment, of 65,533 bytes at most."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
